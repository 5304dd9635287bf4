/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_STOP_PTRACE_PRIV_H
#define INJ_STOP_PTRACE_PRIV_H

#include <sys/types.h>
#include <sys/user.h>

#include "injector/base/types.h"

/*
 * Codes by which the kernel asks itself, on the way back to the program, to repeat a call. A
 * tracer sees them in rax, and may write them. Source: include/linux/errno.h of the kernel.
 */
#define INJ_ERESTARTSYS 512
#define INJ_ERESTARTNOINTR 513
#define INJ_ERESTARTNOHAND 514
#define INJ_ERESTART_RESTARTBLOCK 516

enum inj_stop_kind {
	INJ_STOP_NONE,    /* nothing to report: it runs, or is on its way */
	INJ_STOP_TRAP,    /* answer to PTRACE_INTERRUPT, or a newborn thread's first stop */
	INJ_STOP_GROUP,   /* the process is stopped by a signal */
	INJ_STOP_SIGNAL,  /* about to deliver `signal` */
	INJ_STOP_SYSCALL, /* entry or exit of a system call */
	INJ_STOP_CLONE,   /* it made a thread, traced as well */
	INJ_STOP_EXEC,    /* a new program runs in the process now */
	INJ_STOP_ENDED,   /* a zombie that only waits for us to look */
	INJ_STOP_OTHER,
};

struct inj_stop {
	enum inj_stop_kind kind;
	int signal; /* of INJ_STOP_SIGNAL and INJ_STOP_GROUP */
};

/* Which stop is asked for when a stopped thread is resumed. */
enum inj_resume {
	INJ_RESUME_FREELY,
	INJ_RESUME_TO_SYSCALL,
};

/* All of these: 0 or negative errno; -ESRCH when the thread is gone or being killed. */
int inj_pt_seize(pid_t tid, unsigned long options);
int inj_pt_set_options(pid_t tid, unsigned long options);
int inj_pt_interrupt(pid_t tid);
/* In a group stop: report the next change of it, the one that came already included. */
int inj_pt_listen(pid_t tid);
int inj_pt_resume(pid_t tid, enum inj_resume how, int signal);
int inj_pt_detach(pid_t tid, int signal);
int inj_pt_get_regs(pid_t tid, struct user_regs_struct *ret);
int inj_pt_set_regs(pid_t tid, const struct user_regs_struct *regs);
/* Write one word of the saved registers: the number of the system call. */
int inj_pt_set_number(pid_t tid, long number);
int inj_pt_set_gs_base(pid_t tid, uint64_t base);
int inj_pt_get_mask(pid_t tid, uint64_t *ret);
int inj_pt_set_mask(pid_t tid, uint64_t mask);
/* ret_length: bytes of the image, at most size. */
int inj_pt_get_xstate(pid_t tid, void *image, size_t size, size_t *ret_length);
int inj_pt_set_xstate(pid_t tid, const void *image, size_t length);
int inj_pt_get_message(pid_t tid, unsigned long *ret);
/* si_code of the signal about to be delivered. */
int inj_pt_get_signal_code(pid_t tid, int *ret);
/* Address and length of the thread's rseq area, 0 when it registered none. */
int inj_pt_get_rseq(pid_t tid, inj_addr *ret);
/* Is syscall user dispatch on for the thread? */
bool inj_pt_has_user_dispatch(pid_t tid);

/*
 * Is this a thread of the process? Needs no right to signal it: workers that only look at a process
 * of another user give that right up.
 */
bool inj_pt_belongs(pid_t pid, pid_t tid);

/*
 * Look at a thread without taking the report: a signal that it is about to deliver stays with
 * it, so that it is delivered even when we die now. INJ_STOP_EXEC is told once only. Return: 0
 * (kind may be INJ_STOP_NONE), or -ECHILD when we do not trace such a thread (any more).
 */
int inj_pt_peek(pid_t tid, struct inj_stop *ret);
/* Take the report of a zombie, so that its process or parent gets it. */
void inj_pt_reap(pid_t tid);
/* The same for a zombie that another thread of ours traces. */
void inj_pt_reap_for_agent(pid_t tid);
/*
 * Wait for the next stop (or the end) of one thread.
 * Return: 0; -ETIMEDOUT; -ECHILD.
 */
int inj_pt_wait(pid_t tid, uint64_t deadline_ns, struct inj_stop *ret);
/*
 * Wait until something may have happened: first awake, because stops come within microseconds,
 * then asleep until a SIGCHLD or for half a millisecond.
 * n_before: how often the caller waited already for the same thing.
 */
void inj_pt_pause(unsigned n_before, uint64_t deadline_ns);

#endif
