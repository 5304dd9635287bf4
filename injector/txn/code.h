/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_TXN_CODE_H
#define INJ_TXN_CODE_H

#include "injector/process/process.h"

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
 * Make the target own the pages of these pieces, so that no page needs to be copied during the hold: each first byte is
 * read and, when it is what `before` says, written back unchanged.
 * State: running. Return: 0. Errors: negative errno (-EBUSY: the bytes are not what they should be).
 */
int inj_writer_prefault(struct inj_writer *writer, const struct inj_code_write *writes, size_t n);

/*
 * Compare code with what was planned with: instructions that were copied elsewhere must not have become others since.
 * State: running or held. Return: 0: all is as it was.
 * Errors: INJ_UNSUPPORTED_PROCESS (says where, what was found and what was expected); -ENOMEM; other negative errno.
 */
int inj_writer_compare(const struct inj_writer *writer, const struct inj_code_copy *copies, size_t n,
		       struct inj_why *why);

/*
 * Exchange code. Pieces whose bytes are `after` already are left alone.
 * State: all threads held; none inside the pieces.
 * Return: 0: everything stands and was read back. On failure everything written by this call is undone.
 * Errors: INJ_UNSUPPORTED_PROCESS (the bytes are neither `before` nor `after`: says what was found), negative errno.
 */
int inj_writer_install(struct inj_writer *writer, const struct inj_code_write *writes, size_t n,
		       struct inj_why *why);

/*
 * The reverse, last piece first: `after` becomes `before`. A piece that fails does not keep the others from going back;
 * the first failure is returned. Same state and errors.
 */
int inj_writer_restore(struct inj_writer *writer, const struct inj_code_write *writes, size_t n,
		       struct inj_why *why);

/*
 * Store one aligned word: commits, and everything else that is small and ours (control page, return addresses).
 * address: 8-byte aligned. Return: 0 or negative errno.
 */
int inj_writer_store(struct inj_writer *writer, inj_addr address, uint64_t value);

/* Write bytes into an area of ours. Never code of the target: there is inj_writer_install() for that. */
int inj_writer_fill(struct inj_writer *writer, inj_addr address, const void *bytes, size_t length);

/*
 * Dead man's switch for changes that are not a single store (torn or several jumps without a stub). Arming queues a
 * SIGSTOP while all threads are held: as long as we live nobody meets it; if we die, the target stops before its next
 * instruction and waits for recovery. Disarming takes the signal back with a SIGCONT, which a target that neither
 * catches nor blocks SIGCONT cannot notice.
 * stopped: the target is group-stopped already, which protects it as well: nothing is sent, ret_armed is false.
 * State: held. Errors: INJ_UNSUPPORTED_PROCESS (SIGCONT is caught or blocked somewhere, so this cannot be done unseen).
 * Source: prepare_signal() in kernel/signal.c; signal(7).
 */
int inj_guard_arm(const struct inj_process *process, bool stopped, bool *ret_armed,
		  struct inj_why *why);
int inj_guard_disarm(const struct inj_process *process, bool armed);

#endif
