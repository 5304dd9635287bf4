/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <errno.h>

#include "tests/unit/unwind/frames.h"

#define CODE UINT64_C(0x400000)

Test(cfi, reads_and_accepts_what_compilers_emit)
{
	struct frames frames = {.n = 0};
	/* advance 1; def_cfa_offset 16; offset rbp at cfa-16; advance 3; def_cfa_register rbp */
	static const uint8_t program[] = {0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6};
	struct inj_cfi cfi;

	frames_cie(&frames, "zR", 16, after_call, sizeof(after_call));
	inj_addr fde = frames_fde(&frames, CODE, 64, program, sizeof(program));

	cr_assert_eq(inj_cfi_read(frames_table(&frames), fde, &cfi), 0);
	cr_expect_eq(cfi.code.start, CODE);
	cr_expect_eq(cfi.code.end, CODE + 64);
	cr_expect_eq(cfi.cie, FRAMES);
	cr_expect_eq(cfi.end - cfi.program, sizeof(program));
	cr_assert_eq(inj_cfi_check(frames_table(&frames), &cfi), 0);
	cr_expect_eq(cfi.flags, 0);
	cr_expect_eq(inj_cfi_read(frames_table(&frames), FRAMES, &cfi), -ENOENT, "a CIE");
	cr_expect_eq(inj_cfi_read(frames_table(&frames), FRAMES - 1, &cfi), -EBADMSG);
	cr_expect_eq(inj_cfi_read(frames_table(&frames), FRAMES + frames.n, &cfi), -EBADMSG);
}

Test(cfi, sees_signal_frames)
{
	struct frames frames = {.n = 0};
	struct inj_cfi cfi;

	frames_cie(&frames, "zR", 16, after_call, sizeof(after_call));
	frames_fde(&frames, CODE, 64, NULL, 0);
	cr_expect_not(inj_cfi_has_signal_frames(frames_table(&frames)));
	frames_cie(&frames, "zRS", 16, after_call, sizeof(after_call));
	inj_addr fde = frames_fde(&frames, CODE + 64, 16, NULL, 0);

	cr_expect(inj_cfi_has_signal_frames(frames_table(&frames)));
	cr_assert_eq(inj_cfi_read(frames_table(&frames), fde, &cfi), 0);
	cr_expect_eq(cfi.flags, INJ_CFI_SIGNAL);
}

struct program {
	const char *what;
	uint8_t bytes[24];
	size_t n;
	int result;
	unsigned flags;
};

static const struct program programs[] = {
	{"nothing", {0}, 0, 0, 0},
	{"nops", {0, 0, 0}, 3, 0, 0},
	{"the end of the stack", {0x07, 16}, 2, 0, 0},
	{"state pushed and popped", {0x0a, 0x0b}, 2, 0, 0},
	{"state left pushed", {0x0a}, 1, 0, 0},
	{"PLT", {0x0f, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22}, 13, 0, 0},
	{"rip in rdx (longjmp)", {0x09, 16, 1}, 3, 0, INJ_CFI_MOVED_RETURN},
	{"rip elsewhere", {0x90, 2}, 2, 0, INJ_CFI_MOVED_RETURN},
	{"rip by an expression", {0x10, 16, 2, 0x77, 8}, 5, 0, INJ_CFI_MOVED_RETURN},
	{"rsp saved (setcontext)", {0x87, 4}, 2, 0, INJ_CFI_MOVED_STACK},
	{"rsp computed", {0x16, 7, 2, 0x77, 8}, 5, 0, INJ_CFI_MOVED_STACK | INJ_CFI_STACK_VALUE},
	{"args_size", {0x2e, 16}, 2, 0, 0},
	{"offset of register 17", {0x91, 1}, 2, -EBADMSG, 0},
	{"offset of register 63", {0xbf, 1}, 2, -EBADMSG, 0},
	{"restore of register 17", {0xd1}, 1, -EBADMSG, 0},
	{"extended register 17", {0x05, 17, 1}, 3, -EBADMSG, 0},
	{"from register 17", {0x09, 3, 17}, 3, -EBADMSG, 0},
	{"from register 2^63",
	 {0x09, 3, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1},
	 12,
	 -EBADMSG,
	 0},
	{"CFA by register 17", {0x0c, 17, 8}, 3, -EBADMSG, 0},
	{"CFA register 99", {0x0d, 99}, 2, -EBADMSG, 0},
	{"state popped only", {0x0b}, 1, -EBADMSG, 0},
	{"val_offset, which libunwind would misread", {0x14, 3, 1}, 3, -EBADMSG, 0},
	{"set_loc", {0x01, 0, 0, 0, 0, 0, 0, 0, 0}, 9, -EBADMSG, 0},
	{"unknown", {0x3f}, 1, -EBADMSG, 0},
	{"cut operand", {0x0e}, 1, -EBADMSG, 0},
	{"cut advance", {0x04, 1, 0}, 3, -EBADMSG, 0},
	{"cut block", {0x0f, 40, 0x77}, 3, -EBADMSG, 0},
	{"block of 2^64-1",
	 {0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
	 11,
	 -EBADMSG,
	 0},
	{"number without end",
	 {0x0e, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0},
	 12,
	 -EBADMSG,
	 0},
};

Test(cfi, accepts_only_programs_that_are_safe)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(programs); i++) {
		struct frames frames = {.n = 0};
		struct inj_cfi cfi;

		frames_cie(&frames, "zR", 16, after_call, sizeof(after_call));
		inj_addr fde = frames_fde(&frames, CODE, 64, programs[i].bytes, programs[i].n);
		int r = inj_cfi_read(frames_table(&frames), fde, &cfi);

		cr_assert_eq(r, 0, "%s", programs[i].what);
		r = inj_cfi_check(frames_table(&frames), &cfi);
		cr_expect_eq(r, programs[i].result, "%s: %d", programs[i].what, r);
		if (!r)
			cr_expect_eq(cfi.flags, programs[i].flags, "%s: %u", programs[i].what,
				     cfi.flags);
	}
}

Test(cfi, needs_a_cfa_before_all_else)
{
	/* Only the signal trampoline of glibc has it in the entry. */
	static const struct program cases[] = {
		{"none at all", {0}, 0, -EBADMSG, 0},
		{"first in the entry", {0x0c, 7, 8, 0x90, 1}, 5, 0, 0},
		{"too late", {0x41, 0x0c, 7, 8}, 4, -EBADMSG, 0},
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++) {
		struct frames frames = {.n = 0};
		struct inj_cfi cfi;

		frames_cie(&frames, "zR", 16, NULL, 0);
		inj_addr fde = frames_fde(&frames, CODE, 64, cases[i].bytes, cases[i].n);

		cr_assert_eq(inj_cfi_read(frames_table(&frames), fde, &cfi), 0);
		cr_expect_eq(inj_cfi_check(frames_table(&frames), &cfi), cases[i].result, "%s",
			     cases[i].what);
	}
}

Test(cfi, refuses_foreign_conventions)
{
	static const struct {
		const char *letters;
		uint8_t column;
	} cases[] = {
		{"zR", 17}, {"zR", 255}, {"zQ", 16}, {"R", 16}, {"eh", 16}, {"zRRRRRRRRRR", 16},
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++) {
		struct frames frames = {.n = 0};
		struct inj_cfi cfi;

		frames_cie(&frames, cases[i].letters, cases[i].column, after_call,
			   sizeof(after_call));
		inj_addr fde = frames_fde(&frames, CODE, 64, NULL, 0);

		cr_expect_eq(inj_cfi_read(frames_table(&frames), fde, &cfi), -EBADMSG, "%s %u",
			     cases[i].letters, cases[i].column);
	}
}

static void patch32(struct frames *frames, inj_addr at, uint32_t value)
{
	memcpy(frames->bytes + (at - FRAMES), &value, sizeof(value));
}

static void patch64(struct frames *frames, inj_addr at, uint64_t value)
{
	memcpy(frames->bytes + (at - FRAMES), &value, sizeof(value));
}

Test(cfi, refuses_wrong_sizes)
{
	static const struct {
		size_t at;
		uint64_t value;
		bool wide;
	} cases[] = {
		{0, 0x7fffffff, false}, /* longer than the table */
		{0, 0xffffffff, false}, /* 64-bit length that is not there */
		{0, 3, false},		/* cut before the CIE pointer */
		{4, 1, false},		/* CIE inside the entry */
		{4, 0xfffffff0, false}, /* CIE before the table */
		{8, UINT64_MAX, true},	/* code wraps */
		{16, 0, true},		/* no code */
		{16, UINT64_MAX, true},
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++) {
		struct frames frames = {.n = 0};
		struct inj_cfi cfi;

		frames_cie(&frames, "zR", 16, after_call, sizeof(after_call));
		inj_addr fde = frames_fde(&frames, CODE, 64, after_call, sizeof(after_call));

		if (cases[i].wide)
			patch64(&frames, fde + cases[i].at, cases[i].value);
		else
			patch32(&frames, fde + cases[i].at, (uint32_t)cases[i].value);
		cr_expect_eq(inj_cfi_read(frames_table(&frames), fde, &cfi), -EBADMSG, "%zu", i);
	}
}

Test(cfi, steps_through_a_table)
{
	struct frames frames = {.n = 0};
	inj_addr position = FRAMES;
	struct inj_cfi cfi;
	size_t n = 0;

	frames_cie(&frames, "zR", 16, after_call, sizeof(after_call));
	for (unsigned i = 0; i < 20; i++)
		frames_fde(&frames, CODE + 64 * i, 64, NULL, 0);
	frames_put_number(&frames, 0, 4);
	frames_put_number(&frames, 0x55555555, 4); /* behind the terminator */
	cr_assert_eq(inj_cfi_next(frames_table(&frames), &position, &cfi), 1);
	cr_expect_eq(cfi.code.end, 0, "the CIE");
	while (inj_cfi_next(frames_table(&frames), &position, &cfi))
		cr_expect_eq(cfi.code.start, CODE + 64 * n++);
	cr_expect_eq(n, 20);
}
