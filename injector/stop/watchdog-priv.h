/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_STOP_WATCHDOG_PRIV_H
#define INJ_STOP_WATCHDOG_PRIV_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/*
 * Kills this process with SIGKILL when the time is up. Whoever holds others must not hang: whatever
 * goes wrong with us, our death sets them free, and what is half done is put right by a successor.
 */
struct inj_watchdog {
	timer_t timer;
	bool is_there;
};

/* Without a timer (the system has none left) there is no watchdog: the daemon's deadline remains.
 * */
void inj_watchdog_init(struct inj_watchdog *watchdog);
void inj_watchdog_deinit(struct inj_watchdog *watchdog);
/* From now on, again if it runs; 0: never. */
void inj_watchdog_set(struct inj_watchdog *watchdog, uint64_t time_ns);

#endif
