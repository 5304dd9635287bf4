/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_REGISTRY_SELECT_H
#define DSUD_REGISTRY_SELECT_H

#include "dsud/contract.h"
#include "dsud/worker/subject.h"
#include "injector/base/why.h"

/* Processes chosen so far, each once, in the order in which they were named. Starts as { 0 }. */
struct dsud_selection {
	struct dsud_subject subjects[DSUD_MAX_TARGETS_PER_UPDATE];
	size_t n;
};

enum dsud_selector {
	DSUD_BY_PID,
	DSUD_BY_EXE,
	DSUD_BY_COMM,
	DSUD_BY_UNIT,
};

/*
 * Word of the contract to selector.
 * Return: 0. Errors: -EINVAL when there is no such word.
 */
int dsud_selector_from_word(const char *word, enum dsud_selector *ret);

/*
 * Add the processes that a selector names. The daemon itself and its children are never chosen:
 * named by pid they are refused, matched otherwise they are passed over; so are kernel threads.
 * selection: grows; value: the caller's, hostile.
 * State: any.
 * Return: 0. A pid is taken as it is, alive or not: its fate is told in the report.
 * Errors: -EINVAL (no pid, or no absolute path); INJ_NO_SUCH_PROCESS (nothing matches);
 *   INJ_UNSUPPORTED_PROCESS (dsud itself); INJ_BUSY (more than DSUD_MAX_TARGETS_PER_UPDATE).
 *   All with a story.
 * Source: proc(5), sd_pid_get_unit(3).
 */
int dsud_select(struct dsud_selection *selection, enum dsud_selector by, const char *value,
		struct inj_why *why);

#endif
