/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_FILL_H
#define UPD_FILL_H

#include "protocols/blueprint.h"
#include "protocols/report.h"
#include "protocols/subject.h"

/*
 * Writing into a report. A report that cannot grow for lack of memory keeps what it has: the
 * outcome of an update must not change because its account is incomplete.
 *
 * Of all of them:
 * State: any; what is said of the target was read before.
 * Return: nothing.
 * Errors: none.
 * Source: docs/man, dsuctl(1).
 */

/* Replace an owned string by a printable copy of text. */
void upd_fill_string(char **field, const char *text);
/* pid, comm and executable of a process. */
void upd_fill_identity(struct upd_target *target, const struct inj_process *process);
void upd_fill_phase(struct upd_target *target, const char *name, uint64_t ns);
/* Replace the list of blockers; process NULL clears it. names: by tag. Reads each thread's name. */
void upd_fill_blockers(struct upd_target *target, const struct inj_process *process,
		       const struct inj_activity *activity, const char *const *names,
		       size_t n_names);
/* One more note. */
void upd_fill_note(struct upd_target *target, const char *text);
/* Patch and functions of a blueprint, with its notes. */
void upd_fill_blueprint(struct upd_target *target, const struct upd_blueprint *blueprint);
/* Patch and functions of one ledger. */
void upd_fill_ledger(struct upd_target *target, const struct inj_ledger *ledger);
/* All patches that a process remembers, but for reverted ones. */
void upd_fill_patches(struct upd_target *target, const struct inj_history *history);
/* Result, code and message of one subject. good: the result when nothing failed. */
void upd_fill_outcome(struct upd_target *target, const struct upd_subject *subject,
		      enum upd_result good);

#endif
