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

void dsud_outcome_note(struct upd_target *target, const char *note)
{
	char **grown = reallocarray(target->notes, target->n_notes + 1, sizeof(*grown));

	if (!grown)
		return;
	target->notes = grown;
	grown[target->n_notes] = strdup(note);
	target->n_notes += grown[target->n_notes] != NULL;
}

/* Whoever ended has nothing to settle, collected by its parent or not. */
static bool has_ended(pid_t pid)
{
	char text[1024];
	const char *at;

	if (dsud_proc_read(pid, "stat", text, sizeof(text)) < 0)
		return true;
	at = strrchr(text, ')');
	return at && (strncmp(at, ") Z", 3) == 0 || strncmp(at, ") X", 3) == 0);
}

/* Anything else may hold what the dead worker left. */
static bool is_unsettled(const struct upd_target *target)
{
	return target->code != 0 && target->code != INJ_PROCESS_GONE &&
	       target->code != INJ_NO_SUCH_PROCESS && !has_ended(target->pid);
}

void dsud_outcome_tell_unsettled(const struct dsud_update *update, struct upd_report *report)
{
	for (size_t i = 0; i < report->n_targets; i++) {
		struct upd_target *target = &report->targets[i];
		INJ_FREE char *text = NULL;

		target->unsettled |= is_unsettled(target);
		if (!target->unsettled)
			continue;
		/* "Blocked" or "refused" would promise that nothing is left. */
		target->result = UPD_FAILED;
		target->code = INJ_INTERNAL;
		if (asprintf(&text,
			     "The worker %s, and what it left could not be settled (%s). The "
			     "journal is kept and dsud tries again; see 'dsuctl status' for what "
			     "the process carries.",
			     update->death, target->message ? target->message : "") < 0)
			text = NULL;
		else
			set_text(&target->message, text);
	}
}

static bool is_unfinished(const struct upd_target *state)
{
	for (size_t i = 0; i < state->n_patches; i++)
		if (strcmp(state->patches[i].state, "staged") == 0 ||
		    strcmp(state->patches[i].state, "reverting") == 0)
			return true;
	return false;
}

void dsud_outcome_mark_unfinished(struct upd_report *report, const struct upd_report *ledgers)
{
	for (size_t i = 0; i < report->n_targets; i++)
		for (size_t n = 0; n < ledgers->n_targets; n++)
			if (ledgers->targets[n].pid == report->targets[i].pid)
				report->targets[i].unsettled |= is_unfinished(&ledgers->targets[n]);
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
			dsud_outcome_note(target, note);
		else
			tell_undone(update, target);
	}
}

const struct upd_target *dsud_outcome_unsettled(const struct upd_report *report)
{
	for (size_t i = 0; i < report->n_targets; i++)
		if (report->targets[i].unsettled)
			return &report->targets[i];
	return NULL;
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
