/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting for a moment at which watched code is live nowhere: hold all threads of all targets, look
 * at every stack, act or let go, and try again. An attempt costs the targets the hold and nothing
 * else; the pauses between attempts grow, so that a busy target is not nagged. A thread that keeps
 * blocking is caught by a return pad as it leaves, which ends the pause. Who blocked the last
 * attempt is told.
 */
#include "protocols/quiesce.h"

#include <stdio.h>
#include <string.h>

#include "injector/base/clock.h"
#include "injector/base/fault-point.h"
#include "protocols/fill.h"
#include "protocols/walk.h"

#define FIRST_PAUSE_NS 500000ull
#define LONGEST_PAUSE_NS 20000000ull
#define LOOK_NS 200000ull
#define WITHDRAW_NS 1000000000ull
/* Most functions are left within the first pauses; pads are for the others. */
#define ATTEMPTS_BEFORE_PADS 4

/* What one attempt found in one target. */
struct finding {
	struct inj_activity activity;
	bool not_ready;
};

static bool is_clear(const struct finding *findings, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (findings[i].activity.n_hits > 0 || findings[i].not_ready)
			return false;
	return true;
}

/* Look at every stack of every target. Return: 0, with findings; else an error of the walk. */
static int look(struct upd_run *run, const struct upd_switch *what, const struct inj_hold *holds,
		struct finding *findings, struct inj_why *why)
{
	for (size_t i = 0; i < run->n_subjects; i++) {
		const struct upd_watch_list *list = &what->lists[i];
		int r = upd_walk_find(&run->subjects[i], &holds[i], list->watches, list->n_watches,
				      run->hold_budget_ns, &findings[i].activity, why);

		if (r != 0)
			return r;
		findings[i].not_ready = what->ready && !what->ready(run, i, &holds[i], why);
	}
	return 0;
}

static void plant_pads(const struct upd_run *run, const struct upd_switch *what,
		       const struct inj_hold *holds, const struct finding *findings)
{
	if (!what->pads || run->attempts < ATTEMPTS_BEFORE_PADS)
		return;
	for (size_t i = 0; i < run->n_subjects; i++)
		upd_pads_plant(&what->pads[i], &run->subjects[i], &holds[i],
			       &findings[i].activity);
}

/* Wait for the next attempt; a thread that arrives in a pad ends the wait at once. */
static void wait_for_chance(struct upd_run *run, const struct upd_switch *what, uint64_t pause_ns)
{
	const uint64_t end_ns = inj_now_ns() + pause_ns;
	struct inj_why why;

	if (!what->pads || run->attempts < ATTEMPTS_BEFORE_PADS) {
		upd_run_wait(run, end_ns);
		return;
	}
	while (inj_remaining_ns(end_ns) > 0 && upd_run_cancelled(run, &why) == 0) {
		for (size_t i = 0; i < run->n_subjects; i++)
			if (upd_pads_arrived(&what->pads[i], &run->subjects[i]))
				return;
		upd_run_wait(run, inj_now_ns() + LOOK_NS);
	}
}

static void dismiss_pads(const struct upd_run *run, const struct upd_switch *what)
{
	for (size_t i = 0; what->pads && i < run->n_subjects; i++)
		upd_pads_dismiss(&what->pads[i], &run->subjects[i]);
}

/* All return addresses back before we give up. */
static void withdraw_pads(struct upd_run *run, const struct upd_switch *what,
			  const struct inj_process *const *processes)
{
	const uint64_t deadline_ns = inj_now_ns() + WITHDRAW_NS;
	struct inj_hold *holds;
	bool any = false;

	for (size_t i = 0; what->pads && i < run->n_subjects; i++)
		any |= upd_pads_any(&what->pads[i]);
	if (!any)
		return;
	for (size_t i = 0; i < run->n_subjects; i++) {
		struct inj_why why = {};
		int r;

		if (!upd_pads_any(&what->pads[i]))
			continue;
		r = inj_tracer_hold(run->tracer, &processes[i], 1, deadline_ns, run->hold_budget_ns,
				    &holds, &why);
		if (r == 0)
			r = upd_pads_withdraw(&run->subjects[i], what->pads[i].control,
					      what->pads[i].code);
		if (r < 0 && why.code == 0)
			inj_broke(&why, r, "putting return addresses of process %d back",
				  run->subjects[i].pid);
		inj_tracer_release(run->tracer, NULL);
		if (r != 0)
			upd_subject_fail(&run->subjects[i], r, &why);
	}
}

enum verdict { DONE, TRY_AGAIN, GIVE_UP };

static enum verdict judge(struct upd_run *run, int code, const struct inj_why *why)
{
	if (code == INJ_BLOCKED)
		return TRY_AGAIN;
	upd_run_fail_all(run, code, why);
	return GIVE_UP;
}

/* One attempt, for the tracer's own thread: a hand-over between threads would be paid while all
 * targets stand still. */
struct attempt {
	struct upd_run *run;
	const struct upd_switch *what;
	const struct inj_process *const *processes;
	struct finding *findings;
	struct inj_why *why;
	enum verdict verdict;
};

static enum verdict look_and_act(const struct attempt *attempt, const struct inj_hold *holds)
{
	struct upd_run *run = attempt->run;
	const struct upd_switch *what = attempt->what;
	int r;

	inj_fault_point("held");
	for (size_t i = 0; i < run->n_subjects; i++)
		run->report->targets[i].n_threads = (unsigned)holds[i].n_threads;
	r = look(run, what, holds, attempt->findings, attempt->why);
	if (r != 0)
		return judge(run, r, attempt->why);
	if (is_clear(attempt->findings, run->n_subjects))
		return !what->act || what->act(run, holds) == 0 ? DONE : GIVE_UP;
	plant_pads(run, what, holds, attempt->findings);
	return TRY_AGAIN;
}

static int make_attempt(void *argument)
{
	struct attempt *attempt = argument;
	struct upd_run *run = attempt->run;
	struct inj_hold *holds = NULL;
	uint64_t held_ns = 0;
	int r = inj_tracer_hold(run->tracer, attempt->processes, run->n_subjects, run->deadline_ns,
				run->hold_budget_ns, &holds, attempt->why);

	attempt->verdict = r == 0 ? look_and_act(attempt, holds) : judge(run, r, attempt->why);
	/* A hold that failed has stopped threads as well, for a while. */
	inj_tracer_release(run->tracer, &held_ns);
	inj_fault_point("released");
	if (held_ns > run->held_ns)
		run->held_ns = held_ns;
	return 0;
}

static enum verdict attempt(struct upd_run *run, const struct upd_switch *what,
			    const struct inj_process *const *processes, struct finding *findings,
			    struct inj_why *why)
{
	struct attempt attempt = {
		.run = run, .what = what, .processes = processes, .findings = findings, .why = why,
		.verdict = GIVE_UP,
	};
	int r;

	run->attempts++;
	r = inj_tracer_run(run->tracer, make_attempt, &attempt);
	if (r < 0)
		upd_run_fail_all(run, inj_broke(why, r, "preparing to hold the targets"), why);
	return attempt.verdict;
}

static void forget(struct finding *findings, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		inj_activity_deinit(&findings[i].activity);
		findings[i] = (struct finding){};
	}
}

/* Put the blockers of an attempt into the report; comm is read now, after the hold. */
static void report_blockers(struct upd_run *run, const struct upd_switch *what,
			    const struct finding *findings)
{
	/* A hold that failed saw nothing; then the blockers of the attempt before it are still the
	 * best account. */
	if (is_clear(findings, run->n_subjects))
		return;
	for (size_t i = 0; i < run->n_subjects; i++) {
		struct upd_target *target = &run->report->targets[i];

		upd_fill_blockers(target, run->subjects[i].process, &findings[i].activity,
				  what->lists[i].names, what->lists[i].n_names);
	}
}

static void tell_blocker(const struct upd_run *run, const struct upd_switch *what)
{
	char text[256] = "";

	for (size_t i = 0; i < run->report->n_targets; i++) {
		const struct upd_target *target = &run->report->targets[i];

		if (target->n_blockers) {
			snprintf(text, sizeof(text), "thread %d (%s) of process %d is in %s",
				 target->blockers[0].tid, target->blockers[0].comm, target->pid,
				 target->blockers[0].function);
			break;
		}
	}
	upd_run_progress(run, what->phase, text);
}

static void fail_blocked(struct upd_run *run, const struct inj_why *last)
{
	bool any_reliable = false, any = false;

	for (size_t i = 0; i < run->report->n_targets; i++)
		for (size_t j = 0; j < run->report->targets[i].n_blockers; j++) {
			any = true;
			any_reliable |= run->report->targets[i].blockers[j].reliable;
		}
	for (size_t i = 0; i < run->n_subjects; i++) {
		const struct upd_target *target = &run->report->targets[i];
		struct inj_why why = {};

		if (target->n_blockers)
			inj_refuse(&why, any_reliable ? INJ_BLOCKED : INJ_UNRELIABLE_STACK,
				   "%s was %s a stack of process %d (%zu place(s), first in thread "
				   "%d) in each of %u attempts until the deadline. Nothing was "
				   "changed. Try a longer --timeout.",
				   target->blockers[0].function,
				   any_reliable
					   ? "on"
					   : "perhaps on (the stack cannot be walked to its end)",
				   target->pid, target->n_blockers, target->blockers[0].tid,
				   run->attempts);
		else if (!any && last->code == INJ_BLOCKED)
			why = *last;
		else
			inj_refuse(&why, INJ_BLOCKED,
				   "Another process of this update was blocked until the deadline; "
				   "process %d was not changed.",
				   target->pid);
		upd_subject_fail(&run->subjects[i], why.code, &why);
	}
}

static int stop_reason(struct upd_run *run, const struct inj_why *last)
{
	struct inj_why why = {};
	int r = upd_run_cancelled(run, &why);

	for (size_t i = 0; r == 0 && i < run->n_subjects; i++) {
		r = inj_process_check(run->subjects[i].process, &why);
		if (r != 0)
			upd_subject_fail(&run->subjects[i], r, &why);
	}
	if (r != 0) {
		upd_run_fail_all(run, r == INJ_PROCESS_GONE ? INJ_CANCELLED : r, &why);
		return r;
	}
	if (inj_remaining_ns(run->deadline_ns) > 0)
		return 0;
	fail_blocked(run, last);
	return INJ_BLOCKED;
}

static int try_until_done(struct upd_run *run, const struct upd_switch *what,
			  const struct inj_process *const *processes, struct finding *findings)
{
	uint64_t pause_ns = FIRST_PAUSE_NS;

	for (;;) {
		struct inj_why why = {};
		enum verdict verdict = attempt(run, what, processes, findings, &why);
		int r;

		if (verdict == DONE)
			return 0;
		if (verdict == GIVE_UP)
			return upd_run_failed(run);
		report_blockers(run, what, findings);
		forget(findings, run->n_subjects);
		dismiss_pads(run, what);
		tell_blocker(run, what);
		r = stop_reason(run, &why);
		if (r != 0)
			return r;
		wait_for_chance(run, what, pause_ns);
		pause_ns = pause_ns * 2 < LONGEST_PAUSE_NS ? pause_ns * 2 : LONGEST_PAUSE_NS;
	}
}

/* What a switch needs besides its own lists. */
struct quiescence {
	const struct inj_process **processes;
	struct finding *findings;
};

static void end(struct quiescence *quiescence)
{
	free(quiescence->processes);
	free(quiescence->findings);
}

static int begin(struct upd_run *run, struct quiescence *ret)
{
	struct inj_why why = {};
	int r = 0;

	ret->processes = calloc(run->n_subjects, sizeof(*ret->processes));
	ret->findings = calloc(run->n_subjects, sizeof(*ret->findings));
	if (!ret->processes || !ret->findings)
		r = -ENOMEM;
	if (r == 0 && !run->tracer)
		r = inj_tracer_new(&run->tracer);
	if (r < 0) {
		upd_run_fail_all(run, inj_broke(&why, r, "preparing to hold the targets"), &why);
		return r;
	}
	for (size_t i = 0; i < run->n_subjects; i++)
		ret->processes[i] = run->subjects[i].process;
	return 0;
}

int upd_quiesce(struct upd_run *run, const struct upd_switch *what)
{
	INJ_CLEANUP(end) struct quiescence quiescence = {};
	int r = begin(run, &quiescence);

	if (r != 0)
		return r;
	r = try_until_done(run, what, quiescence.processes, quiescence.findings);
	dismiss_pads(run, what);
	if (r != 0)
		withdraw_pads(run, what, quiescence.processes);
	forget(quiescence.findings, run->n_subjects);
	for (size_t i = 0; r == 0 && i < run->n_subjects; i++)
		upd_fill_blockers(&run->report->targets[i], NULL, NULL, NULL, 0);
	return r;
}

int upd_quiesce_look(struct upd_run *run, const struct upd_switch *what)
{
	INJ_CLEANUP(end) struct quiescence quiescence = {};
	struct inj_why why = {};
	int r = begin(run, &quiescence);

	if (r != 0)
		return r;
	if (attempt(run, what, quiescence.processes, quiescence.findings, &why) == TRY_AGAIN)
		report_blockers(run, what, quiescence.findings);
	forget(quiescence.findings, run->n_subjects);
	return upd_run_failed(run);
}
