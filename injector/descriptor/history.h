/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_DESCRIPTOR_HISTORY_H
#define INJ_DESCRIPTOR_HISTORY_H

#include "injector/descriptor/ledger.h"
#include "injector/process/maps.h"

#define INJ_UNKNOWN_NAME_BYTES 128

/* An update with a record in a layout that we do not know: another version of dsud made it. */
struct inj_unknown_ledger {
	inj_addr address;
	uint32_t version;
	char patch_id[INJ_UNKNOWN_NAME_BYTES]; /* as its memory is named; raw */
};

/* All updates that a process remembers, lowest first (by sequence). */
struct inj_history {
	struct inj_ledger **ledgers;
	size_t n_ledgers;
	struct inj_unknown_ledger *unknown;
	size_t n_unknown;
	size_t n_orphans;  /* mappings of ours that no ledger lists */
};

/*
 * Read every ledger of a process.
 * maps: of this process, read just before. ret: free with inj_history_deinit().
 * State: running or held. Return: 0, also when there is nothing.
 * Errors: INJ_UNSUPPORTED_PROCESS (more records, or larger ones, than there can be); negative
 *   errno. A damaged record is not an error: its mappings count as orphans.
 * Source: docs/ledger.md.
 */
int inj_history_read(const struct inj_process *process, const struct inj_maps *maps,
		     struct inj_history *ret, struct inj_why *why);
void inj_history_deinit(struct inj_history *history);

/* The active update of that patch id, or NULL. */
const struct inj_ledger *inj_history_active(const struct inj_history *history,
					    const char *patch_id);

/* The active update that replaced the function at this address, and the site; NULL when none
 * did. */
const struct inj_ledger *inj_history_replacing(const struct inj_history *history, inj_addr address,
					       const struct dsu_ledger_site **ret_site);

/* An active update that replaced a function of this one's image; NULL when nothing stands above
 * it. */
const struct inj_ledger *inj_history_above(const struct inj_history *history,
					   const struct inj_ledger *ledger);

/* Highest sequence in use, 0 when there is none. */
uint64_t inj_history_sequence(const struct inj_history *history);

#endif
