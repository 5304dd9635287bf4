/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_REGISTRY_OUTCOME_H
#define DSUD_REGISTRY_OUTCOME_H

#include "dsud/registry/update.h"

/*
 * Is a worker's report about the processes of the order, one by one and in order? A scan may be
 * about any processes.
 */
bool dsud_outcome_fits(const struct dsud_order *order, const struct upd_report *report);

/*
 * Make the report that no worker could make: every process of the update with one result and one
 * story.
 * ret: overwritten, free with upd_report_deinit().
 * Return: 0. Errors: -ENOMEM.
 */
int dsud_outcome_fill(const struct dsud_update *update, enum upd_result result, int code,
		      const char *message, struct upd_report *ret);

/*
 * Turn what a recovery found into the outcome of the update whose worker died: done after all, or
 * undone and failed, with the story of the death.
 * report: of the recovery, changed in place.
 */
void dsud_outcome_of_recovery(const struct dsud_update *update, struct upd_report *report);

/*
 * Tell those processes apart that a recovery could not settle: failed, with words that promise
 * nothing about them, and marked as unsettled.
 * report: of the recovery, changed in place.
 */
void dsud_outcome_tell_unsettled(const struct dsud_update *update, struct upd_report *report);

/* Mark those processes as unsettled in which the ledgers, read after a change, show an update that
 * neither runs nor is taken back. */
void dsud_outcome_mark_unfinished(struct upd_report *report, const struct upd_report *ledgers);

/* Add a note; one that does not fit into memory is left out. */
void dsud_outcome_note(struct upd_target *target, const char *note);

/* The first target in which something may be left; NULL: none. */
const struct upd_target *dsud_outcome_unsettled(const struct upd_report *report);

/* The result of the whole: the gravest one. */
enum upd_result dsud_outcome_gravest(const struct upd_report *report);

#endif
