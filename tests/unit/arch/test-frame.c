/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "injector/arch/x86_64/frame.h"

#define RBX 3
#define RBP INJ_DW_RBP

/* Follow up to four instructions of at most eight bytes. */
static int follow(struct inj_frame_rule *rule, const uint8_t (*code)[8], size_t n)
{
	inj_frame_start(rule);
	for (size_t i = 0; i < n; i++) {
		int r = inj_frame_step(rule, code[i], 8);

		if (r < 0)
			return r;
	}
	return 0;
}

Test(frame, start)
{
	struct inj_frame_rule rule;

	inj_frame_start(&rule);
	cr_assert(!rule.by_rbp && rule.depth_known && rule.depth == 8 && rule.changed == 0);
}

Test(frame, pushes_and_sub)
{
	static const uint8_t code[][8] = { { 0x55 }, { 0x53 }, { 0x48, 0x83, 0xec, 0x18 } };
	struct inj_frame_rule rule;

	cr_assert_eq(follow(&rule, code, 3), 0);
	cr_assert_eq(rule.depth, 48);
	cr_assert_eq(rule.saved[RBP], 2);
	cr_assert_eq(rule.saved[RBX], 3);
}

Test(frame, frame_pointer)
{
	static const uint8_t code[][8] = {
		{ 0x55 }, { 0x48, 0x89, 0xe5 }, { 0x48, 0x83, 0xe4, 0xe0 } /* and $-32,%rsp */
	};
	struct inj_frame_rule rule;

	cr_assert_eq(follow(&rule, code, 3), 0);
	cr_assert(rule.by_rbp && !rule.depth_known);
	cr_assert_eq(rule.rbp_depth, 16);
	cr_assert_eq(inj_frame_step(&rule, (const uint8_t[8]){ 0xc9 }, 8), 0); /* leave */
	cr_assert(!rule.by_rbp && rule.depth_known && rule.depth == 8 && rule.saved[RBP] == 0);
}

/* push %rbp; mov %rsp,%rbp; pop %rbp: all of a clang -O0 function */
Test(frame, pop_frame_pointer)
{
	static const uint8_t code[][8] = { { 0x55 }, { 0x48, 0x89, 0xe5 }, { 0x5d } };
	struct inj_frame_rule rule;

	cr_assert_eq(follow(&rule, code, 3), 0);
	cr_assert(!rule.by_rbp && rule.depth == 8 && rule.saved[RBP] == 0);
}

Test(frame, lea_and_stores)
{
	static const uint8_t code[][8] = {
		{ 0x48, 0x89, 0x5c, 0x24, 0xe8 }, /* mov %rbx,-0x18(%rsp) */
		{ 0x48, 0x8d, 0x64, 0x24, 0xd8 }, /* lea -0x28(%rsp),%rsp */
		{ 0x48, 0x89, 0x6c, 0x24, 0x18 }, /* mov %rbp,0x18(%rsp) */
	};
	struct inj_frame_rule rule;

	cr_assert_eq(follow(&rule, code, 3), 0);
	cr_assert_eq(rule.depth, 48);
	cr_assert_eq(rule.saved[RBX], 4);
	cr_assert_eq(rule.saved[RBP], 3);
}

/* A register that has changed is no longer the caller's. */
Test(frame, late_save)
{
	static const uint8_t code[][8] = {{0x89, 0xfb}, {0x53}}; /* mov %edi,%ebx; push %rbx */
	struct inj_frame_rule rule;

	cr_assert_eq(follow(&rule, code, 2), 0);
	cr_assert_eq(rule.saved[RBX], 0);
	cr_assert_eq(rule.depth, 16);
}

Test(frame, inexpressible)
{
	static const uint8_t code[][8] = {
		{ 0x48, 0x83, 0xe4, 0xf0 },       /* and $-16,%rsp without frame pointer */
		{ 0x58 },                         /* pop the return address */
		{ 0x48, 0x89, 0xc4 },             /* mov %rax,%rsp */
		{ 0x48, 0x29, 0xc4 },             /* sub %rax,%rsp */
		{ 0x5c },                         /* pop %rsp */
		{ 0x66, 0x50 },                   /* push %ax */
		{ 0x48, 0x94 },                   /* xchg %rax,%rsp */
		{ 0xc8, 0x10, 0x00, 0x00 },       /* enter */
		{ 0xc9 },                         /* leave without frame pointer */
		{ 0x48, 0x83, 0xc4, 0x08 },       /* add $8,%rsp drops the return address */
		{ 0x48, 0x8d, 0x24, 0x04 },       /* lea (%rsp,%rax),%rsp */
		{ 0x48, 0x8b, 0x24, 0x24 },       /* mov (%rsp),%rsp */
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(code); i++) {
		struct inj_frame_rule rule, start;

		inj_frame_start(&rule);
		start = rule;
		cr_expect_eq(inj_frame_step(&rule, code[i], 8), -EOPNOTSUPP, "case %zu", i);
		cr_expect_eq(memcmp(&rule, &start, sizeof(rule)), 0, "case %zu", i);
	}
}

Test(frame, frame_pointer_lost)
{
	static const uint8_t code[][8] = { { 0x55 }, { 0x48, 0x89, 0xe5 }, { 0x31, 0xed } };
	struct inj_frame_rule rule;

	cr_assert_eq(follow(&rule, code, 3), -EOPNOTSUPP);
}

Test(frame, encoding)
{
	static const uint8_t code[][8] = { { 0x55 }, { 0x48, 0x89, 0xe5 } };
	static const uint8_t wanted[] =
		{
			0x41, 0x0e, 0x10,
			0x86, 0x02,	  /* advance 1, def_cfa_offset 16, offset rbp at cfa-16 */
			0x43, 0x0d, 0x06, /* advance 3, def_cfa_register rbp */
			0x02, 0x50, 0x0c,
			0x07, 0x08, 0xc6, /* advance1 80, def_cfa rsp 8, restore rbp */
		};
	struct inj_frame_rule rules[4];
	uint8_t program[32];
	size_t n = 0;
	bool written;

	inj_frame_start(&rules[0]);
	cr_assert_eq(follow(&rules[1], code, 1), 0);
	cr_assert_eq(follow(&rules[2], code, 2), 0);
	rules[3] = rules[0];
	cr_assert_eq(inj_frame_encode(&rules[0], &rules[0], 9, program, 32, &n, &written), 0);
	cr_assert(!written && n == 0);
	cr_assert_eq(inj_frame_encode(&rules[0], &rules[1], 1, program, 32, &n, &written), 0);
	cr_assert_eq(inj_frame_encode(&rules[1], &rules[2], 3, program, 32, &n, &written), 0);
	cr_assert_eq(inj_frame_encode(&rules[2], &rules[3], 80, program, 32, &n, &written), 0);
	cr_assert_eq(n, sizeof(wanted));
	cr_assert_arr_eq(program, wanted, n);
	for (size_t room = 0; room < 5; room++) {
		n = 0;
		cr_assert_eq(inj_frame_encode(&rules[0], &rules[1], 1, program, room, &n, &written),
			     -ENOSPC);
		cr_assert_eq(n, 0);
	}
}

Test(frame, large_offsets)
{
	static const uint8_t code[][8] = { { 0x48, 0x81, 0xec, 0x00, 0x10, 0x00, 0x00 } };
	static const uint8_t wanted[] = { 0x47, 0x0e, 0x88, 0x20 }; /* 4104 */
	struct inj_frame_rule start, rule;
	uint8_t program[8];
	size_t n = 0;
	bool written;

	inj_frame_start(&start);
	cr_assert_eq(follow(&rule, code, 1), 0);
	cr_assert_eq(inj_frame_encode(&start, &rule, 7, program, 8, &n, &written), 0);
	cr_assert(written);
	cr_assert_eq(n, sizeof(wanted));
	cr_assert_arr_eq(program, wanted, n);
}
