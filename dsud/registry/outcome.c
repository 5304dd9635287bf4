/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the judgement of outcomes: what a worker may say, what is said in place of one that died.
 * Always holds: a settled update has one entry for every process it was for, and an entry says
 * "applied" or "reverted" only when a worker read that from the target.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dsud/registry/outcome.h"
#include "injector/base/cleanup.h"

bool dsud_outcome_fits(const struct dsud_order *order, const struct upd_report *report)
{
	if (order->scan)
		return true;
	if (report->n_targets != order->n_subjects)
		return false;
	for (size_t i = 0; i < report->n_targets; i++)
		if (report->targets[i].pid != order->subjects[i].pid)
			return false;
	return true;
}

static bool set_text(char **place, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return false;
	free(*place);
	*place = copy;
	return true;
}

int dsud_outcome_fill(const struct dsud_update *update, enum upd_result result, int code,
		      const char *message, struct upd_report *ret)
{
	UPD_REPORT_CLEAN struct upd_report report = {0};
	const struct dsud_order *order = &update->order;

	for (size_t i = 0; i < order->n_subjects; i++) {
		struct upd_target *target = upd_report_add(&report, order->subjects[i].pid);

		if (!target || !set_text(&target->message, message) ||
		    !set_text(&target->patch, update->patch ? update->patch : ""))
			return -ENOMEM;
		target->result = result;
		target->code = code;
	}
	*ret = report;
	report = (struct upd_report){0};
	return 0;
}

static void tell_undone(const struct dsud_update *update, struct upd_target *target)
{
	char text[768];

	if (update->cancel_asked)
		snprintf(
			text, sizeof(text),
			"Cancelled; the worker %s. Everything was undone: the process is as it was "
			"before.",
			update->death);
	else
		snprintf(text, sizeof(text),
			 "The worker %s. Everything was undone: the process is as it was before. "
			 "Try "
			 "again, and report this if it happens twice.",
			 update->death);
	target->result = update->cancel_asked ? UPD_UNCHANGED : UPD_FAILED;
	target->code = update->cancel_asked ? INJ_CANCELLED : INJ_INTERNAL;
	set_text(&target->message, text);
}

static void add_note(struct upd_target *target, const char *note)
{
	char **grown = reallocarray(target->notes, target->n_notes + 1, sizeof(*grown));

	if (!grown)
		return;
	target->notes = grown;
	grown[target->n_notes] = strdup(note);
	target->n_notes += grown[target->n_notes] != NULL;
}

void dsud_outcome_of_recovery(const struct dsud_update *update, struct upd_report *report)
{
	enum upd_result wanted = update->order.kind == UPD_REVERT ? UPD_REVERTED : UPD_APPLIED;
	char note[384];

	snprintf(note, sizeof(note), "The worker %s; a second one finished its work.",
		 update->death);
	for (size_t i = 0; i < report->n_targets; i++) {
		struct upd_target *target = &report->targets[i];

		if (target->patch[0] == '\0' && update->patch)
			set_text(&target->patch, update->patch);
		if (target->code != 0)
			continue;
		if (target->result == wanted)
			add_note(target, note);
		else
			tell_undone(update, target);
	}
}

enum upd_result dsud_outcome_gravest(const struct upd_report *report)
{
	static const enum upd_result order[] = {UPD_FAILED,    UPD_GONE,    UPD_BLOCKED,
						UPD_REFUSED, UPD_UNCHANGED, UPD_REVERTED,
						UPD_APPLIED};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(order); i++)
		for (size_t n = 0; n < report->n_targets; n++)
			if (report->targets[n].result == order[i])
				return order[i];
	return UPD_FAILED;
}
