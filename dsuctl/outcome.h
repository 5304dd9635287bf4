/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_OUTCOME_H
#define CTL_OUTCOME_H

#include <jansson.h>
#include <stdbool.h>

/* Exit codes, a contract with scripts. */
enum ctl_exit {
	CTL_EXIT_DONE = 0,
	CTL_EXIT_FAILED = 1,
	CTL_EXIT_USAGE = 2,
	CTL_EXIT_BLOCKED = 3,
	CTL_EXIT_REFUSED = 4,
	CTL_EXIT_NO_TARGET = 5,
	CTL_EXIT_NOT_ALLOWED = 6,
	CTL_EXIT_NO_DAEMON = 7,
};

/* Names dsuctl itself reports: the ones a bus uses for the same thing. */
#define CTL_ERROR_USAGE "org.freedesktop.DBus.Error.InvalidArgs"
#define CTL_ERROR_NO_FILE "org.freedesktop.DBus.Error.FileNotFound"
#define CTL_ERROR_NOT_ALLOWED "org.freedesktop.DBus.Error.AccessDenied"
#define CTL_ERROR_NO_DAEMON "org.freedesktop.DBus.Error.ServiceUnknown"
#define CTL_ERROR_UNSUPPORTED "org.freedesktop.DBus.Error.NotSupported"
#define CTL_ERROR_FAILED "org.freedesktop.DBus.Error.Failed"

/* Exit code for an error name of the bus; CTL_EXIT_FAILED for one that is not known. */
enum ctl_exit ctl_outcome_of_error(const char *name);

/*
 * One sentence: what to do next, beside what the message of the error says itself; NULL when that
 * is enough.
 */
const char *ctl_outcome_advice(const char *name);

/*
 * Exit code for one entry of a report: its `error` decides, and its `result` where there is none.
 * An entry with neither reports a fact and is done.
 */
enum ctl_exit ctl_outcome_of_target(const json_t *target);

/* Was it left alone because the update was cancelled, maybe on account of another target? */
bool ctl_outcome_is_cancelled(const json_t *target);

/*
 * Exit code for a list of such entries: the gravest, in the order failed, not allowed, no target,
 * refused, blocked, done. Entries that were cancelled count (as failed) only where no other entry
 * says why. An empty list is done: nothing was asked of anybody.
 */
enum ctl_exit ctl_outcome_of_list(const json_t *list);

#endif
