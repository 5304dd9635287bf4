/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_STAGE_H
#define UPD_STAGE_H

#include "protocols/blueprint.h"
#include "protocols/subject.h"

/*
 * Bring the planned memory into the target: map it, link the patch into it, let IFUNC resolvers
 * choose, tell the target's unwinder. No byte of the target's own code or data changes; no redirect
 * exists yet.
 * State: running (one thread is borrowed for microseconds). deadline_ns bounds waiting for that
 *   thread.
 * Return: 0. On failure everything is unmapped again. The story is in subject->why. INJ_BUSY: the
 * target itself took an address of the plan; another plan may fit.
 */
int upd_stage(struct upd_subject *subject, uint64_t deadline_ns);

/*
 * Take the memory away again. Only for an update that was never committed and whose redirects are
 * not installed.
 * Return: 0. Errors: as for borrowing; the memory then stays, inert, and the next recovery tries
 *   again.
 */
int upd_unstage(struct upd_subject *subject, uint64_t deadline_ns);

/*
 * Remove the memory of one update that a ledger describes, unwinder included. Same conditions.
 * Return: 0; 1 when it must stay (a call to the unwinder was cut off, so the unwinder may know the
 *   memory).
 */
int upd_unmap_ledger(struct upd_subject *subject, const struct inj_ledger *ledger,
		     uint64_t deadline_ns, struct inj_why *why);

/* Unmap the stack for remote calls, once nothing needs to be called any more. Return: 0 or as for
 * borrowing. */
int upd_drop_scratch(struct upd_subject *subject, const struct inj_ledger *ledger,
		     uint64_t deadline_ns, struct inj_why *why);

#endif
