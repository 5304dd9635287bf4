/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_STOP_TRACER_H
#define INJ_STOP_TRACER_H

#include <sys/user.h>

#include "injector/process/process.h"

/* One thread of a held process. */
struct inj_thread {
	pid_t tid;
	/* As the kernel reports them at the stop; what is repaired (see below) is not in here. */
	struct user_regs_struct regs;
	bool in_syscall; /* orig_rax >= 0 */
};

/*
 * The threads of one process, valid while it is held; items stay in ascending tid order. A main
 * thread that ended while others live on is not among them.
 */
struct inj_hold {
	const struct inj_process *process; /* borrowed */
	struct inj_thread *threads;
	size_t n_threads;
	void *private;
};

/*
 * A tracer owns ptrace relations, several processes at once (an update of several processes
 * commits in one hold). It traces from a thread of its own, so that the end of that thread can
 * set free even who never stops; its functions may be called by any thread, one at a time. A
 * hold that fails inside of inj_tracer_run() lets the last stragglers go when that returns.
 * A hold that lasts five seconds longer than its budget is ended by the end of this process:
 * whoever hangs then, the targets go on.
 * SIGCHLD: the kernel sends one for every stop. Block it in all threads where that can be done:
 * then the tracer, which takes them, is woken at once instead of after half a millisecond. No
 * other thread may wait for just any child (waitpid(-1)) meanwhile: it would be given the stops.
 */
struct inj_tracer;

/*
 * Make a tracer; nothing is attached.
 * ret: new object, free with inj_tracer_free().
 * State: none.
 * Return: 0.
 * Errors: -ENOMEM.
 * Source: timer_create(2), for the limit of a hold.
 */
int inj_tracer_new(struct inj_tracer **ret);

/*
 * The guard: puts every thread back exactly as inj_tracer_release() does, whatever state things
 * are in. NULL is fine.
 */
void inj_tracer_free(struct inj_tracer *tracer);
INJ_DEFINE_GUARD(struct inj_tracer *, inj_tracer_free, inj_tracer_guard)

/*
 * Run a function on the tracer's own thread, and wait for it. Holding and releasing in there
 * cost no switch between threads, which takes longer than stopping a few: whoever counts the
 * microseconds of a hold makes each attempt, from hold to release, in such a function.
 * function, argument: may call everything below; the signals of the thread are all blocked.
 * State: any.
 * Return: what the function returns.
 * Errors: negative errno when the thread cannot be started.
 * Source: none.
 */
int inj_tracer_run(struct inj_tracer *tracer, int (*function)(void *), void *argument);

/*
 * Stop all threads of all given processes and return with everything stopped, or with nothing
 * attached at all. All threads are seized before anyone is asked to stop. Calls that report
 * EINTR only because of us are set to be repeated at once, so our death changes nothing.
 * processes: n pointers, n >= 1, borrowed until release; deadline_ns: CLOCK_MONOTONIC;
 * budget_ns: longest time from the first interrupt that waiting for stops may take; when it is
 *   over all who stopped run on, and the others are let go as they stop, for up to a second;
 * ret_holds: array of n holds in the same order, owned by the tracer, valid until release.
 * State: running or group-stopped (stays group-stopped after release); threads may be born and
 *   die meanwhile. A signal about to be delivered stays with its thread and its siginfo.
 * Return: 0, everything is held.
 * Errors: INJ_BLOCKED (a thread did not stop in time, e.g. in vfork or in an uninterruptible
 *   sleep; why->tid, and the text says where it is); INJ_ALREADY_TRACED; INJ_PROCESS_GONE
 *   (ended, or execve'd while stopping); -EBUSY (something is held already); -EINVAL (n is 0);
 *   other negative errno.
 * Source: ptrace(2).
 */
int inj_tracer_hold(struct inj_tracer *tracer, const struct inj_process *const *processes,
		    size_t n, uint64_t deadline_ns, uint64_t budget_ns,
		    struct inj_hold **ret_holds, struct inj_why *why);

/*
 * Stop one thread and let all others run.
 * process: borrowed until release; tid: one of its threads; budget_ns: longest time that waiting
 *   for the stop may take; ret_hold: a hold of exactly that thread, owned by the tracer, valid
 *   until release.
 * State: running or group-stopped; the other threads go on, make threads, and end.
 * Return: 0, the thread is held.
 * Errors: -ESRCH (no such thread, or it ended meanwhile); all else as inj_tracer_hold().
 * Source: ptrace(2).
 */
int inj_tracer_hold_thread(struct inj_tracer *tracer, const struct inj_process *process, pid_t tid,
			   uint64_t deadline_ns, uint64_t budget_ns, struct inj_hold **ret_hold,
			   struct inj_why *why);

/*
 * Let everything go and detach. The kernel repeats interrupted calls, those that would report
 * EINTR only because of us included (the table is in repair.c), unless a signal with a handler
 * really came: then the call reports EINTR as it does without us. A call whose time is over by now
 * gets the result it would have had, where the process has somebody who knows (waits.h).
 * ret_held_ns: time from the first interrupt to the last detach, of a failed
 *   inj_tracer_hold() too; 0 when nobody was asked to stop; may be NULL.
 * State: anything; nothing held is fine.
 * Return: nothing; it cannot fail.
 * Errors: none.
 * Source: ptrace(2), signal(7), arch_do_signal_or_restart() of the kernel.
 */
void inj_tracer_release(struct inj_tracer *tracer, uint64_t *ret_held_ns);

/* Where a held process stands between running and being stopped by signals. */
enum inj_job {
	INJ_JOB_RUNS,
	INJ_JOB_STOPPED,  /* stopped as a group, or about to be before any further instruction */
	INJ_JOB_CHANGING, /* a thread is about to take a signal that stops or continues it */
};

/*
 * How does the process stand now? What arrived during the hold waits in its queues, but a SIGCONT
 * ends a group stop at once, unseen by those who are in a ptrace stop: so the kernel is asked anew.
 * hold: one of the tracer's.
 * State: held.
 * Return: the state.
 * Errors: none; INJ_JOB_CHANGING when the kernel does not tell.
 * Source: ptrace(2), PTRACE_LISTEN; do_signal_stop(), do_jobctl_trap() of the kernel: the first
 *   thread that takes the signal sets the mark that stops all others, also those that are in a
 *   ptrace stop already.
 */
enum inj_job inj_tracer_job(struct inj_tracer *tracer, const struct inj_hold *hold);

/*
 * Change the instruction pointer of a held thread (moving it between equivalent copies of the
 * same instructions). Written at once; orig_rax is set to -1, the thread's regs follow.
 * hold, index: one of the tracer's holds, and a thread of it; pc: executable in the target.
 * State: held.
 * Return: 0; nothing is done when pc is where the thread is already.
 * Errors: -EBUSY (the thread is in a system call that will be repeated, from the instruction
 *   before pc); -EINVAL (no such thread); -ESRCH (it is being killed); other negative errno.
 * Source: ptrace(2).
 */
int inj_thread_set_pc(struct inj_tracer *tracer, struct inj_hold *hold, size_t index,
		      inj_addr pc);

/*
 * Set the base of the GS segment of a held thread. Programs compiled for this architecture do not
 * use the segment; a thread hands its base on to the threads and processes that it makes.
 * hold, index: one of the tracer's holds, and a thread of it; base: a canonical user address.
 * State: held; also in a system call that will be repeated, which is left alone.
 * Return: 0; nothing is done when the base is that already.
 * Errors: -EINVAL (no such thread); -EIO (no such address can be a base); -ESRCH (it is being
 *   killed); other negative errno.
 * Source: ptrace(2), PTRACE_POKEUSER; arch_prctl(2).
 */
int inj_thread_set_gs_base(struct inj_tracer *tracer, struct inj_hold *hold, size_t index,
			   uint64_t base);

#endif
