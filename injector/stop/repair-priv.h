/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_STOP_REPAIR_PRIV_H
#define INJ_STOP_REPAIR_PRIV_H

#include <sys/user.h>

#include "injector/base/types.h"

/* Was the thread stopped inside a system call, or on its way out of one? */
static inline bool inj_regs_in_syscall(const struct user_regs_struct *regs)
{
	return (int64_t)regs->orig_rax >= 0;
}

/* Is rax one of the kernel's own requests to repeat the call? */
bool inj_regs_restarting(const struct user_regs_struct *regs);

/*
 * Does the interrupted call report EINTR to its program though it could just as well be
 * repeated? Pure; whether a `syscall` instruction made the call remains to be looked at.
 */
bool inj_repair_applies(const struct user_regs_struct *regs);

/* The bytes of the instruction that inj_repair_applies() wants to see at rip - 2. */
#define INJ_SYSCALL_BYTES 2
bool inj_repair_is_syscall(const uint8_t bytes[INJ_SYSCALL_BYTES]);

/* Ask the kernel to decide: see repair.c. */
void inj_repair(struct user_regs_struct *regs);

/*
 * Registers that continue a thread from user mode as the kernel would have continued it:
 * pending restarts are carried out, so the result needs no kernel to finish it.
 * regs: as reported at a stop, repaired. A call with a restart block (nanosleep, poll, futex)
 * is made again from its start, since the block cannot be carried along.
 */
struct user_regs_struct inj_repair_continuation(const struct user_regs_struct *regs);

#endif
