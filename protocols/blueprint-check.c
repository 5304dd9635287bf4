/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rules that a blueprint must keep. It comes from a process that has read files made by others
 * and may be in their hands, so every number in it counts as chosen by an attacker. Always holds
 * for what passes: every offset and count may be used without further checks; memory of ours goes
 * to free addresses and is never writable and executable; the target's code changes only at the
 * entries of functions in files that it executes, only into jumps to a stub of this update; what is
 * to be called or watched is code of the target or of the patch.
 *
 * Whether the patch is a good one is no question here: it runs with the target's rights in any
 * case.
 */
#include <string.h>
#include <sys/mman.h>

#include "injector/redirect/site.h"
#include "injector/stop/borrow.h"
#include "injector/txn/code.h"
#include "injector/txn/ours.h"
#include "protocols/blueprint.h"

#define LOW_END (2ull << 30)
#define CALL_PAD_BYTES 64

struct check {
	struct upd_blueprint *blueprint;
	const struct upd_blueprint_facts *facts;
	struct inj_why *why;
};

static int refuse(const struct check *check, const char *rule, uint64_t value)
{
	return inj_refuse(check->why, INJ_BAD_PATCH,
			  "What was made of the patch breaks a rule: %s (0x%llx). Either the patch "
			  "or a file of the target attacks whoever reads it; find out where they "
			  "come from. Nothing was changed.",
			  rule, (unsigned long long)value);
}

/* Take so many bytes; NULL when they are not there. */
static const void *take(const uint8_t **at, size_t *left, uint64_t n, size_t entry_bytes)
{
	const uint8_t *start = *at;

	if (n > *left / entry_bytes)
		return NULL;
	*at += n * entry_bytes;
	*left -= n * entry_bytes;
	return start;
}

static bool has_sound_sizes(const struct upd_sheet *sheet, size_t n_bytes)
{
	return sheet->magic == UPD_SHEET_MAGIC && sheet->total_bytes == n_bytes &&
	       n_bytes <= UPD_SHEET_MAX_BYTES && sheet->n_parts <= UPD_SHEET_MAX_PARTS &&
	       sheet->n_late <= UPD_SHEET_MAX_LATE &&
	       sheet->n_note_bytes <= UPD_SHEET_MAX_NOTE_BYTES && sheet->n_ledger_bytes % 8 == 0 &&
	       sheet->n_ledger_bytes <= INJ_LEDGER_MAX_BYTES && sheet->memfd_bytes > 0 &&
	       sheet->memfd_bytes <= UPD_SHEET_MAX_BYTES &&
	       sheet->memfd_bytes % INJ_PAGE_BYTES == 0;
}

/* The checked record, as the target will carry it. */
static int check_record(struct check *check, const void *bytes)
{
	struct upd_blueprint *blueprint = check->blueprint;
	const struct upd_sheet *sheet = blueprint->sheet;
	const struct dsu_control control = {
		.magic = DSU_CONTROL_MAGIC, .phase = DSU_PHASE_STAGED, .sequence = sheet->sequence,
		.ledger = sheet->ledger,
	};
	void *copy = malloc(sheet->n_ledger_bytes);
	int r;

	if (!copy)
		return inj_broke(check->why, -ENOMEM, "checking the plan");
	memcpy(copy, bytes, sheet->n_ledger_bytes);
	r = inj_ledger_check(copy, sheet->n_ledger_bytes, sheet->ledger, &control,
			     &blueprint->record);
	if (r == -ENOMEM)
		return inj_broke(check->why, r, "checking the plan");
	return r == 0 ? 0 : refuse(check, "the record is not sound", sheet->ledger);
}

/* Find all parts; the length of each is in the sheet. */
static int split(struct check *check, size_t n_bytes)
{
	struct upd_blueprint *blueprint = check->blueprint;
	const uint8_t *at = blueprint->bytes;
	size_t left = n_bytes;
	const struct upd_sheet *sheet = take(&at, &left, 1, sizeof(*sheet));
	const void *record;

	if (!sheet || !has_sound_sizes(sheet, n_bytes))
		return refuse(check, "its sizes do not add up", n_bytes);
	blueprint->sheet = sheet;
	record = take(&at, &left, sheet->n_ledger_bytes, 1);
	blueprint->parts = take(&at, &left, sheet->n_parts, sizeof(*blueprint->parts));
	blueprint->late = take(&at, &left, sheet->n_late, sizeof(*blueprint->late));
	blueprint->pieces = take(&at, &left, sheet->n_pieces, sizeof(*blueprint->pieces));
	blueprint->notes = take(&at, &left, sheet->n_note_bytes, 1);
	blueprint->data = at;
	if (!record || !blueprint->parts || !blueprint->late || !blueprint->pieces ||
	    !blueprint->notes)
		return refuse(check, "its sizes do not add up", n_bytes);
	if (sheet->n_note_bytes && blueprint->notes[sheet->n_note_bytes - 1] != '\0')
		return refuse(check, "a note has no end", sheet->n_note_bytes);
	for (size_t i = 0; i < sheet->n_pieces; i++) {
		const struct upd_piece *piece = &blueprint->pieces[i];

		if (piece->bytes > left || piece->bytes > sheet->memfd_bytes ||
		    piece->offset > sheet->memfd_bytes - piece->bytes)
			return refuse(check, "bytes lie outside of the file", piece->offset);
		left -= piece->bytes;
	}
	if (left != 0)
		return refuse(check, "its sizes do not add up", left);
	return check_record(check, record);
}

static bool overlaps(uint64_t a, uint64_t n_a, uint64_t b, uint64_t n_b)
{
	return a < b + n_b && b < a + n_a;
}

static bool may_have(enum dsu_area_kind kind, uint32_t prot)
{
	switch (kind) {
	case DSU_AREA_CONTROL:
	case DSU_AREA_SCRATCH:
		return prot == (PROT_READ | PROT_WRITE);
	case DSU_AREA_LEDGER:
	case DSU_AREA_FRAMES:
		return prot == PROT_READ;
	case DSU_AREA_STUBS:
	case DSU_AREA_PADS:
		return prot == (PROT_READ | PROT_EXEC);
	case DSU_AREA_IMAGE:
		return prot == PROT_READ || prot == (PROT_READ | PROT_EXEC) ||
		       prot == (PROT_READ | PROT_WRITE);
	}
	return false;
}

/* The order of kinds: control, record, anything, at most one stack at the end. */
static bool is_in_place(const struct dsu_ledger *record, const struct dsu_ledger_area *area,
			size_t i)
{
	switch (area->kind) {
	case DSU_AREA_CONTROL:
		return i == 0 && area->address == record->control &&
		       area->bytes == INJ_PAGE_BYTES && area->address < LOW_END;
	case DSU_AREA_LEDGER:
		return i == 1 && area->offset == 0 && area->bytes >= record->total_bytes;
	case DSU_AREA_SCRATCH:
		return i == record->n_areas - 1u;
	default:
		return i >= 2;
	}
}

static int check_area(const struct check *check, size_t i)
{
	const struct dsu_ledger *record = check->blueprint->record->record;
	const struct dsu_ledger_area *areas = check->blueprint->record->areas;
	const struct dsu_ledger_area *area = &areas[i];
	const struct inj_maps *maps = check->facts->maps;

	if (!may_have(area->kind, area->prot) || !is_in_place(record, area, i))
		return refuse(check, "an area has the wrong kind, place or protection",
			      area->address);
	if (area->bytes > check->blueprint->sheet->memfd_bytes ||
	    area->offset > check->blueprint->sheet->memfd_bytes - area->bytes)
		return refuse(check, "an area lies outside of the file", area->offset);
	for (size_t j = 0; j < i; j++)
		if (overlaps(area->address, area->bytes, areas[j].address, areas[j].bytes) ||
		    overlaps(area->offset, area->bytes, areas[j].offset, areas[j].bytes))
			return refuse(check, "two areas overlap", area->address);
	for (size_t j = 0; j < maps->n_items; j++)
		if (overlaps(area->address, area->bytes, maps->items[j].range.start,
			     maps->items[j].range.end - maps->items[j].range.start))
			return refuse(check, "an area is not free in the target", area->address);
	return 0;
}

static const struct dsu_ledger_area *area_at(const struct check *check, inj_addr address,
					     uint64_t n)
{
	const struct inj_ledger *ledger = check->blueprint->record;

	for (size_t i = 0; i < ledger->record->n_areas; i++) {
		const struct dsu_ledger_area *area = &ledger->areas[i];

		if (address - area->address < area->bytes &&
		    n <= area->bytes - (address - area->address))
			return area;
	}
	return NULL;
}

static bool is_in(const struct check *check, enum dsu_area_kind kind, bool code, inj_addr address,
		  uint64_t n)
{
	const struct dsu_ledger_area *area = area_at(check, address, n);

	return area && area->kind == kind && (!code || (area->prot & PROT_EXEC));
}

/* Code that the target has from a file, or from an earlier update; the kernel's own pages are
 * neither. */
static bool is_code(const struct check *check, inj_addr address, uint64_t n)
{
	const struct inj_map *map = inj_maps_find(check->facts->maps, address);

	return map && (map->prot & PROT_EXEC) && !map->shared && n <= map->range.end - address &&
	       (inj_map_is_ours(map) || (map->name[0] == '/' && map->inode != 0));
}

static bool same_write(const struct inj_site_write *wanted, uint64_t address, uint8_t n,
		       const uint8_t *before, const uint8_t *after)
{
	return wanted->address == address && wanted->n == n &&
	       memcmp(wanted->old, before, n) == 0 && memcmp(wanted->new, after, n) == 0;
}

/* The redirect is what this very site needs, byte for byte. */
static bool has_its_writes(const struct dsu_ledger_site *from)
{
	struct inj_site site = {
		.address = from->address, .kind = from->kind, .n_kept = from->n_kept,
		.n_covered = from->n_covered, .pad = from->pad,
	};
	struct inj_site_write writes[2];
	size_t n = 0;

	if (from->n_writes == 0 || (from->n_kept != 0 && from->n_kept != 4))
		return false;
	memcpy(site.covered, from->covered, sizeof(site.covered));
	memcpy(site.pad_bytes, from->writes[0].before, sizeof(from->writes[0].before));
	if (inj_site_writes(&site, from->stub, writes, &n) != 0 || n != from->n_writes)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!same_write(&writes[i], from->writes[i].address, from->writes[i].n,
				from->writes[i].before, from->writes[i].after))
			return false;
	return true;
}

static int check_site(const struct check *check, size_t i)
{
	const struct dsu_ledger_site *site = &check->blueprint->record->sites[i];

	if (site->size == 0 || site->size > UPD_MAX_FUNCTION_BYTES ||
	    !is_code(check, site->address, site->size))
		return refuse(check, "a function is not in the target's code", site->address);
	if (!is_in(check, DSU_AREA_STUBS, true, site->stub, site->stub_bytes) ||
	    site->stub_bytes == 0)
		return refuse(check, "a stub is not among the stubs", site->stub);
	if (!is_in(check, DSU_AREA_IMAGE, true, site->replacement,
		   site->replacement_size ? site->replacement_size : 1))
		return refuse(check, "a replacement is not in the patch's code", site->replacement);
	if (site->pad && !is_code(check, site->pad, 8))
		return refuse(check, "padding is not in the target's code", site->pad);
	if (!has_its_writes(site))
		return refuse(check, "a redirect is not a jump to its stub", site->address);
	for (size_t j = 0; j < site->n_writes; j++)
		if (!is_code(check, site->writes[j].address, site->writes[j].n))
			return refuse(check, "a redirect is not in the target's code",
				      site->writes[j].address);
	return 0;
}

static int check_parts(const struct check *check)
{
	const struct upd_blueprint *blueprint = check->blueprint;

	for (size_t i = 0; i < blueprint->sheet->n_parts; i++) {
		const struct inj_range code = blueprint->parts[i].code;

		if (code.start >= code.end || code.end - code.start > UPD_MAX_FUNCTION_BYTES ||
		    !is_code(check, code.start, code.end - code.start) ||
		    blueprint->parts[i].site >= blueprint->record->record->n_sites)
			return refuse(check, "a part of a function is not in the target's code",
				      code.start);
	}
	return 0;
}

static int by_address(const void *a, const void *b)
{
	const struct inj_range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* No byte of the target is written twice. */
static int check_clashes(const struct check *check)
{
	const struct inj_ledger *ledger = check->blueprint->record;
	INJ_FREE struct inj_range *ranges =
		calloc(2 * (size_t)ledger->record->n_sites, sizeof(*ranges));
	size_t n = 0;

	if (!ranges)
		return inj_broke(check->why, -ENOMEM, "checking the plan");
	for (size_t i = 0; i < ledger->record->n_sites; i++)
		for (size_t j = 0; j < ledger->sites[i].n_writes; j++) {
			const inj_addr address = ledger->sites[i].writes[j].address;

			ranges[n++] =
				(struct inj_range){address, address + ledger->sites[i].writes[j].n};
		}
	qsort(ranges, n, sizeof(*ranges), by_address);
	for (size_t i = 1; i < n; i++)
		if (ranges[i].start < ranges[i - 1].end)
			return refuse(check, "two redirects overlap", ranges[i].start);
	return 0;
}

static bool is_function(const struct check *check, inj_addr address)
{
	return is_code(check, address, 1) || is_in(check, DSU_AREA_IMAGE, true, address, 1);
}

static int check_calls(struct check *check)
{
	struct upd_blueprint *blueprint = check->blueprint;
	const struct upd_sheet *sheet = blueprint->sheet;
	const struct dsu_ledger *record = blueprint->record->record;

	for (size_t i = 0; i < sheet->n_late; i++) {
		const struct inj_late_word *word = &blueprint->late[i];

		if (!is_function(check, word->resolver))
			return refuse(check, "a resolver is no code", word->resolver);
		if (word->offset > record->image_bytes ||
		    !is_in(check, DSU_AREA_IMAGE, false, record->image_base + word->offset,
			   sizeof(uint64_t)))
			return refuse(check, "a word lies outside of the patch", word->offset);
	}
	if ((sheet->tell != 0) != (sheet->forget != 0) ||
	    (sheet->tell && (!is_code(check, sheet->tell, 1) || !is_code(check, sheet->forget, 1))))
		return refuse(check, "the target's unwinder is no code", sheet->tell);
	for (size_t i = 0; i < UPD_N_LOCKED; i++)
		if (sheet->locked[i].start != sheet->locked[i].end &&
		    (sheet->locked[i].start > sheet->locked[i].end ||
		     !is_code(check, sheet->locked[i].start,
			      sheet->locked[i].end - sheet->locked[i].start)))
			return refuse(check, "the target's unwinder is no code",
				      sheet->locked[i].start);
	blueprint->unwinder = (struct upd_unwinder){ .tell = sheet->tell, .forget = sheet->forget,
						     .may_unwind = sheet->may_unwind != 0 };
	memcpy(blueprint->unwinder.locked, sheet->locked, sizeof(sheet->locked));
	if ((sheet->n_late > 0 || sheet->tell) && !blueprint->scratch)
		return refuse(check, "there is no stack for calls", sheet->tell);
	return 0;
}

/* Stubs are whole; and the way back of a called function decides whether the borrowed thread
 * survives us. */
static int check_stubs(struct check *check)
{
	struct upd_blueprint *blueprint = check->blueprint;
	const struct inj_ledger *ledger = blueprint->record;
	uint8_t pad[CALL_PAD_BYTES];
	const size_t n = inj_borrow_pad(pad, sizeof(pad));

	for (size_t i = 0; i < ledger->record->n_areas; i++) {
		const struct dsu_ledger_area *area = &ledger->areas[i];
		const uint8_t *found;

		if (area->kind != DSU_AREA_STUBS)
			continue;
		found = upd_blueprint_bytes(blueprint, area->offset, area->bytes);
		if (!found)
			return refuse(check, "stubs are missing", area->address);
		if (blueprint->call_pad)
			continue;
		if (memcmp(found, pad, n) != 0)
			return refuse(check, "the pad for calls is not what it should be",
				      area->address);
		blueprint->call_pad = area->address;
	}
	return blueprint->call_pad ? 0 : refuse(check, "stubs are missing", 0);
}

/* All pieces belong into areas, and not into those that are ours to write. */
static int check_pieces(const struct check *check)
{
	const struct upd_blueprint *blueprint = check->blueprint;
	const struct inj_ledger *ledger = blueprint->record;

	for (size_t i = 0; i < blueprint->sheet->n_pieces; i++)
		for (size_t j = 0; j < ledger->record->n_areas; j++) {
			const uint32_t kind = ledger->areas[j].kind;

			if ((kind == DSU_AREA_CONTROL || kind == DSU_AREA_LEDGER ||
			     kind == DSU_AREA_SCRATCH) &&
			    overlaps(blueprint->pieces[i].offset, blueprint->pieces[i].bytes,
				     ledger->areas[j].offset, ledger->areas[j].bytes))
				return refuse(check, "bytes are not the patch's to give",
					      blueprint->pieces[i].offset);
		}
	return 0;
}

static bool is_plain(const char *text, size_t max)
{
	for (size_t i = 0; i < max; i++) {
		if (text[i] == '\0')
			return i > 0;
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-",
			    text[i]))
			return false;
	}
	return false;
}

/* The image is one stretch of address space and of the file. */
static int check_image(struct check *check)
{
	struct upd_blueprint *blueprint = check->blueprint;
	const struct dsu_ledger *record = blueprint->record->record;
	const struct dsu_ledger_area *first = area_at(check, record->image_base, 1);

	if (!first || first->kind != DSU_AREA_IMAGE)
		return refuse(check, "the image has no area", record->image_base);
	blueprint->image_base = record->image_base;
	blueprint->image_offset = first->offset;
	for (size_t i = 0; i < record->n_areas; i++) {
		const struct dsu_ledger_area *area = &blueprint->record->areas[i];

		if (area->kind == DSU_AREA_IMAGE &&
		    (area->address - record->image_base >= record->image_bytes ||
		     area->address - record->image_base != area->offset - first->offset))
			return refuse(check, "the image is torn", area->address);
	}
	if (record->image_eh_frame && !is_in(check, DSU_AREA_IMAGE, false, record->image_eh_frame,
					     record->image_eh_frame_bytes))
		return refuse(check, "the unwind table is not in the patch",
			      record->image_eh_frame);
	return 0;
}

static int check_identity(const struct check *check)
{
	const struct inj_ledger *ledger = check->blueprint->record;
	const struct dsu_ledger *record = ledger->record;

	if (memcmp(record->update_id, check->facts->update_id, sizeof(record->update_id)) != 0 ||
	    record->n_members != check->facts->n_members ||
	    record->n_sites == 0 ||
	    check->blueprint->sheet->sequence != inj_history_sequence(check->facts->history) + 1 ||
	    strcmp(inj_ledger_string(ledger, record->protocol), check->facts->protocol) != 0)
		return refuse(check, "it is the plan of another update", record->n_members);
	if (!is_plain(inj_ledger_string(ledger, record->patch_id), INJ_PATCH_ID_MAX))
		return refuse(check, "the patch's id is not made of plain characters",
			      record->patch_id);
	return 0;
}

static void settle(struct upd_blueprint *blueprint)
{
	const struct inj_ledger *ledger = blueprint->record;
	const struct dsu_ledger_area *last = &ledger->areas[ledger->record->n_areas - 1];

	blueprint->control = ledger->record->control;
	blueprint->ledger = ledger->address;
	if (last->kind == DSU_AREA_SCRATCH) {
		blueprint->scratch = last->address;
		blueprint->scratch_bytes = last->bytes;
	}
	for (size_t i = 0; i < ledger->record->n_sites; i++) {
		const struct dsu_ledger_site *site = &ledger->sites[i];

		blueprint->needs_guard |= site->kind == INJ_SITE_LATE;
		for (size_t j = 0; j < site->n_writes; j++) {
			const struct inj_code_write write = { .address = site->writes[j].address,
							      .n = site->writes[j].n };

			blueprint->needs_guard |= inj_code_tears(&write);
		}
	}
}

static int check_all(struct check *check, size_t n_bytes)
{
	const struct dsu_ledger *record;
	int r = split(check, n_bytes);

	if (r == 0)
		r = check_identity(check);
	if (r != 0)
		return r;
	record = check->blueprint->record->record;
	if (record->n_areas < 3)
		return refuse(check, "areas are missing", record->n_areas);
	for (size_t i = 0; r == 0 && i < record->n_areas; i++)
		r = check_area(check, i);
	if (r == 0)
		r = check_image(check);
	for (size_t i = 0; r == 0 && i < record->n_sites; i++)
		r = check_site(check, i);
	if (r == 0)
		r = check_parts(check);
	if (r == 0)
		r = check_clashes(check);
	if (r == 0)
		r = check_pieces(check);
	if (r == 0)
		r = check_stubs(check);
	if (r != 0)
		return r;
	settle(check->blueprint);
	return check_calls(check);
}

int upd_blueprint_check(void *bytes, size_t n_bytes, const struct upd_blueprint_facts *facts,
			struct upd_blueprint **ret, struct inj_why *why)
{
	INJ_CLEANUP(upd_blueprint_guard)
	struct upd_blueprint *blueprint = calloc(1, sizeof(*blueprint));
	struct check check = { .blueprint = blueprint, .facts = facts, .why = why };
	int r;

	if (!blueprint) {
		free(bytes);
		return inj_broke(why, -ENOMEM, "checking the plan");
	}
	blueprint->bytes = bytes;
	r = check_all(&check, n_bytes);
	if (r == 0)
		*ret = INJ_TAKE(blueprint);
	return r;
}
