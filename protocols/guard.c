/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * When the dead man's switch is armed, and who is told. Always holds: the journal says so before
 * the first signal is sent, and says so no more only after the signals were taken back. Whether it
 * is needed at all is read from the hold, because somebody may stop or continue the target at any
 * time before that.
 */
#include "protocols/guard.h"

#include "injector/txn/code.h"

static int announce(struct upd_run *run, const struct upd_subject *subject, bool guarded)
{
	return run->journal ? inj_journal_set_guarded(run->journal,
						      (size_t)(subject - run->subjects), guarded) :
			      0;
}

int upd_guard_arm(struct upd_run *run, const struct upd_subject *subject,
		  const struct inj_hold *hold, bool *ret_armed, struct inj_why *why)
{
	int r;

	*ret_armed = false;
	if (inj_tracer_job(run->tracer, hold) == INJ_JOB_STOPPED)
		return 0;
	r = announce(run, subject, true);
	if (r < 0)
		return inj_broke(why, r, "writing the journal of the update");
	r = inj_guard_arm(hold, why);
	*ret_armed = r == 0;
	if (r != 0)
		announce(run, subject, false);
	return r;
}

void upd_guard_disarm(struct upd_run *run, const struct upd_subject *subject,
		      const struct inj_hold *hold, bool armed)
{
	if (!armed)
		return;
	inj_guard_disarm(hold);
	announce(run, subject, false);
}
