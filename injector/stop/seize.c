/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns how threads come under our control. Always holds: whoever is seized belongs to the
 * process, which the kernel is asked after the seizing, when the id can no longer change hands.
 * The first passes seize without any option that makes a thread stop, so nobody notices them;
 * threads found after the others were stopped are followed when they clone, else a chain of
 * short-lived threads could outrun us for ever. Refuses processes that somebody else traces.
 */
#include <errno.h>
#include <sys/ptrace.h>

#include "injector/base/clock.h"
#include "injector/process/tasks.h"
#include "injector/stop/hold-priv.h"

#define MAX_LOOKS 3
#define PATIENCE_NS 10000000u

/* Without TRACESYSGOOD a SIGTRAP that somebody sent would look like a stop of ours. */
#define OPTIONS_QUIET (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC)

static int refuse_traced(const struct inj_hold *hold, pid_t tid, const struct inj_status *status,
			 struct inj_why *why)
{
	const struct inj_process *process = hold->process;
	int r = inj_refuse(why, INJ_ALREADY_TRACED,
			   "thread %d of process %d (%s) is being traced by process %d; end that "
			   "debugger or tracer first",
			   (int)tid, (int)process->pid, process->comm, (int)status->tracer_pid);

	if (why) {
		why->pid = process->pid;
		why->tid = tid;
	}
	return r;
}

/*
 * The kernel refused: the thread is a zombie, or traced; by us when it was born traced.
 * -EPERM: there is no reason to be seen; -EBUSY: somebody else's, and we are patient.
 */
static int examine_refused(struct hold_attempt *attempt, struct inj_hold *hold, pid_t tid,
			   bool patient)
{
	struct inj_status status;
	int r = inj_status_read(hold->process, tid, &status);

	if (r == -ESRCH)
		return 0;
	if (r < 0)
		return inj_broke(attempt->why, r, "cannot read the state of thread %d", (int)tid);
	if (status.state == 'Z' || status.state == 'X') {
		if (tid == hold->process->pid)
			hold_notes(hold)->dead_leader = true;
		return 0;
	}
	if (status.tracer_pid == attempt->agent_tid)
		return inj_hold_add(hold, tid);
	if (status.tracer_pid == 0)
		return -EPERM;
	return patient ? -EBUSY : refuse_traced(hold, tid, &status, attempt->why);
}

static int seize_one(struct hold_attempt *attempt, struct inj_hold *hold, pid_t tid, bool newborn)
{
	unsigned long options = OPTIONS_QUIET | (newborn ? PTRACE_O_TRACECLONE : 0);
	/* Some tracers stay for microseconds; while others are held there is no time for them. */
	uint64_t patience_ns = newborn ? 0 : inj_now_ns() + PATIENCE_NS;
	int r = inj_pt_seize(tid, options);

	/* An execve turns a dead main thread into a living one between two looks. */
	for (unsigned i = 0, n = 0; r == -EPERM && i < MAX_LOOKS;) {
		r = examine_refused(attempt, hold, tid, inj_now_ns() < patience_ns);
		if (r == -EBUSY)
			inj_pt_pause(n++, patience_ns);
		else if (r == -EPERM)
			i++;
		else
			return r;
		r = inj_pt_seize(tid, options);
	}
	if (r == -ESRCH)
		return 0;
	if (r == -EPERM)
		return inj_broke(attempt->why, r,
				 "the kernel does not let us trace thread %d of process %d; "
				 "CAP_SYS_PTRACE is needed", (int)tid, (int)hold->process->pid);
	if (r < 0)
		return inj_broke(attempt->why, r, "cannot seize thread %d", (int)tid);
	if (!inj_pt_belongs(hold->process->pid, tid))
		return -EAGAIN;
	r = inj_hold_add(hold, tid);
	if (r < 0)
		return inj_broke(attempt->why, r, "cannot remember thread %d", (int)tid);
	if (newborn)
		inj_pt_interrupt(tid);
	return 0;
}

static int refuse_gone(const struct inj_process *process, struct inj_why *why)
{
	int r = inj_refuse(why, INJ_PROCESS_GONE, "process %d (%s) has ended", (int)process->pid,
			   process->comm);

	if (why)
		why->pid = process->pid;
	return r;
}

int inj_hold_seize_thread(struct hold_attempt *attempt, struct inj_hold *hold, pid_t tid)
{
	int r = seize_one(attempt, hold, tid, false);

	if (r == -EAGAIN || (r == 0 && hold->n_threads == 0))
		return inj_broke(attempt->why, -ESRCH, "process %d has no thread %d",
				 (int)hold->process->pid, (int)tid);
	return r;
}

int inj_hold_seize_pass(struct hold_attempt *attempt, struct inj_hold *hold, bool newborn,
			size_t *ret_n_new)
{
	INJ_FREE pid_t *tids = NULL;
	size_t n_tids = 0;
	size_t n_before = hold->n_threads;
	int r = inj_tasks_read(hold->process, &tids, &n_tids);

	if (r == -ESRCH)
		return refuse_gone(hold->process, attempt->why);
	if (r < 0)
		return inj_broke(attempt->why, r, "cannot list the threads of process %d",
				 (int)hold->process->pid);
	for (size_t i = 0; i < n_tids; i++) {
		r = inj_hold_knows(hold, tids[i]) ? 0 : seize_one(attempt, hold, tids[i], newborn);
		if (r != 0)
			return r;
	}
	if (hold->n_threads == 0)
		return refuse_gone(hold->process, attempt->why);
	*ret_n_new = hold->n_threads - n_before;
	return 0;
}
