/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_GUARD_H
#define UPD_GUARD_H

#include "protocols/run.h"

/*
 * The dead man's switch of one target for the time of one hold, announced in the journal: whoever
 * finds the target stopped by it knows that it is to go on once its code is whole.
 */

/*
 * Arm it, before the first write.
 * subject: of this run; hold: its own; ret_armed: for upd_guard_disarm().
 * State: held, and inj_guard_must_wait() said no within this hold.
 * Return: 0.
 * Errors: those of inj_guard_arm(); negative errno when the journal cannot be written.
 * Source: injector/txn/code.h.
 */
int upd_guard_arm(struct upd_run *run, const struct upd_subject *subject,
		  const struct inj_hold *hold, bool *ret_armed, struct inj_why *why);

/*
 * Take it back, after the last write.
 * armed: from upd_guard_arm().
 * State: the same hold.
 * Return: nothing.
 * Errors: none; a switch that stays is for recovery to take back.
 * Source: injector/txn/code.h.
 */
void upd_guard_disarm(struct upd_run *run, const struct upd_subject *subject,
		      const struct inj_hold *hold, bool armed);

#endif
