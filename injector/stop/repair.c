/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the knowledge of which system calls report EINTR merely because a tracer looked at them,
 * and how that is undone. Always holds: a call is repeated only when repeating it is what the
 * program would do itself on EINTR: it had no effect yet and its arguments are still valid.
 * Refuses everything that the table does not name: close(2), above all, has released the
 * descriptor when it reports EINTR, and an ioctl(2) may mean anything.
 *
 * Undoing means rax = -ERESTARTNOHAND, nothing else. The kernel reads rax when the thread leaves
 * the stop and finds out by itself, with its own locks, whether a handler is to run now: then
 * the call ends with EINTR, as it does for everybody whose call a signal interrupts; else it is
 * made again. Writing the finished registers (rip on the instruction, rax the number) instead
 * would take the decision before the thread runs: a signal that comes in between would run its
 * handler and then enter the call once more, and the program that waits for the EINTR to look at
 * what its handler noted would wait for ever.
 *
 * Timeouts: a call of the table that has one would wait for all of it again, since the kernel keeps
 * no record of when it began; waits.c does, and ends it at its time. Calls that the kernel repeats
 * by itself keep their end (nanosleep, poll, futex) or what is left of their time (select, ppoll).
 * Source: arch_do_signal_or_restart() and handle_signal() of the kernel.
 */
#include <errno.h>
#include <sys/syscall.h>

#include "injector/stop/ptrace-priv.h"
#include "injector/stop/repair-priv.h"

static bool always(const struct user_regs_struct *regs)
{
	return true;
}

static bool waits_only(const struct user_regs_struct *regs)
{
	/* io_uring_enter(fd, to_submit, ...): with entries to submit it is no mere wait. */
	return (uint32_t)regs->rsi == 0;
}

static const struct entry {
	long number;
	bool (*safe)(const struct user_regs_struct *regs);
} table[] = {
	/*
	 * Waiting for readiness: no event is taken when the result is EINTR (ep_poll() looks
	 * for events before signals). The signal mask of the p variants is put back by the
	 * kernel before the call is made again, and set by it again.
	 */
	{SYS_epoll_wait, always},
	{SYS_epoll_pwait, always},
	{SYS_epoll_pwait2, always},
	/* EINTR only without any event (read_events() of fs/aio.c). */
	{SYS_io_getevents, always},
	{SYS_io_pgetevents, always},
	{SYS_io_uring_enter, waits_only},

	/*
	 * The kernel makes these again by itself, with what is left of their time, unless it could
	 * not write that into the program's memory (poll_select_finish()). Nothing was found ready.
	 */
	{SYS_select, always},
	{SYS_pselect6, always},
	{SYS_ppoll, always},

	/*
	 * All operations of a semop happen at once or none does; EINTR means none
	 * (__do_semtimedop() rechecks under the lock after waking up).
	 */
	{SYS_semop, always},
	{SYS_semtimedop, always},

	/*
	 * EINTR means that no signal of the set was taken. One that came since is still queued,
	 * because the set is blocked, and the repeated call takes it.
	 */
	{SYS_rt_sigtimedwait, always},

	/*
	 * Sockets report EINTR instead of repeating by themselves only when a timeout is set on
	 * them (sock_intr_errno()), and only before the first byte or message was moved; with
	 * bytes moved the call returns their number. A second connect(2) on a socket that is
	 * connecting waits for the first one. The same numbers serve files and devices: there
	 * POSIX gives EINTR the same meaning, nothing was transferred.
	 */
	{SYS_read, always},
	{SYS_readv, always},
	{SYS_preadv, always},
	{SYS_preadv2, always},
	{SYS_recvfrom, always},
	{SYS_recvmsg, always},
	{SYS_recvmmsg, always},
	{SYS_accept, always},
	{SYS_accept4, always},
	{SYS_connect, always},
	{SYS_write, always},
	{SYS_writev, always},
	{SYS_pwritev, always},
	{SYS_pwritev2, always},
	{SYS_sendto, always},
	{SYS_sendmsg, always},
	{SYS_sendmmsg, always},
	/* EINTR before the first byte; offsets in memory move with bytes, so not at all. */
	{SYS_sendfile, always},
	{SYS_splice, always},
	{SYS_tee, always},
	/* Nothing was written to the buffer. */
	{SYS_getrandom, always},
};

bool inj_regs_restarting(const struct user_regs_struct *regs)
{
	if (!inj_regs_in_syscall(regs))
		return false;
	switch ((int64_t)regs->rax) {
	case -INJ_ERESTARTSYS:
	case -INJ_ERESTARTNOINTR:
	case -INJ_ERESTARTNOHAND:
	case -INJ_ERESTART_RESTARTBLOCK:
		return true;
	default:
		return false;
	}
}

bool inj_repair_applies(const struct user_regs_struct *regs)
{
	if (!inj_regs_in_syscall(regs) || (int64_t)regs->rax != -EINTR)
		return false;
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(table); i++)
		if (table[i].number == (long)regs->orig_rax)
			return table[i].safe(regs);
	return false;
}

bool inj_repair_is_syscall(const uint8_t bytes[INJ_SYSCALL_BYTES])
{
	/* syscall; `int 0x80` (cd 80) counts calls in another way. */
	return bytes[0] == 0x0f && bytes[1] == 0x05;
}

void inj_repair(struct user_regs_struct *regs)
{
	regs->rax = (uint64_t)-INJ_ERESTARTNOHAND;
}

struct user_regs_struct inj_repair_continuation(const struct user_regs_struct *regs)
{
	struct user_regs_struct next = *regs;

	if (inj_regs_restarting(regs)) {
		next.rax = regs->orig_rax;
		next.rip -= INJ_SYSCALL_BYTES;
	}
	next.orig_rax = (uint64_t)-1;
	return next;
}
