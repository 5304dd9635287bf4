/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_PROGRESS_H
#define CTL_PROGRESS_H

#include <jansson.h>
#include <stdbool.h>

#include "dsuctl/options.h"

/* One line on standard error that changes in place; nothing where that is no terminal. */
struct ctl_progress {
	json_t *latest; /* owned */
	uint64_t deadline_ns;
	bool is_shown;
	bool is_on_screen;
};

void ctl_progress_init(struct ctl_progress *ret, const struct ctl_options *options);
void ctl_progress_deinit(struct ctl_progress *progress);

/* event: a progress dictionary; a reference is kept. */
void ctl_progress_set(struct ctl_progress *progress, json_t *event);
/* Draw again, with the time that is left now. */
void ctl_progress_draw(struct ctl_progress *progress);
/* Take the line away, before anything else is printed. */
void ctl_progress_clear(struct ctl_progress *progress);

/*
 * The line for an event: "wait, attempt 3, 7 s left: worker(4712) is in hello".
 * remaining_ns: shown as seconds begun; UINT64_MAX leaves the time out.
 * Return: malloc'ed, NULL when out of memory.
 */
char *ctl_progress_line(const json_t *event, uint64_t remaining_ns);

#endif
