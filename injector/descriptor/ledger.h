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

/*
 * Free a checked record.
 * ledger: NULL is fine.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void inj_ledger_free(struct inj_ledger *ledger);
INJ_DEFINE_GUARD(struct inj_ledger *, inj_ledger_free, inj_ledger_guard)

/*
 * A string of the record.
 * offset: from a field of it.
 * State: any.
 * Return: borrowed from the ledger, raw: not made printable; "" for offset 0.
 * Errors: none.
 * Source: docs/ledger.md.
 */
const char *inj_ledger_string(const struct inj_ledger *ledger, uint32_t offset);

/* Does the code of this update run now? The generation alone decides. */
static inline bool inj_ledger_active(const struct inj_ledger *ledger)
{
	return ledger->control.generation == 1;
}

/*
 * Checksum over the record as it stands, its own field counted as 0.
 * bytes: of the record, at least its header.
 * State: none; pure.
 * Return: CRC-32.
 * Errors: none.
 * Source: docs/ledger.md.
 */
uint32_t inj_ledger_checksum(const struct dsu_ledger *record, size_t bytes);

/* A record in the making: strings are added first, then tables are copied in by
 * inj_draft_finish(). */
struct inj_draft {
	struct dsu_ledger header;
	char *strings;
	size_t n_strings;
};

/*
 * Start a draft. Its header may be filled in freely but for offsets, sizes and the checksum.
 * draft: end with inj_draft_deinit().
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void inj_draft_init(struct inj_draft *draft);

/*
 * Free what a draft owns.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void inj_draft_deinit(struct inj_draft *draft);

/*
 * Add a string.
 * text: copied; ret: what stands for it until finish.
 * State: none.
 * Return: 0.
 * Errors: -ENOMEM; -E2BIG (more than a record can hold).
 * Source: none.
 */
int inj_draft_string(struct inj_draft *draft, const char *text, uint32_t *ret);

/*
 * Size of the finished record.
 * n_areas, n_sites: entries that it will have, besides the strings added so far.
 * State: none.
 * Return: bytes.
 * Errors: none.
 * Source: docs/ledger.md.
 */
size_t inj_draft_bytes(const struct inj_draft *draft, size_t n_areas, size_t n_sites);

/*
 * Write the record. The string fields of header and sites are turned from draft values into
 * offsets.
 * areas, sites: copied; buffer: at least inj_draft_bytes() long, 8-byte aligned.
 * State: none.
 * Return: size of the record in bytes.
 * Errors: none.
 * Source: docs/ledger.md.
 */
size_t inj_draft_finish(const struct inj_draft *draft, const struct dsu_ledger_area *areas,
			size_t n_areas, const struct dsu_ledger_site *sites, size_t n_sites,
			void *buffer);

#endif
