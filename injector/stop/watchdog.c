/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the limit of a hold: a timer of the kernel, so that it works when all our threads hang.
 * Always
 * holds: set before anybody is asked to stop, taken back after everybody was let go.
 */
#include <signal.h>

#include "injector/stop/watchdog-priv.h"

#define SECOND_NS 1000000000u

void inj_watchdog_init(struct inj_watchdog *watchdog)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};

	watchdog->is_there = timer_create(CLOCK_MONOTONIC, &event, &watchdog->timer) == 0;
}

void inj_watchdog_deinit(struct inj_watchdog *watchdog)
{
	if (watchdog->is_there)
		timer_delete(watchdog->timer);
	watchdog->is_there = false;
}

void inj_watchdog_set(struct inj_watchdog *watchdog, uint64_t time_ns)
{
	struct itimerspec when = {
		.it_value = {(time_t)(time_ns / SECOND_NS), (long)(time_ns % SECOND_NS)},
	};

	if (watchdog->is_there)
		timer_settime(watchdog->timer, 0, &when, NULL);
}
