/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The waits of targets with an end, as the daemon's workers see them: something to keep after a
 * request, or not. */
#include "protocols/timekeeper.h"

#include "injector/base/clock.h"
#include "injector/stop/waits.h"

int upd_timekeeper_init(struct upd_timekeeper *ret)
{
	return inj_waits_new(&ret->waits);
}

void upd_timekeeper_deinit(struct upd_timekeeper *timekeeper)
{
	inj_waits_free(INJ_TAKE(timekeeper->waits));
}

bool upd_timekeeper_is_needed(struct upd_timekeeper *timekeeper)
{
	return inj_waits_pending(timekeeper->waits) > 0;
}

void upd_timekeeper_stay(struct upd_timekeeper *timekeeper, uint64_t longest_ns)
{
	inj_waits_inherit(timekeeper->waits);
	inj_waits_keep(timekeeper->waits, inj_now_ns() + longest_ns, -1);
}
