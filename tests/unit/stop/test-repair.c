/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <errno.h>
#include <sys/syscall.h>

#include "injector/stop/ptrace-priv.h"
#include "injector/stop/repair-priv.h"

static struct user_regs_struct stopped_in(long number, int64_t rax)
{
	return (struct user_regs_struct){
		.orig_rax = (uint64_t)number, .rax = (uint64_t)rax, .rip = 0x1002, .rsi = 7};
}

Test(repair, calls_that_may_be_repeated)
{
	static const long numbers[] = {
		SYS_epoll_wait, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_semop, SYS_semtimedop,
		SYS_rt_sigtimedwait, SYS_recvfrom, SYS_recvmsg, SYS_read, SYS_accept, SYS_write,
		SYS_sendto, SYS_io_getevents,
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(numbers); i++) {
		struct user_regs_struct regs = stopped_in(numbers[i], -EINTR);

		cr_expect(inj_repair_applies(&regs), "call %ld", numbers[i]);
		regs.rax = (uint64_t)-EAGAIN;
		cr_expect_not(inj_repair_applies(&regs), "call %ld", numbers[i]);
		regs.rax = 1;
		cr_expect_not(inj_repair_applies(&regs), "call %ld", numbers[i]);
		/* In user mode rax is just a number. */
		regs = stopped_in(-1, -EINTR);
		cr_expect_not(inj_repair_applies(&regs), "call %ld", numbers[i]);
	}
}

Test(repair, calls_that_must_not_be_repeated)
{
	static const long numbers[] = {SYS_close,	SYS_ioctl, SYS_nanosleep, SYS_clone,
				       SYS_rt_sigsuspend, SYS_pause, SYS_openat,  100000};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(numbers); i++) {
		struct user_regs_struct regs = stopped_in(numbers[i], -EINTR);

		cr_expect_not(inj_repair_applies(&regs), "call %ld", numbers[i]);
	}
}

Test(repair, io_uring_only_when_it_merely_waits)
{
	struct user_regs_struct regs = stopped_in(SYS_io_uring_enter, -EINTR);

	cr_expect_not(inj_repair_applies(&regs));
	regs.rsi = 0;
	cr_expect(inj_repair_applies(&regs));
	/* The upper half of a 32-bit argument means nothing. */
	regs.rsi = UINT64_C(1) << 32;
	cr_expect(inj_repair_applies(&regs));
}

Test(repair, only_rax_changes)
{
	struct user_regs_struct regs = stopped_in(SYS_epoll_wait, -EINTR);
	struct user_regs_struct expected = regs;

	expected.rax = (uint64_t)-INJ_ERESTARTNOHAND;
	inj_repair(&regs);
	cr_expect_arr_eq(&regs, &expected, sizeof(regs));
	cr_expect(inj_regs_restarting(&regs));
}

Test(repair, instructions)
{
	cr_expect(inj_repair_is_syscall((const uint8_t[]){0x0f, 0x05}));
	cr_expect_not(inj_repair_is_syscall((const uint8_t[]){0xcd, 0x80}));
	cr_expect_not(inj_repair_is_syscall((const uint8_t[]){0x0f, 0x34}));
}

Test(repair, continuation_carries_restarts_out)
{
	static const int codes[] = {INJ_ERESTARTSYS, INJ_ERESTARTNOINTR, INJ_ERESTARTNOHAND,
				    INJ_ERESTART_RESTARTBLOCK};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(codes); i++) {
		struct user_regs_struct regs = stopped_in(SYS_nanosleep, -codes[i]);
		struct user_regs_struct next = inj_repair_continuation(&regs);

		cr_expect_eq(next.rax, SYS_nanosleep);
		cr_expect_eq(next.rip, 0x1000);
		cr_expect_eq(next.orig_rax, UINT64_MAX);
		cr_expect_eq(next.rsi, 7);
	}
}

Test(repair, continuation_leaves_results_alone)
{
	static const int64_t results[] = {0, 5, -EINTR, -EAGAIN, -515};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(results); i++) {
		struct user_regs_struct regs = stopped_in(SYS_read, results[i]);
		struct user_regs_struct next = inj_repair_continuation(&regs);

		cr_expect_eq((int64_t)next.rax, results[i]);
		cr_expect_eq(next.rip, 0x1002);
	}

	/* Not in a call: even -512 is only a number. */
	struct user_regs_struct regs = stopped_in(-1, -INJ_ERESTARTSYS);

	cr_expect_eq(inj_repair_continuation(&regs).rip, 0x1002);
}
