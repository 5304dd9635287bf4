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
 * Return: 0.
 * Errors: INJ_BUSY (the target itself took an address of the plan; another plan may fit); those of
 *   borrowing, mapping and linking. Everything is unmapped again; the story is in subject->why.
 * Source: docs/ledger.md.
 */
int upd_stage(struct upd_subject *subject, uint64_t deadline_ns);

/*
 * Take the memory away again. Only for an update that was never committed and whose redirects are
 * not installed.
 * deadline_ns: CLOCK_MONOTONIC.
 * State: running; no thread executes there.
 * Return: 0; subject->staged says whether the memory stays for the unwinder's sake.
 * Errors: as for borrowing; the memory then stays, inert, and the next recovery tries again.
 * Source: docs/ledger.md.
 */
int upd_unstage(struct upd_subject *subject, uint64_t deadline_ns);

/*
 * Remove the memory of one update that a ledger describes, unwinder included. Same conditions.
 * ledger: of the subject's history; deadline_ns: CLOCK_MONOTONIC.
 * State: as upd_unstage().
 * Return: 0; 1 when it must stay (a call to the unwinder was cut off, so the unwinder may know the
 *   memory).
 * Errors: as for borrowing and for remote calls.
 * Source: libgcc's unwind-dw2-fde.c.
 */
int upd_unmap_ledger(struct upd_subject *subject, const struct inj_ledger *ledger,
		     uint64_t deadline_ns, struct inj_why *why);

/*
 * Unmap the stack for remote calls, once nothing needs to be called any more.
 * ledger: of the subject's history; deadline_ns: CLOCK_MONOTONIC.
 * State: running.
 * Return: 0, also when there is none.
 * Errors: as for borrowing.
 * Source: munmap(2).
 */
int upd_drop_scratch(struct upd_subject *subject, const struct inj_ledger *ledger,
		     uint64_t deadline_ns, struct inj_why *why);

#endif
