/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing a plan down. This runs beside foreign files, so nothing that is written here is believed
 * by who reads it: blueprint-check.c has the rules. Bytes that are zero anyway are left out, page
 *   by page.
 */
#include <string.h>

#include "protocols/blueprint.h"
#include "protocols/plan.h"

/* Where bytes of the file come from. */
struct source {
	uint64_t offset;
	const uint8_t *bytes;
	uint64_t n;
};

struct writer {
	struct upd_sheet sheet;
	struct source sources[2 * UPD_MAX_CLUSTERS + 3];
	size_t n_sources;
	struct upd_piece *pieces;
	uint64_t n_data;
	size_t n_note_bytes;
};

static void add_source(struct writer *writer, uint64_t offset, const uint8_t *bytes, uint64_t n)
{
	writer->sources[writer->n_sources++] = (struct source){ offset, bytes, n };
}

static void list_sources(struct writer *writer, const struct upd_plan *plan, const uint8_t *image)
{
	for (size_t i = 0; i < plan->n_clusters; i++) {
		const struct upd_cluster *cluster = &plan->clusters[i];

		add_source(writer, cluster->stubs_offset, cluster->stubs_data,
			   cluster->stubs_bytes);
		add_source(writer, cluster->frames_offset, cluster->frames_data,
			   cluster->frames_bytes);
	}
	add_source(writer, plan->pads_offset, plan->pads_data, sizeof(plan->pads_data));
	add_source(writer, plan->pad_frames_offset, plan->pad_frames_data,
		   sizeof(plan->pad_frames_data));
	add_source(writer, plan->image_offset, image, plan->image->bytes);
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
	return n == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, n - 1) == 0);
}

static int add_piece(struct writer *writer, uint64_t offset, uint64_t n)
{
	struct upd_piece *last = &writer->pieces[writer->sheet.n_pieces - 1];

	writer->n_data += n;
	if (writer->sheet.n_pieces && last->offset + last->bytes == offset) {
		last->bytes += n;
		return 0;
	}
	if ((writer->sheet.n_pieces & (writer->sheet.n_pieces - 1)) == 0) {
		size_t room = writer->sheet.n_pieces ? 2 * (size_t)writer->sheet.n_pieces : 1;
		struct upd_piece *grown = reallocarray(writer->pieces, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		writer->pieces = grown;
	}
	writer->pieces[writer->sheet.n_pieces++] = (struct upd_piece){ offset, n };
	return 0;
}

/* Every part is made of whole pages, so pieces of neighbouring parts may join. */
static int find_pieces(struct writer *writer)
{
	int r = 0;

	for (size_t i = 0; i < writer->n_sources; i++) {
		const struct source *source = &writer->sources[i];

		for (uint64_t at = 0; r == 0 && at < source->n; at += INJ_PAGE_BYTES)
			if (!is_zero(source->bytes + at, INJ_PAGE_BYTES))
				r = add_piece(writer, source->offset + at, INJ_PAGE_BYTES);
	}
	return r;
}

static const uint8_t *bytes_at(const struct writer *writer, uint64_t offset)
{
	for (size_t i = 0; i < writer->n_sources; i++)
		if (offset - writer->sources[i].offset < writer->sources[i].n)
			return writer->sources[i].bytes + (offset - writer->sources[i].offset);
	return NULL;
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t n)
{
	if (n)
		memcpy(at, bytes, n);
	return at + n;
}

static uint8_t *put_pieces(const struct writer *writer, uint8_t *at)
{
	for (size_t i = 0; i < writer->sheet.n_pieces; i++)
		for (uint64_t done = 0; done < writer->pieces[i].bytes; done += INJ_PAGE_BYTES)
			at = put(at, bytes_at(writer, writer->pieces[i].offset + done),
				 INJ_PAGE_BYTES);
	return at;
}

static void fill_sheet(struct writer *writer, const struct upd_plan *plan, size_t n_late)
{
	struct upd_sheet *sheet = &writer->sheet;

	*sheet = (struct upd_sheet){
		.magic = UPD_SHEET_MAGIC,
		.memfd_bytes = plan->memfd_bytes,
		.ledger = plan->ledger,
		.sequence = plan->sequence,
		.tell = plan->unwinder.tell,
		.forget = plan->unwinder.forget,
		.n_ledger_bytes = (uint32_t)((plan->n_ledger_bytes + 7) & ~(size_t)7),
		.n_late = (uint32_t)n_late,
		.may_unwind = plan->unwinder.may_unwind,
	};
	memcpy(sheet->locked, plan->unwinder.locked, sizeof(sheet->locked));
	for (size_t i = 0; i < plan->n_changes; i++)
		sheet->n_parts += (uint32_t)plan->changes[i].n_parts;
	for (size_t i = 0; i < plan->n_notes; i++)
		sheet->n_note_bytes += (uint32_t)strlen(plan->notes[i]) + 1;
}

static int write_bytes(struct writer *writer, const struct upd_plan *plan,
		       const struct inj_late_words *late, void **ret_bytes, size_t *ret_n)
{
	struct upd_sheet *sheet = &writer->sheet;
	uint8_t *at;

	sheet->total_bytes = sizeof(*sheet) + sheet->n_ledger_bytes +
			     sheet->n_parts * sizeof(struct upd_part) +
			     sheet->n_late * sizeof(*late->items) +
			     sheet->n_pieces * sizeof(*writer->pieces) + sheet->n_note_bytes +
			     writer->n_data;
	if (sheet->total_bytes > UPD_SHEET_MAX_BYTES)
		return -E2BIG;
	at = calloc(1, sheet->total_bytes);
	if (!at)
		return -ENOMEM;
	*ret_bytes = at;
	*ret_n = sheet->total_bytes;
	at = put(at, sheet, sizeof(*sheet));
	put(at, plan->ledger_bytes, plan->n_ledger_bytes);
	at += sheet->n_ledger_bytes;
	for (size_t i = 0; i < plan->n_changes; i++)
		for (size_t j = 0; j < plan->changes[i].n_parts; j++) {
			const struct upd_part part = { plan->changes[i].parts[j], i };

			at = put(at, &part, sizeof(part));
		}
	at = put(at, late->items, late->n_items * sizeof(*late->items));
	at = put(at, writer->pieces, sheet->n_pieces * sizeof(*writer->pieces));
	for (size_t i = 0; i < plan->n_notes; i++)
		at = put(at, plan->notes[i], strlen(plan->notes[i]) + 1);
	put_pieces(writer, at);
	return 0;
}

int upd_blueprint_write(const struct upd_plan *plan, const struct inj_late_words *late,
			const uint8_t *image, void **ret_bytes, size_t *ret_n)
{
	struct writer writer = {};
	int r;

	fill_sheet(&writer, plan, late->n_items);
	list_sources(&writer, plan, image);
	r = find_pieces(&writer);
	if (r == 0)
		r = write_bytes(&writer, plan, late, ret_bytes, ret_n);
	free(writer.pieces);
	return r;
}
