/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns one try to hold all threads of all processes. Always holds: it ends with everything
 * stopped, or with an error after which the agent that ran it must end. Nobody stops before
 * everybody is seized; the end is reached when the kernel counts as many threads as we hold. A
 * hold of one thread alone has neither problem.
 * Refuses what seize.c and collect.c refuse.
 */
#include <errno.h>
#include <sys/stat.h>

#include "injector/base/clock.h"
#include "injector/base/fault-point.h"
#include "injector/process/tasks.h"
#include "injector/stop/hold-priv.h"

/*
 * A process that never stops making threads shows new ones in every pass. Those that are left
 * are found when their makers stand still.
 */
#define MAX_PASSES 4

static int seize_all(struct hold_attempt *attempt, struct inj_hold *hold)
{
	size_t n_new = 1;

	for (unsigned i = 0; i < MAX_PASSES && n_new > 0; i++) {
		int r = inj_hold_seize_pass(attempt, hold, false, &n_new);

		if (r != 0)
			return r;
		if (inj_now_ns() >= attempt->deadline_ns) {
			attempt->blocked_hold = hold;
			attempt->blocked_tid = hold->process->pid;
			return -ETIMEDOUT;
		}
	}
	return 0;
}

static void interrupt_all(struct hold_attempt *attempt)
{
	attempt->first_interrupt_ns = inj_now_ns();
	attempt->limit_ns = attempt->first_interrupt_ns + attempt->budget_ns;
	if (attempt->limit_ns < attempt->first_interrupt_ns ||
	    attempt->limit_ns > attempt->deadline_ns)
		attempt->limit_ns = attempt->deadline_ns;
	/* Errors mean that a thread ended or is stopped already; waiting for it tells. */
	for (size_t i = 0; i < attempt->n_holds; i++)
		for (size_t k = 0; k < attempt->holds[i].n_threads; k++)
			inj_pt_interrupt(attempt->holds[i].threads[k].tid);
}

/*
 * How many threads the kernel counts: the links of /proc/PID/task less "." and "..". One cheap
 * call instead of a listing (proc_task_getattr() of the kernel). 0 when it cannot be told.
 */
static size_t count_threads(const struct inj_process *process)
{
	struct stat task;

	if (fstatat(process->proc_fd, "task", &task, 0) < 0 || task.st_nlink < 2)
		return 0;
	return (size_t)task.st_nlink - 2;
}

static bool is_complete(const struct inj_hold *hold)
{
	return hold->n_threads > 0 && count_threads(hold->process) ==
					      hold->n_threads + hold_notes(hold)->dead_leader;
}

/*
 * Threads that were born while the others stopped. Only the count ends the search, not a listing
 * without news: where threads make threads and end, a listing can miss the one that is alive.
 * Threads that the kernel has not finished ending are counted, too; they are gone soon. While
 * somebody unknown runs he may execve, which ends those that we hold and may even leave the
 * count as it is: so they are looked at again.
 */
static int catch_newborn(struct hold_attempt *attempt, struct inj_hold *hold)
{
	bool alone = !hold_notes(hold)->dead_leader;
	int r = 0;

	inj_hold_compact(hold);
	for (unsigned n = 0; r == 0; n++) {
		size_t n_new = 0;

		if (is_complete(hold) && alone)
			return 0;
		alone = is_complete(hold);
		r = inj_hold_survey(attempt, hold);
		inj_hold_compact(hold);
		if (r == 0)
			r = inj_hold_out_of_time(attempt, hold, hold->process->pid);
		if (r == 0)
			r = inj_hold_seize_pass(attempt, hold, true, &n_new);
		if (r == 0 && n_new == 0 && !alone)
			inj_pt_pause(n, attempt->limit_ns);
		if (r == 0)
			r = inj_hold_collect(attempt, hold);
		inj_hold_compact(hold);
	}
	return r;
}

/*
 * An execve takes the lock that seizing needs, and keeps it until all other threads of the
 * process are gone. Those that we have seized are gone when their tracer reaps them, and the
 * tracer may be waiting for the lock: nobody would ever go on. Any thread of the tracer's
 * process may reap, so the caller, who waits for the agent, does it in his stead. The main
 * thread is left alone: the kernel does not wait for that one, and its parent may be us.
 * Source: de_thread(), ptrace_attach(), do_wait_pid() of the kernel.
 */
void inj_hold_rescue(const struct inj_process *process)
{
	INJ_FREE pid_t *tids = NULL;
	size_t n = 0;

	if (inj_tasks_read(process, &tids, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (tids[i] != process->pid)
			inj_pt_reap_for_agent(tids[i]);
}

/* What can be seen of sleeping threads only as long as they sleep. */
static void look_at_waits(const struct hold_attempt *attempt)
{
	for (size_t i = 0; i < attempt->n_holds; i++)
		inj_waits_tidy(attempt->holds[i].process);
	for (size_t i = 0; i < attempt->n_holds; i++) {
		const struct inj_hold *hold = &attempt->holds[i];

		if (!hold->process->waits)
			continue;
		for (size_t k = 0; k < hold->n_threads; k++)
			hold_note(hold, k)->wait =
				inj_waits_look(hold->process, hold->threads[k].tid);
		inj_waits_date(hold->process);
	}
}

/* The others run on; what they do meanwhile, and whom they make, is the caller's to think of. */
static int hold_one(struct hold_attempt *attempt, struct inj_hold *hold)
{
	int r = inj_hold_seize_thread(attempt, hold, attempt->only_tid);

	if (r != 0)
		return r;
	look_at_waits(attempt);
	interrupt_all(attempt);
	r = inj_hold_collect(attempt, hold);
	inj_hold_compact(hold);
	if (r == 0 && hold->n_threads == 0)
		r = inj_broke(attempt->why, -ESRCH, "thread %d of process %d ended",
			      (int)attempt->only_tid, (int)hold->process->pid);
	return r;
}

int inj_hold_attempt(void *argument)
{
	struct hold_attempt *attempt = argument;
	int r = 0;

	if (attempt->only_tid)
		return hold_one(attempt, &attempt->holds[0]);

	for (size_t i = 0; r == 0 && i < attempt->n_holds; i++)
		r = seize_all(attempt, &attempt->holds[i]);
	if (r != 0)
		return r;
	look_at_waits(attempt);
	inj_fault_point("hold-seized");
	interrupt_all(attempt);
	for (size_t i = 0; r == 0 && i < attempt->n_holds; i++)
		r = inj_hold_collect(attempt, &attempt->holds[i]);
	for (size_t i = 0; r == 0 && i < attempt->n_holds; i++)
		r = catch_newborn(attempt, &attempt->holds[i]);
	if (r == 0)
		inj_fault_point("hold-stopped");
	return r;
}
