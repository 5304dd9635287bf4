/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pure part of waits with an end: times, and which registers show a call. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>

#include "injector/stop/waits-priv.h"

static const struct {
	int64_t words[2];
	bool in_us;
	int result;
	uint64_t ns;
} times[] = {
	{{0, 0}, false, 0, 0},
	{{1, 5}, false, 0, 1000000005},
	{{1, 5}, true, 0, 1000005000},
	{{0, 999999999}, false, 0, 999999999},
	{{0, 1000000000}, false, -EINVAL, 0},
	{{0, 999999}, true, 0, 999999000},
	{{0, 1000000}, true, -EINVAL, 0},
	{{-1, 0}, false, -EINVAL, 0},
	{{0, -1}, false, -EINVAL, 0},
	{{INT64_MAX, 0}, false, -EINVAL, 0},
	/* A hundred years, and no more. */
	{{3153600000, 0}, false, 0, 3153600000000000000},
	{{3153600001, 0}, true, -EINVAL, 0},
};

Test(waits, decode)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(times); i++) {
		uint64_t ns = 7;

		cr_expect_eq(inj_time_decode(times[i].words, times[i].in_us, &ns), times[i].result,
			     "%zu", i);
		cr_expect_eq(ns, times[i].result ? 7 : times[i].ns, "%zu", i);
	}
}

Test(waits, encode_is_never_early)
{
	int64_t words[2];
	uint64_t ns;

	for (uint64_t i = 0; i < 4000000000; i = i * 3 / 2 + 1) {
		inj_time_encode(i, false, words);
		cr_assert_eq(inj_time_decode(words, false, &ns), 0);
		cr_expect_eq(ns, i);
		inj_time_encode(i, true, words);
		cr_assert_eq(inj_time_decode(words, true, &ns), 0);
		cr_expect(ns >= i && ns < i + 1000, "%llu", (unsigned long long)i);
	}
}

static const struct inj_call call = {
	.number = SYS_epoll_wait, .arguments = {1, 2, 3, 4, 5, 6}, .sp = 0x7000, .pc = 0x1002};

static struct user_regs_struct inside(void)
{
	return (struct user_regs_struct){
		.orig_rax = SYS_epoll_wait, .rdi = 1, .rsi = 2, .rdx = 3, .r10 = 4, .r8 = 5,
		.r9 = 6, .rsp = 0x7000, .rip = 0x1002, .rax = (uint64_t)-EINTR};
}

/* Each of the registers counts. */
Test(waits, a_call_is_told_from_another)
{
	static const size_t offsets[] = {
		offsetof(struct user_regs_struct, orig_rax),
		offsetof(struct user_regs_struct, rdi), offsetof(struct user_regs_struct, rsi),
		offsetof(struct user_regs_struct, rdx), offsetof(struct user_regs_struct, r10),
		offsetof(struct user_regs_struct, r8),  offsetof(struct user_regs_struct, r9),
		offsetof(struct user_regs_struct, rsp), offsetof(struct user_regs_struct, rip),
	};
	struct user_regs_struct regs = inside();

	cr_expect(inj_call_matches(&call, &regs));
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(offsets); i++) {
		uint64_t value;

		regs = inside();
		memcpy(&value, (char *)&regs + offsets[i], sizeof(value));
		value++;
		memcpy((char *)&regs + offsets[i], &value, sizeof(value));
		cr_expect_not(inj_call_matches(&call, &regs), "%zu", i);
	}
}
