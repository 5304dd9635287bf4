/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The update protocol `safe-redefine`, as Opus and Ksplice know it: all functions of a patch are
 * replaced at one moment at which none of them is on any stack of any thread of any target.
 *
 * Everything is planned before anything is touched, and staged before anything is held. Under the
 * one hold that finds all stacks clear the redirects are written, still inert, and each target is
 * committed with one store. A failure before the first store leaves all targets as they were.
 */
#include <string.h>
#include <time.h>

#include "injector/base/clock.h"
#include "injector/base/fault-point.h"
#include "injector/redirect/site.h"
#include "protocols/draw.h"
#include "protocols/fill.h"
#include "protocols/guard.h"
#include "protocols/promote.h"
#include "protocols/quiesce.h"
#include "protocols/stage.h"
#include "protocols/uninstall.h"
#include "protocols/walk.h"

#define UNDO_NS 2000000000ull
#define SETTLE_NS 1000000000ull
/* A program that maps and unmaps all the time takes a chosen address in about every second try. */
#define MAX_PLANS 32

/* Plan every target; all refusals of all targets are found, not only the first. Return: 0 or the
 * first code. */
static int plan_all(struct upd_run *run)
{
	for (size_t i = 0; i < run->n_subjects; i++) {
		struct upd_subject *subject = &run->subjects[i];

		if (subject->code == 0)
			upd_draw(run, subject, (uint32_t)run->n_subjects);
	}
	return upd_run_failed(run);
}

static void fill_plans(struct upd_run *run)
{
	for (size_t i = 0; i < run->n_subjects; i++)
		if (run->subjects[i].blueprint)
			upd_fill_blueprint(&run->report->targets[i], run->subjects[i].blueprint);
}

/* Nothing of the failed plan is left in the target: forget it, look again, make another. */
static int plan_again(struct upd_run *run, size_t index)
{
	struct upd_subject *subject = &run->subjects[index];
	int r;

	upd_blueprint_free(INJ_TAKE(subject->blueprint));
	inj_space_deinit(&subject->space);
	subject->code = 0;
	subject->why = (struct inj_why){};
	r = upd_subject_refresh(subject);
	if (r == 0)
		r = upd_draw(run, subject, (uint32_t)run->n_subjects);
	if (r != 0)
		return r;
	inj_journal_ledger(run->journal, index, subject->blueprint->ledger);
	return upd_run_mark(run, INJ_JOURNAL_STAGING);
}

static int stage_one(struct upd_run *run, size_t index)
{
	struct upd_subject *subject = &run->subjects[index];

	for (unsigned n_plans = 1;; n_plans++) {
		struct inj_why why = {};
		int r = upd_run_cancelled(run, &why);

		if (r != 0)
			return upd_subject_fail(subject, r, &why);
		r = upd_stage(subject, run->deadline_ns);
		if (r != INJ_BUSY || subject->staged || n_plans == MAX_PLANS ||
		    inj_remaining_ns(run->deadline_ns) == 0)
			return r;
		r = plan_again(run, index);
		if (r != 0)
			return r;
	}
}

static int stage_all(struct upd_run *run)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < run->n_subjects; i++)
		r = stage_one(run, i);
	return r;
}

/* A thread may stand in a return pad or have one below it, so nothing is unmapped without a look at
 * all stacks. */
static void undo_one(struct upd_run *run, struct upd_subject *subject)
{
	run->deadline_ns = inj_now_ns() + UNDO_NS;
	/* Before anything was held no pad was planted. */
	if (!run->tracer) {
		upd_unstage(subject, run->deadline_ns);
		return;
	}
	/* Who cannot be looked at keeps the memory, for recovery to find. */
	if (upd_subject_refresh(subject) != 0)
		return;
	for (size_t i = 0; i < subject->history.n_ledgers; i++)
		if (subject->history.ledgers[i]->address == subject->blueprint->ledger) {
			upd_undo_ledger(run, subject, subject->history.ledgers[i]);
			return;
		}
}

static void unstage_all(struct upd_run *run)
{
	upd_run_mark(run, INJ_JOURNAL_UNDOING);
	for (size_t i = 0; i < run->n_subjects; i++)
		if (run->subjects[i].staged)
			undo_one(run, &run->subjects[i]);
}

static int watch_changes(const struct upd_subject *subject, struct upd_watch_list *list)
{
	const struct upd_sheet *sheet = subject->blueprint->sheet;
	const struct inj_ledger *ledger = subject->blueprint->record;
	const size_t n = ledger->record->n_sites;
	int r = 0;

	list->names = calloc(n, sizeof(*list->names));
	if (!list->names)
		return -ENOMEM;
	list->n_names = n;
	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct dsu_ledger_site *site = &ledger->sites[i];
		const struct inj_range code = { site->address, site->address + site->size };

		list->names[i] = inj_ledger_string(ledger, site->name);
		r = upd_watch_add(list, code, (unsigned)i, true);
		for (size_t j = 0; r == 0 && j < sheet->n_parts; j++)
			if (subject->blueprint->parts[j].site == i)
				r = upd_watch_add(list, subject->blueprint->parts[j].code,
						  (unsigned)i, false);
	}
	upd_watch_seal(list);
	return r;
}

/* All writes of one plan in one table, so that the hold does nothing but write. */
struct prepared {
	struct inj_code_write *writes;
	size_t n_writes;
	struct inj_code_copy *copies; /* what the stubs took over */
	size_t n_copies;
	struct upd_promotion promotion;
	bool armed;
};

struct commit {
	struct prepared *targets;
	size_t n_targets;
};

static void prepare_copies(const struct inj_ledger *ledger, struct prepared *prepared)
{
	for (size_t i = 0; i < ledger->record->n_sites; i++) {
		const struct dsu_ledger_site *site = &ledger->sites[i];

		if (site->n_covered)
			prepared->copies[prepared->n_copies++] = (struct inj_code_copy){
				site->address, site->n_covered, site->covered,
			};
	}
}

static int prepare_writes(struct upd_subject *subject, struct prepared *prepared,
			  struct inj_why *why)
{
	const struct upd_blueprint *blueprint = subject->blueprint;
	const struct inj_ledger *ledger = blueprint->record;
	int r;

	prepared->writes = calloc(2 * (size_t)ledger->record->n_sites, sizeof(*prepared->writes));
	prepared->copies = calloc(ledger->record->n_sites, sizeof(*prepared->copies));
	if (!prepared->writes || !prepared->copies ||
	    upd_promotion_prepare(blueprint, &prepared->promotion) < 0)
		return inj_broke(why, -ENOMEM, "preparing process %d", subject->pid);
	prepare_copies(ledger, prepared);
	/* Jumps without an old path act at once, so they come last. */
	for (int late = 0; late < 2; late++)
		for (size_t i = 0; i < ledger->record->n_sites; i++) {
			const struct dsu_ledger_site *site = &ledger->sites[i];

			if ((site->kind == INJ_SITE_LATE) != (late == 1))
				continue;
			for (size_t j = 0; j < site->n_writes; j++)
				upd_write_of(site, j, &prepared->writes[prepared->n_writes++]);
		}
	r = inj_writer_compare(subject->writer, prepared->copies, prepared->n_copies, why);
	if (r != 0)
		return r;
	r = inj_writer_prepare(subject->writer, prepared->writes, prepared->n_writes, true);
	/* What was changed will be looked at again, and told, under the hold. */
	return r == -EBUSY || r == 0 ? 0 : inj_broke(why, r, "preparing process %d", subject->pid);
}

static uint64_t wall_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int check_same_program(struct upd_subject *subject)
{
	struct inj_why why = {};
	int r = upd_subject_check_program(subject, subject->blueprint->control,
					  subject->blueprint->ledger, &why);

	return r == 0 ? 0 : upd_subject_fail(subject, r, &why);
}

static int install_one(struct upd_run *run, struct upd_subject *subject,
		       const struct inj_hold *hold, struct prepared *prepared)
{
	struct inj_why why = {};
	int r = inj_writer_compare(subject->writer, prepared->copies, prepared->n_copies, &why);

	if (r == 0 && subject->blueprint->needs_guard)
		r = upd_guard_arm(run, subject, hold, &prepared->armed, &why);
	if (r == 0)
		r = inj_writer_install(subject->writer, prepared->writes, prepared->n_writes, &why);
	return r == 0 ? 0 : upd_subject_fail(subject, r, &why);
}

/* Each store is the commit of its target. A target that died meanwhile has no version any more. */
static int commit_one(struct upd_subject *subject, const struct upd_promotion *promotion,
		      uint64_t applied_at_ns)
{
	const inj_addr control = subject->blueprint->control;
	struct inj_why why = {};
	int r = inj_writer_store(subject->writer,
				 control + offsetof(struct dsu_control, applied_at_ns),
				 applied_at_ns);

	inj_fault_point("before-commit");
	if (r == 0)
		r = inj_writer_store(subject->writer,
				     control + offsetof(struct dsu_control, generation), 1);
	inj_fault_point("committed");
	if (r == 0)
		upd_promote(subject, promotion);
	inj_fault_point("promoted");
	if (r == 0)
		r = inj_writer_store(subject->writer, control + offsetof(struct dsu_control, phase),
				     DSU_PHASE_ACTIVE);
	if (r == 0)
		return 0;
	if (inj_process_check(subject->process, &why) == 0)
		inj_broke(&why, r, "committing in process %d", subject->pid);
	return upd_subject_fail(subject, why.code == INJ_PROCESS_GONE ? INJ_PROCESS_GONE : r, &why);
}

static void disarm_all(struct upd_run *run, const struct inj_hold *holds,
		       const struct commit *commit)
{
	for (size_t i = 0; i < run->n_subjects; i++)
		upd_guard_disarm(run, &run->subjects[i], &holds[i], commit->targets[i].armed);
}

/* Without a decision on record a group that we leave torn would stay torn. */
static int decide(struct upd_run *run)
{
	struct inj_why why = {};
	int r = inj_journal_decide(run->journal);

	if (r < 0)
		upd_run_fail_all(run, inj_broke(&why, r, "writing the journal of the update"),
				 &why);
	return r;
}

static bool ready(const struct upd_run *run, size_t i, const struct inj_hold *hold,
		  struct inj_why *why)
{
	return !run->subjects[i].blueprint->needs_guard ||
	       !inj_guard_must_wait(run->tracer, hold, why);
}

static int act(struct upd_run *run, const struct inj_hold *holds)
{
	const struct commit *commit = run->action;
	const uint64_t now = wall_clock_ns();
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < run->n_subjects; i++)
		r = check_same_program(&run->subjects[i]);
	for (; r == 0 && n < run->n_subjects; n++)
		r = install_one(run, &run->subjects[n], &holds[n], &commit->targets[n]);
	if (r == 0 && run->journal)
		r = decide(run);
	for (size_t i = n; r != 0 && i-- > 0;) {
		struct inj_why why = {};

		if (inj_writer_restore(run->subjects[i].writer, commit->targets[i].writes,
				       commit->targets[i].n_writes, &why) != 0)
			inj_why_append(&run->subjects[i].why, &why);
	}
	inj_fault_point("installed");
	for (size_t i = 0; r == 0 && i < run->n_subjects; i++)
		if (commit_one(&run->subjects[i], &commit->targets[i].promotion, now) != 0)
			inj_writer_restore(run->subjects[i].writer, commit->targets[i].writes,
					   commit->targets[i].n_writes, NULL);
	disarm_all(run, holds, commit);
	return r;
}

static int prepare_all(struct upd_run *run, struct commit *commit, struct upd_watch_list *lists)
{
	for (size_t i = 0; i < run->n_subjects; i++) {
		struct upd_subject *subject = &run->subjects[i];
		struct inj_why why = {};
		int r = upd_walk_prepare(subject);

		if (r != 0)
			return r;
		r = watch_changes(subject, &lists[i]);
		if (r < 0)
			inj_broke(&why, r, "preparing process %d", subject->pid);
		else
			r = prepare_writes(subject, &commit->targets[i], &why);
		if (r != 0)
			return upd_subject_fail(subject, r, &why);
	}
	return 0;
}

static void free_commit(struct commit *commit)
{
	for (size_t i = 0; commit->targets && i < commit->n_targets; i++) {
		free(commit->targets[i].writes);
		free(commit->targets[i].copies);
		upd_promotion_deinit(&commit->targets[i].promotion);
	}
	free(commit->targets);
}

static int switch_all(struct upd_run *run)
{
	INJ_CLEANUP(free_commit) struct commit commit = {
		.targets = calloc(run->n_subjects, sizeof(*commit.targets)),
		.n_targets = run->n_subjects,
	};
	INJ_FREE struct upd_watch_list *lists = calloc(run->n_subjects, sizeof(*lists));
	INJ_FREE struct upd_pads *pads = calloc(run->n_subjects, sizeof(*pads));
	const struct upd_switch what = {
		.lists = lists, .ready = ready, .act = act, .pads = pads, .phase = "wait",
	};
	struct inj_why why = {};
	int r;

	if (!commit.targets || !lists || !pads) {
		upd_run_fail_all(run, inj_broke(&why, -ENOMEM, "preparing the switch"), &why);
		return -ENOMEM;
	}
	for (size_t i = 0; i < run->n_subjects; i++)
		upd_pads_init(&pads[i], run->subjects[i].blueprint->record->record,
			      run->subjects[i].blueprint->unwinder.tell != 0,
			      &run->subjects[i].blueprint->unwinder);
	run->action = &commit;
	r = prepare_all(run, &commit, lists);
	if (r == 0)
		r = upd_run_mark(run, INJ_JOURNAL_COMMITTING);
	if (r == 0)
		r = upd_quiesce(run, &what);
	run->action = NULL;
	for (size_t i = 0; i < run->n_subjects; i++)
		upd_watch_deinit(&lists[i]);
	return r;
}

/* The new version runs; what is left is not worth failing for. */
static void settle_all(struct upd_run *run)
{
	upd_run_mark(run, INJ_JOURNAL_SETTLING);
	for (size_t i = 0; i < run->n_subjects; i++) {
		struct upd_subject *subject = &run->subjects[i];
		struct inj_why why = {};

		if (subject->code != 0 || !subject->blueprint->scratch)
			continue;
		if (upd_subject_refresh(subject) != 0) {
			/* A stack of ours stays; the update is none the worse for it. */
			subject->code = 0;
			subject->why = (struct inj_why){};
			continue;
		}
		for (size_t j = 0; j < subject->history.n_ledgers; j++)
			if (subject->history.ledgers[j]->address == subject->blueprint->ledger)
				upd_drop_scratch(subject, subject->history.ledgers[j],
						 inj_now_ns() + SETTLE_NS, &why);
	}
}

/* Who would be in the way right now: the same look as before a commit, and nothing else. */
static void look_all(struct upd_run *run)
{
	INJ_FREE struct upd_watch_list *lists = calloc(run->n_subjects, sizeof(*lists));
	const struct upd_switch what = { .lists = lists, .phase = "look" };
	struct inj_why why = {};
	int r = lists ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < run->n_subjects; i++) {
		r = upd_walk_prepare(&run->subjects[i]);
		if (r == 0)
			r = watch_changes(&run->subjects[i], &lists[i]);
	}
	if (r == 0)
		upd_quiesce_look(run, &what);
	else if (r < 0)
		upd_run_fail_all(run, inj_broke(&why, r, "looking at the stacks"), &why);
	for (size_t i = 0; lists && i < run->n_subjects; i++)
		upd_watch_deinit(&lists[i]);
}

void upd_check(struct upd_run *run)
{
	int r = plan_all(run);

	fill_plans(run);
	upd_run_phase_done(run, "plan");
	if (r == 0)
		look_all(run);
	upd_run_phase_done(run, "look");
}

void upd_apply(struct upd_run *run)
{
	int r;

	upd_run_progress(run, "plan", NULL);
	r = plan_all(run);
	upd_run_phase_done(run, "plan");
	for (size_t i = 0; r == 0 && i < run->n_subjects; i++)
		inj_journal_ledger(run->journal, i, run->subjects[i].blueprint->ledger);
	if (r == 0)
		r = upd_run_mark(run, INJ_JOURNAL_STAGING);
	if (r == 0) {
		upd_run_progress(run, "stage", NULL);
		r = stage_all(run);
		upd_run_phase_done(run, "stage");
	}
	if (r == 0) {
		upd_run_progress(run, "wait", NULL);
		r = switch_all(run);
		upd_run_phase_done(run, "commit");
	}
	if (r == 0) {
		settle_all(run);
	} else {
		unstage_all(run);
		upd_run_fail_others(run);
	}
	fill_plans(run);
	upd_run_phase_done(run, r == 0 ? "settle" : "undo");
	upd_run_mark(run, INJ_JOURNAL_DONE);
}
