/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_STOP_BORROW_H
#define INJ_STOP_BORROW_H

#include "injector/process/maps.h"

/*
 * A thread of the target, borrowed to make system calls or to call a function in the target.
 * Only this thread is stopped. If we die at any moment the thread itself returns to where it
 * was: its original state lies in a signal frame on its stack (below the red zone), and every
 * path ends in rt_sigreturn. No byte of code is written; instructions of the target are used
 * (`mov $15,%eax; syscall` of libc's __restore_rt, else `pop %rax; ret` and `syscall`).
 */
struct inj_borrow;

/*
 * Borrow a thread: one that runs or waits without a timeout rather than one whose wait our death
 * would lengthen, never one in an uninterruptible sleep such as vfork. A thread that does not
 * stop within 20 ms is left alone and the next is tried, round and round until the deadline.
 * process, maps: borrowed until close; maps may be a little old; deadline_ns: CLOCK_MONOTONIC;
 * ret: free with inj_borrow_close().
 * State: running or group-stopped (stays so); not traced by us. Seccomp is suspended for this
 *   thread alone, while it makes our system calls.
 * Return: 0, the thread is stopped.
 * Errors: INJ_BLOCKED (no thread could be stopped, or none has a stack that is safe to use);
 *   INJ_UNSUPPORTED_PROCESS (no usable instructions; a seccomp filter that the kernel does not
 *   let us suspend); INJ_PROCESS_GONE; INJ_ALREADY_TRACED; other negative errno.
 * Source: ptrace(2), sigreturn(2), PTRACE_O_SUSPEND_SECCOMP.
 */
int inj_borrow_open(const struct inj_process *process, const struct inj_maps *maps,
		    uint64_t deadline_ns, struct inj_borrow **ret, struct inj_why *why);

/*
 * Give the thread back exactly as it was, an interrupted call included, detach, free.
 * borrow: NULL is fine; ret_held_ns: how long the thread was kept, may be NULL.
 * State: any.
 * Return: nothing; it cannot fail.
 * Errors: none. A thread that cannot be given back this way returns by itself.
 * Source: ptrace(2).
 */
void inj_borrow_close(struct inj_borrow *borrow, uint64_t *ret_held_ns);

/*
 * Where the borrowed thread stood when it was stopped, before anything of ours.
 * ret_pc, ret_sp: its instruction and stack pointer.
 * State: borrowed.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void inj_borrow_where(const struct inj_borrow *borrow, inj_addr *ret_pc, inj_addr *ret_sp);

/*
 * Copy bytes to the borrowed thread's stack, below the signal frame, as arguments of calls.
 * length: <= 1024; ret: their address in the target, valid until the next put or close.
 * State: borrowed.
 * Return: 0.
 * Errors: -EINVAL (too long); -ESRCH (the thread is no longer borrowed); other negative errno.
 * Source: process_vm_writev(2).
 */
int inj_borrow_put(struct inj_borrow *borrow, const void *bytes, size_t length, inj_addr *ret);

/*
 * Make one system call in the borrowed thread. Not for calls that sleep until something happens:
 * after two seconds the thread is left alone.
 * number: of x86-64; arguments: all six; ret_result: rax, a negative errno of the target's call
 *   included.
 * State: borrowed.
 * Return: 0 when the call was made.
 * Errors: INJ_PROCESS_GONE (the thread ended, or is no longer borrowed); INJ_BLOCKED (it does not
 *   get to run, as in a frozen control group, and was left alone); other negative errno. After any
 *   of them only close makes sense.
 * Source: ptrace(2).
 */
int inj_borrow_syscall(struct inj_borrow *borrow, long number, const uint64_t arguments[6],
		       int64_t *ret_result, struct inj_why *why);

/*
 * Run a function on the thread that traces the borrowed one, and wait for it: system calls that are
 * made in there cost no switch between threads of ours.
 * function, argument: may call what is above, and nothing that opens or closes.
 * State: borrowed.
 * Return: what the function returns.
 * Errors: negative errno when the thread cannot be started.
 * Source: none.
 */
int inj_borrow_run(struct inj_borrow *borrow, int (*function)(void *), void *argument);

/*
 * Call a C function in the borrowed thread, on a stack of its own, with all signals blocked but
 * those that report faults, under the program's own seccomp filter.
 * pad: where the bytes of inj_borrow_pad() lie in an executable page of ours; stack_top: aligned
 *   to 16 bytes, with 64 KiB of writable memory below; function; arguments: integers or
 *   addresses; deadline_ns: CLOCK_MONOTONIC; ret_result: rax.
 * State: borrowed. The function must not change what belongs to the interrupted thread, errno
 *   above all; its own crash is caught.
 * Return: 0 when the function returned.
 * Errors: INJ_HOOK_FAILED (it crashed: the thread is as before the call and still borrowed; or
 *   the deadline passed: the thread was left alone to finish and return by itself);
 *   INJ_PROCESS_GONE; -EINVAL (stack_top); other negative errno.
 * Source: ptrace(2), psABI 3.2.
 */
int inj_borrow_call(struct inj_borrow *borrow, inj_addr pad, inj_addr stack_top,
		    inj_addr function, const uint64_t arguments[4], uint64_t deadline_ns,
		    uint64_t *ret_result, struct inj_why *why);

/*
 * The code by which a called function comes back: `call *%rbx`, then rt_sigreturn. See
 * borrow-call.c.
 * buffer: gets at most cap bytes.
 * State: none.
 * Return: size of the pad in bytes.
 * Errors: none.
 * Source: none.
 */
size_t inj_borrow_pad(uint8_t *buffer, size_t cap);

#endif
