/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The record of one update, as bytes: made once before anything is installed, checked whenever it
 * is read back.
 *
 * A record is read from the memory of a process that may be hostile, so the check trusts no number
 * in it: what it accepts can be walked without further bounds checks. Its strings together are no
 * longer than the record itself, as the writer makes them; so neither checking nor copying all of
 * them costs more than the record's size. Whether it describes the target truthfully is for the
 * reader to find out, by comparing the sites' bytes with what stands there.
 */
#include "injector/descriptor/ledger.h"

#include <string.h>
#include <sys/mman.h>
#include <zlib.h>

#define USER_SPACE_END (1ull << 47)

uint32_t inj_ledger_checksum(const struct dsu_ledger *record, size_t bytes)
{
	static const uint8_t zero[sizeof(record->checksum)];
	const size_t at = offsetof(struct dsu_ledger, checksum);
	const uint8_t *raw = (const uint8_t *)record;
	uLong sum = crc32(0, raw, (uInt)at);

	sum = crc32(sum, zero, sizeof(zero));
	return (uint32_t)crc32(sum, raw + at + sizeof(zero), (uInt)(bytes - at - sizeof(zero)));
}

static bool table_fits(const struct dsu_ledger *record, uint32_t offset, uint32_t n, uint32_t max,
		       size_t entry_bytes)
{
	uint64_t end = (uint64_t)offset + (uint64_t)n * entry_bytes;

	return n <= max && offset % 8 == 0 && offset >= sizeof(*record) &&
	       end <= record->total_bytes;
}

/* left: bytes that strings may still take; what this one takes is subtracted. */
static bool string_fits(const struct dsu_ledger *record, uint32_t offset, size_t *left)
{
	const char *raw = (const char *)record;
	const char *end;
	size_t most;

	if (offset == 0)
		return true;
	if (offset < sizeof(*record) || offset >= record->total_bytes)
		return false;
	most = record->total_bytes - offset;
	end = memchr(raw + offset, '\0', most < *left ? most : *left);
	if (!end)
		return false;
	*left -= (size_t)(end - (raw + offset)) + 1;
	return true;
}

static bool range_fits(uint64_t address, uint64_t bytes)
{
	return address >= INJ_PAGE_BYTES && address < USER_SPACE_END &&
	       bytes <= USER_SPACE_END - address;
}

static bool area_is_sound(const struct dsu_ledger_area *area)
{
	return area->address % INJ_PAGE_BYTES == 0 && area->bytes % INJ_PAGE_BYTES == 0 &&
	       area->offset % INJ_PAGE_BYTES == 0 && area->bytes > 0 &&
	       range_fits(area->address, area->bytes) && area->kind >= DSU_AREA_CONTROL &&
	       area->kind <= DSU_AREA_PADS &&
	       (area->prot & (PROT_WRITE | PROT_EXEC)) != (PROT_WRITE | PROT_EXEC);
}

/* Whoever takes an update back writes into its stubs: they are in memory of the update. */
static bool stub_is_in_area(const struct inj_ledger *ledger, const struct dsu_ledger_site *site)
{
	for (size_t i = 0; i < ledger->record->n_areas; i++) {
		const struct dsu_ledger_area *area = &ledger->areas[i];

		if (area->kind == DSU_AREA_STUBS && site->stub >= area->address &&
		    site->stub - area->address <= area->bytes &&
		    site->stub_bytes <= area->bytes - (site->stub - area->address))
			return true;
	}
	return false;
}

static bool site_is_sound(const struct dsu_ledger *record, const struct dsu_ledger_site *site,
			  size_t *left)
{
	if (!range_fits(site->address, site->size) ||
	    !range_fits(site->replacement, site->replacement_size) ||
	    !range_fits(site->stub, site->stub_bytes) || site->kind < 1 || site->kind > 3 ||
	    site->n_covered > sizeof(site->covered) || site->n_map > INJ_ARRAY_LENGTH(site->map) ||
	    site->n_writes > INJ_ARRAY_LENGTH(site->writes))
		return false;
	for (size_t i = 0; i < site->n_writes; i++)
		if (site->writes[i].n == 0 || site->writes[i].n > sizeof(site->writes[i].before) ||
		    !range_fits(site->writes[i].address, site->writes[i].n))
			return false;
	return string_fits(record, site->module, left) &&
	       string_fits(record, site->build_id, left) &&
	       string_fits(record, site->name, left) && string_fits(record, site->new_name, left);
}

static bool header_is_sound(const struct dsu_ledger *record, size_t length)
{
	return record->total_bytes >= sizeof(*record) && record->total_bytes <= length &&
	       record->total_bytes <= INJ_LEDGER_MAX_BYTES &&
	       inj_ledger_checksum(record, record->total_bytes) == record->checksum &&
	       table_fits(record, record->areas, record->n_areas, INJ_LEDGER_MAX_AREAS,
			  sizeof(struct dsu_ledger_area)) &&
	       table_fits(record, record->sites, record->n_sites, INJ_LEDGER_MAX_SITES,
			  sizeof(struct dsu_ledger_site)) &&
	       record->patch_id != 0 && record->control % INJ_PAGE_BYTES == 0 &&
	       range_fits(record->control, INJ_PAGE_BYTES) &&
	       (record->image_bytes == 0 || range_fits(record->image_base, record->image_bytes));
}

static bool tables_are_sound(const struct inj_ledger *ledger)
{
	const struct dsu_ledger *record = ledger->record;
	size_t left = record->total_bytes;
	bool has_itself = false, has_control = false;

	if (!string_fits(record, record->patch_id, &left) ||
	    !string_fits(record, record->patch_version, &left) ||
	    !string_fits(record, record->patch_digest, &left) ||
	    !string_fits(record, record->protocol, &left))
		return false;

	for (size_t i = 0; i < record->n_areas; i++) {
		const struct dsu_ledger_area *area = &ledger->areas[i];

		if (!area_is_sound(area))
			return false;
		if (area->kind == DSU_AREA_LEDGER && area->address == ledger->address)
			has_itself = area->bytes >= record->total_bytes;
		if (area->kind == DSU_AREA_CONTROL && area->address == record->control)
			has_control = true;
	}
	for (size_t i = 0; i < record->n_sites; i++)
		if (!site_is_sound(record, &ledger->sites[i], &left) ||
		    !stub_is_in_area(ledger, &ledger->sites[i]))
			return false;
	return has_itself && has_control;
}

int inj_ledger_check(void *bytes, size_t length, inj_addr address,
		     const struct dsu_control *control, struct inj_ledger **ret)
{
	INJ_FREE void *owned = bytes;
	INJ_CLEANUP(inj_ledger_guard) struct inj_ledger *ledger = NULL;
	struct dsu_ledger *record = bytes;

	if (length < sizeof(*record) || record->magic != DSU_LEDGER_MAGIC)
		return -EBADMSG;
	if (record->version != DSU_LEDGER_VERSION)
		return -EPROTONOSUPPORT;
	if (!header_is_sound(record, length) || control->magic != DSU_CONTROL_MAGIC ||
	    control->ledger != address)
		return -EBADMSG;

	ledger = calloc(1, sizeof(*ledger));
	if (!ledger)
		return -ENOMEM;
	ledger->record = INJ_TAKE(owned);
	ledger->address = address;
	ledger->control = *control;
	ledger->areas = (const void *)((const uint8_t *)record + record->areas);
	ledger->sites = (const void *)((const uint8_t *)record + record->sites);
	if (!tables_are_sound(ledger))
		return -EBADMSG;
	*ret = INJ_TAKE(ledger);
	return 0;
}

void inj_ledger_free(struct inj_ledger *ledger)
{
	if (!ledger)
		return;
	free(ledger->record);
	free(ledger);
}

const char *inj_ledger_string(const struct inj_ledger *ledger, uint32_t offset)
{
	return offset ? (const char *)ledger->record + offset : "";
}

void inj_draft_init(struct inj_draft *draft)
{
	*draft = (struct inj_draft){
		.header.magic = DSU_LEDGER_MAGIC,
		.header.version = DSU_LEDGER_VERSION,
	};
}

void inj_draft_deinit(struct inj_draft *draft)
{
	free(draft->strings);
	draft->strings = NULL;
}

int inj_draft_string(struct inj_draft *draft, const char *text, uint32_t *ret)
{
	size_t length = strlen(text) + 1;
	char *grown;

	if (draft->n_strings + length > INJ_LEDGER_MAX_BYTES / 2)
		return -E2BIG;
	grown = realloc(draft->strings, draft->n_strings + length);
	if (!grown)
		return -ENOMEM;
	draft->strings = grown;
	memcpy(grown + draft->n_strings, text, length);
	/* 0 means "no string", so draft values count from 1. */
	*ret = (uint32_t)draft->n_strings + 1;
	draft->n_strings += length;
	return 0;
}

size_t inj_draft_bytes(const struct inj_draft *draft, size_t n_areas, size_t n_sites)
{
	return sizeof(struct dsu_ledger) + n_areas * sizeof(struct dsu_ledger_area) +
	       n_sites * sizeof(struct dsu_ledger_site) + draft->n_strings;
}

static void settle_string(uint32_t *field, size_t strings)
{
	if (*field)
		*field = (uint32_t)(strings + *field - 1);
}

size_t inj_draft_finish(const struct inj_draft *draft, const struct dsu_ledger_area *areas,
			size_t n_areas, const struct dsu_ledger_site *sites, size_t n_sites,
			void *buffer)
{
	uint8_t *raw = buffer;
	struct dsu_ledger *record = buffer;
	const size_t areas_at = sizeof(*record);
	const size_t sites_at = areas_at + n_areas * sizeof(*areas);
	const size_t strings_at = sites_at + n_sites * sizeof(*sites);
	struct dsu_ledger_site *site = (void *)(raw + sites_at);

	*record = draft->header;
	record->total_bytes = (uint32_t)inj_draft_bytes(draft, n_areas, n_sites);
	record->areas = (uint32_t)areas_at;
	record->n_areas = (uint32_t)n_areas;
	record->sites = (uint32_t)sites_at;
	record->n_sites = (uint32_t)n_sites;
	memcpy(raw + areas_at, areas, n_areas * sizeof(*areas));
	memcpy(site, sites, n_sites * sizeof(*sites));
	if (draft->n_strings)
		memcpy(raw + strings_at, draft->strings, draft->n_strings);

	settle_string(&record->patch_id, strings_at);
	settle_string(&record->patch_version, strings_at);
	settle_string(&record->patch_digest, strings_at);
	settle_string(&record->protocol, strings_at);
	for (size_t i = 0; i < n_sites; i++) {
		settle_string(&site[i].module, strings_at);
		settle_string(&site[i].build_id, strings_at);
		settle_string(&site[i].name, strings_at);
		settle_string(&site[i].new_name, strings_at);
	}
	record->checksum = inj_ledger_checksum(record, record->total_bytes);
	return record->total_bytes;
}
