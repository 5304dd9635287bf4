/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_STOP_BORROW_H
#define INJ_STOP_BORROW_H

#include "injector/process/maps.h"
#include "injector/symbol/module.h"

/*
 * A thread of the target, borrowed to make system calls or to call a function in the target. Only this thread is stopped.
 * If we die at any moment the thread itself returns to where it was: its original state lies in a signal frame on its stack (below the red zone), and every path ends in rt_sigreturn.
 * No byte of code is written; instructions of the target are used (`syscall; ret` of libc or vDSO, __restore_rt, else `pop %rax; ret` and `syscall`).
 */
struct inj_borrow;

/*
 * Borrow a thread. Prefers one that runs or sleeps in a restartable call over one with a restart block, never one in vfork; a thread that does not stop within 20 ms is left alone and the next is tried.
 * State: running, group-stopped (stays so); process not traced by us. Seccomp is suspended for this thread only, only while it is stopped (PTRACE_O_SUSPEND_SECCOMP); when the kernel
 *   refuses that and the target has a filter: INJ_UNSUPPORTED_PROCESS with the reason.
 * Errors: INJ_BLOCKED (no thread could be stopped before the deadline), INJ_UNSUPPORTED_PROCESS (no usable instructions), INJ_PROCESS_GONE, INJ_ALREADY_TRACED, negative errno.
 * Source: ptrace(2), sigreturn(2), experiments of docs/decisions. */
int inj_borrow_open(const struct inj_process *process, const struct inj_maps *maps, uint64_t deadline_ns, struct inj_borrow **ret, struct inj_why *why);
/* Give the thread back exactly as it was (pending restarts included) and detach. NULL is fine. ret_held_ns may be NULL. */
void inj_borrow_close(struct inj_borrow *borrow, uint64_t *ret_held_ns);

/* Where the borrowed thread stood: its own instruction and stack pointer, before anything of ours. */
void inj_borrow_where(const struct inj_borrow *borrow, inj_addr *ret_pc, inj_addr *ret_sp);

/* Scratch bytes on the borrowed thread's stack, below the signal frame: copy `length` (<= 1024) bytes there, to be used as arguments of calls; valid until the next put or close. */
int inj_borrow_put(struct inj_borrow *borrow, const void *bytes, size_t length, inj_addr *ret);

/*
 * One system call. Return: 0 and the raw result (negative errno of the target's kernel call included) in ret_result; else negative errno / refusal when the call could not be made.
 */
int inj_borrow_syscall(struct inj_borrow *borrow, long number, const uint64_t arguments[6], int64_t *ret_result, struct inj_why *why);

/*
 * Call a C function in the target: up to four integer arguments, result from rax.
 * stack_top: a private stack in the target (16-byte aligned top, >= 64 KiB below it is writable), pad: address of INJ_BORROW_PAD code in an executable page of ours.
 * deadline_ns: when the function has not returned by then, the thread is left alone to finish and return by itself, INJ_HOOK_FAILED is returned and the borrow is closed for further use.
 */
int inj_borrow_call(struct inj_borrow *borrow, inj_addr pad, inj_addr stack_top, inj_addr function, const uint64_t arguments[4], uint64_t deadline_ns, uint64_t *ret_result, struct inj_why *why);

/* The bytes of the pad, to be placed into the stub page: `call *%rbx; ...; mov $15,%eax; syscall` (see borrow.c). Copies at most cap bytes, returns the size. */
size_t inj_borrow_pad(uint8_t *buffer, size_t cap);

#endif
