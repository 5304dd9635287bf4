/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_DESCRIPTOR_LEDGER_H
#define INJ_DESCRIPTOR_LEDGER_H

#include "injector/abi/ledger.h"
#include "injector/base/cleanup.h"
#include "injector/base/why.h"

#define INJ_LEDGER_MAX_BYTES (16UL << 20)
#define INJ_LEDGER_MAX_SITES 16384
#define INJ_LEDGER_MAX_AREAS 64
#define INJ_LEDGER_MAX_AREA_BYTES (1ull << 30)

/* A checked private copy of one record. Every offset, count and string in it may be used without
 * further checks. */
struct inj_ledger {
	struct dsu_ledger *record;      /* owned */
	inj_addr address;               /* of the record in the target */
	struct dsu_control control;     /* as read with the record */
	const struct dsu_ledger_area *areas;
	const struct dsu_ledger_site *sites;
	bool complete;                  /* all areas were mapped; else it was never installed */
};

/*
 * Check the bytes of a record.
 * bytes: malloc'ed, taken over in every case; length: of the buffer, may exceed the record;
 * address: where it came from; control: what stands on its control page.
 * State: none; pure.
 * Return: 0 and a record that is consistent in itself. Nothing says that it tells the truth about
 *   the target.
 * Errors: -EBADMSG (not a record, damaged, or made to mislead), -EPROTONOSUPPORT (a later version),
 *   -ENOMEM.
 * Source: docs/ledger.md.
 */
int inj_ledger_check(void *bytes, size_t length, inj_addr address,
		     const struct dsu_control *control, struct inj_ledger **ret);

/* Free a checked record. NULL is fine. */
void inj_ledger_free(struct inj_ledger *ledger);
INJ_DEFINE_GUARD(struct inj_ledger *, inj_ledger_free, inj_ledger_guard)

/* String at an offset of the record; "" for offset 0. Raw: not made printable. */
const char *inj_ledger_string(const struct inj_ledger *ledger, uint32_t offset);

/* Does the code of this update run now? The generation alone decides. */
static inline bool inj_ledger_active(const struct inj_ledger *ledger)
{
	return ledger->control.generation == 1;
}

/* Checksum over the record as it stands, its own field counted as 0. */
uint32_t inj_ledger_checksum(const struct dsu_ledger *record, size_t bytes);

/* A record in the making: strings are added first, then tables are copied in by
 * inj_draft_finish(). */
struct inj_draft {
	struct dsu_ledger header;
	char *strings;
	size_t n_strings;
};

/* Start a draft. Its header may be filled in freely but for offsets, sizes and the checksum. */
void inj_draft_init(struct inj_draft *draft);
void inj_draft_deinit(struct inj_draft *draft);
/* Add a string; ret: what stands for it until finish. Return: 0 or -ENOMEM, -E2BIG. */
int inj_draft_string(struct inj_draft *draft, const char *text, uint32_t *ret);
/* Bytes that the finished record needs with so many entries and the strings added so far. */
size_t inj_draft_bytes(const struct inj_draft *draft, size_t n_areas, size_t n_sites);
/*
 * Write the record. buffer: at least inj_draft_bytes() long, 8-byte aligned. The string fields of
 * header and sites are turned from draft values into offsets.
 * Return: size of the record.
 */
size_t inj_draft_finish(const struct inj_draft *draft, const struct dsu_ledger_area *areas,
			size_t n_areas, const struct dsu_ledger_site *sites, size_t n_sites,
			void *buffer);

#endif
