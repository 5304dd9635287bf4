/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One request from beginning to end: read the patch, open every target, hand over to the protocol
 * or question, write the report. Whatever happens, the report speaks of every pid that was asked
 * for, and everything that was taken is given back before this returns.
 */
#include "protocols/update.h"

#include <string.h>

#include "injector/base/clock.h"
#include "protocols/draw.h"
#include "protocols/fill.h"
#include "protocols/reader.h"
#include "protocols/run.h"
#include "protocols/settled.h"

#define DEFAULT_HOLD_BUDGET_NS 50000000ull
#define MAX_TARGETS 4096

static const char *const protocol_names[] = { "safe-redefine", NULL };

const char *const *upd_protocols(void)
{
	return protocol_names;
}

static bool changes_targets(enum upd_kind kind)
{
	return kind == UPD_APPLY || kind == UPD_REVERT || kind == UPD_RECOVER;
}

static enum upd_result good_result(enum upd_kind kind)
{
	return kind == UPD_APPLY ? UPD_APPLIED : kind == UPD_REVERT ? UPD_REVERTED : UPD_UNCHANGED;
}

static int check_protocol(struct upd_run *run, struct inj_why *why)
{
	const char *asked = run->request->protocol;

	run->protocol = protocol_names[0];
	if (!asked || asked[0] == '\0')
		return 0;
	for (size_t i = 0; protocol_names[i]; i++)
		if (strcmp(protocol_names[i], asked) == 0) {
			run->protocol = protocol_names[i];
			return 0;
		}
	return inj_refuse(why, INJ_BAD_PATCH, "There is no update protocol '%s'; known is: %s.",
			  asked, protocol_names[0]);
}

/* The patch alone is read first: what is wrong with it is no target's business. */
static int open_patch(struct upd_run *run, struct inj_why *why)
{
	struct upd_subject *first = &run->subjects[0];
	int r;

	if (run->request->patch_fd < 0)
		return 0;
	r = upd_reader_start(run->request->patch_fd, run->request->patch_name, &first->reader, why);
	return r ? r : upd_ask_patch(run, first->reader, why);
}

static int begin_journal(struct upd_run *run, struct inj_why *why)
{
	INJ_FREE const struct inj_process **processes = calloc(run->n_subjects, sizeof(*processes));
	int r;

	if (!changes_targets(run->request->kind) || run->request->kind == UPD_RECOVER)
		return 0;
	if (!processes)
		return inj_broke(why, -ENOMEM, "starting the journal of the update");
	for (size_t i = 0; i < run->n_subjects; i++)
		processes[i] = run->subjects[i].process;
	r = inj_journal_begin(run->request->journal_fd, run->request->update_id, run->request->kind,
			      processes, run->n_subjects, &run->journal);
	if (r == -ENOSPC)
		return inj_refuse(why, INJ_INTERNAL,
				  "There is no room for the journal of the update. Make room in "
				  "the state directory of dsud and try again; nothing was "
				  "changed.");
	return r == 0 ? 0 : inj_broke(why, r, "starting the journal of the update");
}

static void carry_through(struct upd_run *run)
{
	struct inj_why why = {};
	int r = check_protocol(run, &why);

	if (r == 0)
		r = open_patch(run, &why);
	if (r != 0) {
		upd_run_fail_all(run, r, &why);
		return;
	}
	/* This one looks at one after the other. */
	if (run->request->kind == UPD_STATUS) {
		upd_status(run);
		return;
	}
	for (size_t i = 0; i < run->n_subjects; i++) {
		struct upd_subject *subject = &run->subjects[i];

		upd_subject_open(subject);
		if (subject->process)
			subject->process->waits = run->waits;
	}
	upd_run_phase_done(run, "read");
	/* A change of several processes is all or nothing; questions are answered for each. */
	if (changes_targets(run->request->kind) && run->request->kind != UPD_RECOVER) {
		if (upd_run_failed(run)) {
			upd_run_fail_others(run);
			return;
		}
		r = begin_journal(run, &why);
		if (r != 0) {
			upd_run_fail_all(run, r, &why);
			return;
		}
	}
	switch (run->request->kind) {
	case UPD_APPLY: upd_apply(run); break;
	case UPD_REVERT: upd_revert(run); break;
	case UPD_CHECK: upd_check(run); break;
	case UPD_STACKS: upd_stacks(run); break;
	case UPD_STATUS: break;
	case UPD_RECOVER: upd_recover(run); break;
	}
}

static void finish_report(struct upd_run *run)
{
	const uint64_t total_ns = inj_now_ns() - run->started_ns;

	for (size_t i = 0; i < run->n_subjects; i++) {
		struct upd_target *target = &run->report->targets[i];

		upd_subject_explain(&run->subjects[i]);
		if (run->request->kind != UPD_RECOVER || run->subjects[i].code != 0)
			upd_fill_outcome(target, &run->subjects[i],
					 good_result(run->request->kind));
		else
			upd_fill_identity(target, run->subjects[i].process);
		if (target->protocol[0] == '\0')
			upd_fill_string(&target->protocol, run->protocol);
		if (target->patch[0] == '\0')
			upd_fill_string(&target->patch, run->patch_id);
		if (target->patch[0] == '\0' && run->request->patch_id)
			upd_fill_string(&target->patch, run->request->patch_id);
		target->attempts = run->attempts ? run->attempts : target->attempts;
		target->held_ns = run->held_ns ? run->held_ns : target->held_ns;
		target->total_ns = total_ns;
	}
	upd_tell_unsettled(run);
}

int upd_run(const struct upd_request *request, struct upd_report *report)
{
	struct upd_run run = {
		.request = request,
		.report = report,
		.started_ns = inj_now_ns(),
		.hold_budget_ns = request->hold_budget_ns ? request->hold_budget_ns :
							    DEFAULT_HOLD_BUDGET_NS,
	};

	if (request->n_pids == 0 || request->n_pids > MAX_TARGETS ||
	    (request->patch_fd < 0 && (request->kind == UPD_APPLY || request->kind == UPD_CHECK)) ||
	    (!request->patch_id && request->kind == UPD_REVERT))
		return -EINVAL;
	run.deadline_ns = run.started_ns + request->timeout_ns;
	run.phase_started_ns = run.started_ns;
	run.subjects = calloc(request->n_pids, sizeof(*run.subjects));
	if (!run.subjects)
		return -ENOMEM;
	run.n_subjects = request->n_pids;
	for (size_t i = 0; i < request->n_pids; i++) {
		upd_subject_init(&run.subjects[i], request->pids[i]);
		run.subjects[i].request = request;
		if (!upd_report_add(report, request->pids[i])) {
			free(run.subjects);
			return -ENOMEM;
		}
	}
	/* Without, all calls end late that are interrupted: no reason to fail. */
	if (request->timekeeper)
		run.waits = request->timekeeper->waits;
	else if (upd_timekeeper_init(&run.own_timekeeper) == 0)
		run.waits = run.own_timekeeper.waits;
	carry_through(&run);
	finish_report(&run);
	inj_tracer_free(run.tracer);
	for (size_t i = 0; i < run.n_subjects; i++) {
		upd_subject_deinit(&run.subjects[i]);
	}
	upd_timekeeper_deinit(&run.own_timekeeper);
	inj_journal_free(run.journal);
	free(run.subjects);
	return 0;
}
