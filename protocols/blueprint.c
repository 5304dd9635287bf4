/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A checked blueprint as an object: its end, and its bytes on their way into the target. */
#include "protocols/blueprint.h"

#include <string.h>
#include <sys/mman.h>

void upd_blueprint_free(struct upd_blueprint *blueprint)
{
	if (!blueprint)
		return;
	inj_ledger_free(blueprint->record);
	free(blueprint->bytes);
	free(blueprint);
}

void upd_blueprint_fill(const struct upd_blueprint *blueprint, uint8_t *view)
{
	const uint8_t *data = blueprint->data;

	for (size_t i = 0; i < blueprint->sheet->n_pieces; i++) {
		memcpy(view + blueprint->pieces[i].offset, data, blueprint->pieces[i].bytes);
		data += blueprint->pieces[i].bytes;
	}
}

const uint8_t *upd_blueprint_bytes(const struct upd_blueprint *blueprint, uint64_t offset,
				   uint64_t n)
{
	const uint8_t *data = blueprint->data;

	for (size_t i = 0; i < blueprint->sheet->n_pieces; i++) {
		const struct upd_piece *piece = &blueprint->pieces[i];

		if (offset >= piece->offset && offset - piece->offset <= piece->bytes &&
		    n <= piece->bytes - (offset - piece->offset))
			return data + (offset - piece->offset);
		data += piece->bytes;
	}
	return NULL;
}

bool upd_blueprint_is_writable(const struct upd_blueprint *blueprint, uint64_t image_offset)
{
	const struct inj_ledger *ledger = blueprint->record;
	const inj_addr address = blueprint->image_base + image_offset;

	for (size_t i = 0; i < ledger->record->n_areas; i++)
		if (address - ledger->areas[i].address < ledger->areas[i].bytes)
			return ledger->areas[i].prot & PROT_WRITE;
	return false;
}
