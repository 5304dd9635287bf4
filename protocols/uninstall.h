/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_UNINSTALL_H
#define UPD_UNINSTALL_H

#include "protocols/quiesce.h"

#define INJ_LEDGER_NAME_MAX 256

/*
 * One of the writes of a site, as it is installed.
 * site: of a checked ledger; i: below site->n_writes; ret: filled.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: injector/abi/ledger.h.
 */
void upd_write_of(const struct dsu_ledger_site *site, size_t i, struct inj_code_write *ret);

/* The way back for one ledger of one target, prepared before the hold. */
struct upd_removal {
	const struct inj_ledger *ledger; /* borrowed from the subject's history */
	struct inj_code_write *writes;   /* as installed: all sites, in order */
	size_t n_writes;
	bool needs_guard;
};

/*
 * Collect the writes and what must not run meanwhile: all executable parts of the patch's image.
 * removal: its ledger is set, the rest is filled; list: empty, filled and sealed.
 * State: running or held.
 * Return: 0; upd_removal_deinit() and upd_watch_deinit() end both in every case.
 * Errors: -ENOMEM, which the subject now carries.
 * Source: docs/ledger.md.
 */
int upd_removal_prepare(struct upd_subject *subject, struct upd_removal *removal,
			struct upd_watch_list *list);

/*
 * Free what a removal owns; zeroed ones are fine.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_removal_deinit(struct upd_removal *removal);

/*
 * Is a thread on its way through a stub (which may have decided already) or through the padding
 * that leads to one, or a signal on its way that stops or continues the target? All are gone within
 * moments.
 * hold: of the subject's process.
 * State: held.
 * Return: the answer; if yes, why tells.
 * Errors: none; what cannot be read counts as in the way.
 * Source: none.
 */
bool upd_removal_must_wait(const struct upd_run *run, const struct upd_removal *removal,
			   const struct inj_hold *hold, struct inj_why *why);

/*
 * May the bytes of the sites come back, no thread standing where they differ? The same, without the
 * stubs.
 * hold: of the subject's process.
 * State: held.
 * Return: the answer; if not, why tells.
 * Errors: none.
 * Source: none.
 */
bool upd_removal_may_restore(const struct upd_run *run, const struct upd_removal *removal,
			     const struct inj_hold *hold, struct inj_why *why);

/*
 * Is it still the program that the ledger was read from?
 * State, Return, Errors, Source: of upd_subject_check_program().
 */
int upd_removal_check_program(const struct upd_subject *subject, const struct upd_removal *removal,
			      struct inj_why *why);

/*
 * Is it still that program, and do all sites still read as we left them?
 * State: held.
 * Return: 0.
 * Errors: the code that the subject now carries: INJ_PROCESS_GONE, INJ_UNSUPPORTED_PROCESS (another
 *   tool changed a redirect), negative errno of reading.
 * Source: none.
 */
int upd_removal_verify(struct upd_subject *subject, const struct upd_removal *removal);

/*
 * Store the old generation (the commit of a revert) and put the sites' bytes back.
 * removal: verified; hold: of the subject's process.
 * State: held, and nothing watched is live.
 * Return: 0.
 * Errors: the code that the subject now carries; the generation says which version runs.
 * Source: docs/ledger.md.
 */
int upd_removal_commit(struct upd_run *run, struct upd_subject *subject,
		       const struct upd_removal *removal, const struct inj_hold *hold);

/*
 * Undo an update that was never committed: return addresses and sites go back under a hold; the
 * memory is unmapped unless a thread is still inside or the target's unwinder may know it, then it
 * stays, inert and marked as reverted.
 * ledger: of the subject's history.
 * State: running; run->tracer and subject->writer are there; run->deadline_ns bounds the waiting.
 * Return: 0.
 * Errors: the code that the subject now carries.
 * Source: docs/ledger.md.
 */
int upd_undo_ledger(struct upd_run *run, struct upd_subject *subject,
		    const struct inj_ledger *ledger);

/*
 * Take ledgers back in several targets at one moment; a target without a ledger in its removal
 * takes no part but is held.
 * removals, lists: one per subject, prepared.
 * State, Return, Errors: as upd_quiesce().
 * Source: docs/protocols.md.
 */
int upd_revert_ledgers(struct upd_run *run, struct upd_removal *removals,
		       struct upd_watch_list *lists);

#endif
