/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_TXN_CODE_H
#define INJ_TXN_CODE_H

#include "injector/stop/tracer.h"

/* One piece of code to be exchanged. */
struct inj_code_write {
	inj_addr address;
	uint8_t n; /* 1..7 */
	uint8_t before[7];
	uint8_t after[7];
};

/* Code that must be as it was when it was planned with. */
struct inj_code_copy {
	inj_addr address;
	uint8_t n; /* 1..INJ_CODE_COPY_MAX */
	const uint8_t *bytes; /* borrowed */
};
#define INJ_CODE_COPY_MAX 32

/* Does the piece lie in two pages? Then our death can tear it. */
static inline bool inj_code_tears(const struct inj_code_write *write)
{
	return INJ_PAGE_DOWN(write->address) != INJ_PAGE_DOWN(write->address + write->n - 1);
}

/*
 * Writer of one target; keeps /proc/PID/mem open so that nothing needs to be opened during a hold.
 * Return: 0. Errors: INJ_PROCESS_GONE, negative errno.
 */
struct inj_writer;
int inj_writer_new(const struct inj_process *process, struct inj_writer **ret,
		   struct inj_why *why);
void inj_writer_free(struct inj_writer *writer);
INJ_DEFINE_GUARD(struct inj_writer *, inj_writer_free, inj_writer_guard)

/*
 * Prepare an exchange, so that it needs no memory of ours or of the target any more: room is made
 * in the writer, and the target gets pages of its own where the pieces lie, by writing bytes back
 * that stand there.
 * install: the pieces are to be installed, and must be what `before` says; else they are to be put
 *   back, and pieces that are neither are passed over, since the exchange will refuse them.
 * State: running. Return: 0. Errors: negative errno (-EBUSY: the bytes are not what they should
 *   be; -ENOMEM).
 */
int inj_writer_prepare(struct inj_writer *writer, const struct inj_code_write *writes, size_t n,
		       bool install);

/*
 * Compare code with what was planned with: instructions that were copied elsewhere must not have
 * become others since.
 * State: running or held. Return: 0: all is as it was.
 * Errors: INJ_UNSUPPORTED_PROCESS (says where, what was found and what was expected); -ENOMEM;
 *   other negative errno.
 */
int inj_writer_compare(const struct inj_writer *writer, const struct inj_code_copy *copies,
		       size_t n, struct inj_why *why);

/*
 * Exchange code. Pieces whose bytes are `after` already are left alone. Needs no memory after
 * inj_writer_prepare() for as many pieces.
 * State: all threads held; none inside the pieces.
 * Return: 0: everything stands and was read back. On failure everything written by this call is
 *   undone.
 * Errors: INJ_UNSUPPORTED_PROCESS (the bytes are neither `before` nor `after`: says what was
 *   found), negative errno.
 */
int inj_writer_install(struct inj_writer *writer, const struct inj_code_write *writes, size_t n,
		       struct inj_why *why);

/*
 * The reverse, last piece first: `after` becomes `before`. A piece that fails does not keep the
 * others from going back; the first failure is returned. Same state and errors.
 */
int inj_writer_restore(struct inj_writer *writer, const struct inj_code_write *writes, size_t n,
		       struct inj_why *why);

/*
 * Store one aligned word: commits, and everything else that is small and ours (control page, return
 * addresses).
 * address: 8-byte aligned. Return: 0 or negative errno.
 */
int inj_writer_store(struct inj_writer *writer, inj_addr address, uint64_t value);

/* Write bytes into an area of ours. Never code of the target: there is inj_writer_install() for
 * that. */
int inj_writer_fill(struct inj_writer *writer, inj_addr address, const void *bytes, size_t length);

/*
 * Dead man's switch for changes that are not a single store (torn or several jumps without a stub).
 * Arming queues a SIGSTOP for every thread while all are held: as long as we live nobody meets it;
 * if we die, the target stops before its next instruction and waits for recovery. Disarming takes
 * the signals back with a SIGCONT, which a target that neither catches nor blocks SIGCONT cannot
 * notice. A target that is stopped needs none: it is protected by that, and a SIGCONT of ours would
 * let it run.
 * State: held, inj_tracer_job() says that it runs, inj_guard_must_wait() said no within this hold.
 * Return: 0. Errors: INJ_UNSUPPORTED_PROCESS (SIGCONT is caught or blocked somewhere, so this
 * cannot be done unseen); negative errno.
 * Source: prepare_signal() in kernel/signal.c; signal(7).
 */
int inj_guard_arm(const struct inj_hold *hold, struct inj_why *why);

/*
 * A target that somebody else told to stop meanwhile keeps all of these signals: it stops as it is
 * let go.
 * State: armed, and held since. Return: 0 or negative errno.
 */
int inj_guard_disarm(const struct inj_hold *hold);

/*
 * Is a signal that stops or continues the target on its way, which disarming would take away, or
 * does a thread block SIGCONT, as new threads do? A moment later that is over.
 * tracer: whose hold it is. State: held. Return: the answer; if yes, why says INJ_BLOCKED and what
 *   is in the way.
 */
bool inj_guard_must_wait(struct inj_tracer *tracer, const struct inj_hold *hold,
			 struct inj_why *why);

/*
 * Did somebody else tell a target to stop that the switch has stopped? Their signal waits in the
 * queue of the process until the first hold or borrow, which lets the target meet it. State: not
 * held since the death. Return: the answer.
 */
bool inj_guard_is_shared(const struct inj_process *process);

/* Let a target go on that the switch has stopped. State: not held. Return: nothing; who is gone
 * needs it no more. */
void inj_guard_let_go(const struct inj_process *process);

#endif
