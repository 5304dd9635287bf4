/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_STOP_WAITS_PRIV_H
#define INJ_STOP_WAITS_PRIV_H

#include <sys/user.h>

#include "injector/process/process.h"
#include "injector/stop/ptrace-priv.h"
#include "injector/stop/waits.h"

/* ---- waits-call.c: which calls have an end ---- */

/* A system call that a thread sleeps in. */
struct inj_call {
	long number;
	uint64_t arguments[6];
	inj_addr sp;
	inj_addr pc; /* behind the instruction */
};

/* Return: 0; -EAGAIN when it does not sleep in a call; -ESRCH; other negative errno. */
int inj_call_read(const struct inj_process *process, pid_t tid, struct inj_call *ret);
/* Do the registers show a thread in this very call? */
bool inj_call_matches(const struct inj_call *call, const struct user_regs_struct *regs);

enum inj_timing {
	/* It would be made again with its whole timeout, and has a result that says it is over. */
	INJ_TIMING_RESULT,
	/* What is left stands in memory when it is interrupted, and is all it waits for then. */
	INJ_TIMING_REST,
};

struct inj_timed_call {
	enum inj_timing timing;
	uint64_t timeout_ns; /* of what is left of it, since it was made last */
	int64_t result;      /* RESULT */
	inj_addr rest;       /* REST: a struct timespec, or timeval */
	bool rest_in_us;
	short ready;         /* of its first argument, by poll(2): it need not wait; or 0 */
};

/* Return: 0; -ENODATA when its end is not changed by us, or cannot be known. */
int inj_timed_call_read(const struct inj_process *process, const struct inj_call *call,
			struct inj_timed_call *ret);
/* Pure: {seconds, nanoseconds or microseconds} as the kernel writes them. -EINVAL: no time. */
int inj_time_decode(const int64_t words[2], bool in_us, uint64_t *ret_ns);
void inj_time_encode(uint64_t ns, bool in_us, int64_t ret_words[2]);

/* ---- waits-witness.c: since when, and is it still the same call ---- */

/*
 * Tells whether a thread is in one and the same call all the time. The thread notices nothing, and
 * it ends with the descriptors, hence with us.
 */
struct inj_witness {
	int returned_fd; /* -1: none, ... */
	int entered_fd;
	void *notes;     /* ... NULL */
	uint64_t n_notes; /* read so far */
	inj_addr pc;
};

#define INJ_WITNESS_NONE ((struct inj_witness){-1, -1, NULL, 0, 0})

/*
 * pc: behind the `syscall` instruction of the call. Return: 0; negative errno where the kernel or
 * the CPU has no such thing to spare.
 */
int inj_witness_open(pid_t tid, inj_addr pc, struct inj_witness *ret);
void inj_witness_close(struct inj_witness *witness);
/* In a child that was just forked. Return: 0; negative errno. */
int inj_witness_inherit(struct inj_witness *witness);
/* Has the thread neither returned nor made another call from there since? The kernel may have. */
bool inj_witness_same(struct inj_witness *witness);

/* Since when a thread sleeps, on the clock of one CPU. */
struct inj_sleep {
	uint64_t since_ns;
	unsigned cpu;
	uint64_t start_ticks; /* of the thread: tells it from a later one of the same number */
};

/*
 * Read both while the thread sleeps in `call`, throughout.
 * Return: 0; -EAGAIN when it woke up meanwhile; other negative errno.
 */
int inj_sleep_read(const struct inj_process *process, pid_t tid, const struct inj_call *call,
		   struct inj_sleep *ret);
/*
 * What to add to a time of that CPU's clock to get CLOCK_MONOTONIC: now, never too little. Moves
 * the calling thread to that CPU and back.
 */
int inj_sleep_clock(unsigned cpu, uint64_t *ret_offset_ns);
/* Start time of a thread; negative errno when there is none. */
int inj_thread_start_ticks(pid_t pid, pid_t tid, uint64_t *ret);

/* ---- waits.c: for those who stop threads; the tracing thread calls ---- */

/* One wait; belongs to the list and stays until that is tidied. */
struct inj_wait;

/* Before threads are looked at: forget the waits that are over. */
void inj_waits_tidy(const struct inj_process *process);

/*
 * Before a thread is asked to stop: does it sleep in a call that we would lengthen?
 * process: whose waits may be NULL. Return: the wait, or NULL.
 */
struct inj_wait *inj_waits_look(const struct inj_process *process, pid_t tid);
/* When all were looked at. */
void inj_waits_date(const struct inj_process *process);
/* At the stop; regs: as the kernel reports them. wait may be NULL in all of these. */
void inj_wait_confirm(struct inj_wait *wait, const struct user_regs_struct *regs);
/*
 * Right before the thread is let go to where it was. stop: the one it is in; regs: what it is to
 * continue with, repaired.
 * Return: true when regs now hold the result of a call whose time is over: write them.
 */
bool inj_wait_settle(struct inj_wait *wait, struct inj_stop stop, struct user_regs_struct *regs);

#endif
