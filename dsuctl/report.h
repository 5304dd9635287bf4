/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_REPORT_H
#define CTL_REPORT_H

#include <jansson.h>

#include "dsuctl/options.h"
#include "dsuctl/print.h"

/*
 * Tell the outcome of apply, revert or check: the JSON document, or a sentence per target with its
 * functions, blockers and notes, and what to do next.
 * report: the daemon's list of targets. Return: the exit code.
 */
int ctl_report_tell(const struct ctl_options *options, json_t *report);

/* "applied hello-v2 to 4711 (server)", a target's outcome in a few words. malloc'ed, or NULL. */
char *ctl_report_headline(const json_t *target);

#endif
