/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_TIMEKEEPER_H
#define UPD_TIMEKEEPER_H

#include <stdbool.h>
#include <stdint.h>

struct inj_waits;

/*
 * Knows when the calls of targets that a request interrupted have to end. Requests that share one
 * share what it knows.
 */
struct upd_timekeeper {
	struct inj_waits *waits;
};

/*
 * Begin with nothing.
 * ret: end with upd_timekeeper_deinit().
 * State: none.
 * Return: 0.
 * Errors: -ENOMEM.
 * Source: none.
 */
int upd_timekeeper_init(struct upd_timekeeper *ret);

/*
 * Forget everything: calls under way end late. All zero is fine.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_timekeeper_deinit(struct upd_timekeeper *timekeeper);

/*
 * Would calls of targets end late if nobody stayed?
 * State: no request is under way.
 * Return: yes or no.
 * Errors: none.
 * Source: none.
 */
bool upd_timekeeper_is_needed(struct upd_timekeeper *timekeeper);

/*
 * In a child that was just forked, which takes over from its parent: stay until all of them have
 * ended, by themselves or, at their time, by us; see inj_waits_keep().
 * longest_ns: at most so long.
 * State: just forked.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_timekeeper_stay(struct upd_timekeeper *timekeeper, uint64_t longest_ns);

#endif
