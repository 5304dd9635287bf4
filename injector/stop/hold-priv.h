/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_STOP_HOLD_PRIV_H
#define INJ_STOP_HOLD_PRIV_H

#include "injector/stop/ptrace-priv.h"
#include "injector/stop/tracer.h"
#include "injector/stop/waits-priv.h"

/* How far one thread is on its way. */
enum thread_state {
	THREAD_WAITING, /* seized, not seen stopped yet */
	THREAD_STOPPED,
	THREAD_GONE,    /* ended, or a stranger that was let go */
};

/* What release must know of a thread; same index as in inj_hold.threads. */
struct thread_note {
	enum thread_state state;
	struct inj_stop stop;
	bool repaired;
	struct inj_wait *wait; /* NULL: none that we would lengthen */
};

/* inj_hold.private */
struct hold_notes {
	struct thread_note *items;
	size_t room;
	bool dead_leader;          /* the main thread ended, others live on */
	inj_addr checked_syscall;  /* rip behind an instruction known to be `syscall`, or 0 */
};

/* One try to hold; everything here runs on the agent's thread. */
struct hold_attempt {
	struct inj_hold *holds;
	size_t n_holds;
	pid_t agent_tid;
	pid_t only_tid; /* stop this thread alone; 0: all of them */
	uint64_t deadline_ns;
	uint64_t budget_ns;
	/* Results. */
	uint64_t first_interrupt_ns; /* 0: nobody was asked to stop */
	uint64_t limit_ns;           /* budget and deadline made one */
	const struct inj_hold *blocked_hold; /* with -ETIMEDOUT: whom we waited for */
	pid_t blocked_tid;
	bool unclean;                /* something is attached that a detach cannot reach */
	struct inj_why *why;
};

static inline struct hold_notes *hold_notes(const struct inj_hold *hold)
{
	return hold->private;
}

static inline struct thread_note *hold_note(const struct inj_hold *hold, size_t index)
{
	return &hold_notes(hold)->items[index];
}

/*
 * Add a thread in its place, waiting. Return: 0; -EEXIST when it is there; -ENOMEM; -E2BIG.
 */
int inj_hold_add(struct inj_hold *hold, pid_t tid);
bool inj_hold_knows(const struct inj_hold *hold, pid_t tid);
/* Drop the threads that are gone. */
void inj_hold_compact(struct inj_hold *hold);
int inj_hold_init(struct inj_hold *hold, const struct inj_process *process);
void inj_hold_deinit(struct inj_hold *hold);

/*
 * Seize, interrupt, wait: struct hold_attempt * as void *, for inj_agent_run(). On anything but
 * 0 the caller ends the agent; threads may be in any state then.
 * Return: 0; -ETIMEDOUT with blocked_tid set; a refusal; other negative errno.
 */
int inj_hold_attempt(void *attempt);

/*
 * Reap threads that ended under us, from the caller's thread; struct inj_tracer's processes stay
 * as they are while the agent works. See attempt.c.
 */
void inj_hold_rescue(const struct inj_process *process);

/*
 * seize.c: bring every thread that /proc lists and that we do not know under control.
 * newborn: in the middle of a hold: follow clones, and interrupt at once. ret_n_new: threads
 * added. Return: 0; INJ_ALREADY_TRACED, INJ_PROCESS_GONE; -EAGAIN when a thread id was recycled
 * under our hands; other negative errno.
 */
int inj_hold_seize_pass(struct hold_attempt *attempt, struct inj_hold *hold, bool newborn,
			size_t *ret_n_new);

/* seize.c: the same for one thread. -ESRCH: there is none of that number in the process. */
int inj_hold_seize_thread(struct hold_attempt *attempt, struct inj_hold *hold, pid_t tid);

/* collect.c: wait until all threads that are known have stopped or ended. Return as above. */
int inj_hold_collect(struct hold_attempt *attempt, struct inj_hold *hold);

/*
 * collect.c: one look at a thread that did not stop in time. Return: it is stopped now; it may
 * also have ended.
 */
bool inj_hold_meet(struct hold_attempt *attempt, struct inj_hold *hold, size_t index);

/*
 * collect.c: will a thread that was asked to stop do so as soon as it gets a CPU? Then it must be
 * met: let go before, it has been woken for nothing, and its call reports that. One in an
 * uninterruptible sleep was not woken.
 */
bool inj_thread_is_on_its_way(const struct inj_process *process, pid_t tid);
/* On a busy machine that takes its time. */
#define INJ_STRAGGLER_NS 1000000000u

/*
 * collect.c: look at all threads again, the stopped ones, too: reap those that ended, notice
 * that the main thread ended alone, or that another program runs now.
 * Return: 0; INJ_PROCESS_GONE when it does.
 */
int inj_hold_survey(struct hold_attempt *attempt, struct inj_hold *hold);

/* Words for an execve under the hold. Return: INJ_PROCESS_GONE. */
int inj_hold_refuse_replaced(const struct inj_hold *hold, struct inj_why *why);

/* Ask again whether the clock allows to wait on. Return: 0 or -ETIMEDOUT. */
int inj_hold_out_of_time(struct hold_attempt *attempt, const struct inj_hold *hold, pid_t tid);

#endif
