/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_STOP_TRACER_H
#define INJ_STOP_TRACER_H

#include <sys/user.h>

#include "injector/process/process.h"

/* One thread of a held process. */
struct inj_thread {
	pid_t tid;
	struct user_regs_struct regs; /* as the kernel reports them at the stop; what release will repair is not yet repaired */
	bool in_syscall;              /* orig_rax >= 0 */
};

/* The threads of one process, valid while it is held; items stay in ascending tid order. */
struct inj_hold {
	const struct inj_process *process; /* borrowed */
	struct inj_thread *threads;
	size_t n_threads;
	void *private;
};

/*
 * A tracer owns every ptrace relation of the calling thread. One tracer holds several processes at once (an update of several processes commits in one hold).
 * Must be used from the thread that made it. SIGCHLD is blocked by the caller's process (the tracer waits with sigtimedwait).
 */
struct inj_tracer;

int inj_tracer_new(struct inj_tracer **ret);
/* The guard: puts every thread back exactly as inj_tracer_release() does, whatever state things are in. NULL is fine. */
void inj_tracer_free(struct inj_tracer *tracer);
INJ_DEFINE_GUARD(struct inj_tracer *, inj_tracer_free, inj_tracer_guard)

/*
 * Stop all threads of all given processes and return with everything stopped, or with nothing attached at all.
 * Seizes first (nobody stops yet; PTRACE_O_TRACECLONE catches newborn threads; never EXITKILL), repeats /proc/PID/task passes until two agree, then interrupts all, then waits for all, reads registers.
 * processes: n pointers, borrowed until release; ret_holds: array of n holds in the same order, owned by the tracer, valid until release.
 * deadline_ns: CLOCK_MONOTONIC. budget_ns: longest time from the first interrupt that waiting for stops may take (a thread in vfork or in an uninterruptible sleep never stops): then all are let go.
 * State: running, or group-stopped (stays group-stopped after release), threads newborn or dying.
 * Signals that arrive while stopping are put back in order and with their siginfo: each signal-delivery-stop is answered by re-injection on release (never lost, never doubled).
 * Return: 0, everything is held. Errors: INJ_BLOCKED (a thread did not stop; why->tid and its wchan/state say which), INJ_ALREADY_TRACED, INJ_PROCESS_GONE (exited or execve'd while stopping), negative errno.
 * Source: ptrace(2).
 */
int inj_tracer_hold(struct inj_tracer *tracer, const struct inj_process *const *processes, size_t n, uint64_t deadline_ns, uint64_t budget_ns, struct inj_hold **ret_holds, struct inj_why *why);

/*
 * Let everything go and detach. System calls that report EINTR only because of us are restarted (DESIGN 4.3: rax == -EINTR, orig_rax >= 0, the two bytes before rip are `syscall`, the call is in the
 * table of calls that are safe to repeat): rax = orig_rax, rip -= 2, orig_rax = -1.
 * ret_held_ns: time from the first interrupt to the last detach, 0 when nothing was held; may be NULL.
 */
void inj_tracer_release(struct inj_tracer *tracer, uint64_t *ret_held_ns);

/* Change the instruction pointer of a held thread (moving it between equivalent copies of the same instructions). Refused with -EBUSY for a thread in a system call that will be restarted, unless pc is untouched.
 * Written at once; orig_rax is set to -1. */
int inj_thread_set_pc(struct inj_tracer *tracer, struct inj_hold *hold, size_t index, inj_addr pc);

#endif
