/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <cpuid.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <ucontext.h>

#include "injector/stop/borrow-priv.h"

#define XCR0_OFFSET   464
#define XSTATE_BV     512
#define MAGIC1	      0x46505853u
#define MAGIC2	      0x46505845u
#define TILES	      ((UINT64_C(1) << 17) | (UINT64_C(1) << 18))

/* As PTRACE_GETREGSET gives it, for features that any CPU lays out alike. */
static struct inj_xstate *image_of(size_t length, uint64_t features, uint64_t in_use)
{
	struct inj_xstate *xstate = aligned_alloc(64, sizeof(*xstate));

	memset(xstate, 0, sizeof(*xstate));
	xstate->length = length;
	for (size_t i = 0; i < sizeof(xstate->image); i++)
		xstate->image[i] = (uint8_t)(i * 7);
	memcpy(xstate->image + XCR0_OFFSET, &features, sizeof(features));
	memcpy(xstate->image + XSTATE_BV, &in_use, sizeof(in_use));
	return xstate;
}

Test(frame, lengths_of_images)
{
	/* x87 and SSE: the legacy area and the header. */
	struct inj_xstate *xstate = image_of(2696, 3, 3);

	cr_assert_eq(inj_xstate_measure(xstate), 0);
	cr_expect_eq(xstate->frame_length, 576);
	free(xstate);

	/* AVX comes right behind, on all CPUs that have it. */
	xstate = image_of(2696, 7, 7);
	cr_assert_eq(inj_xstate_measure(xstate), 0);
	cr_expect_eq(xstate->frame_length, 832);
	free(xstate);
}

/* Tiles count only once they are used: the kernel's own buffer is short until then. */
Test(frame, unused_tiles_are_left_out)
{
	struct inj_xstate *xstate = image_of(11008, 7 | TILES, 7);

	cr_assert_eq(inj_xstate_measure(xstate), 0);
	cr_expect_eq(xstate->frame_length, 832);
	free(xstate);
}

Test(frame, images_without_sense)
{
	static const size_t lengths[] = {0, 1, 511, 575, INJ_XSTATE_MAX + 1, SIZE_MAX};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(lengths); i++) {
		struct inj_xstate *xstate = image_of(lengths[i], 3, 3);

		cr_expect_eq(inj_xstate_measure(xstate), -EBADMSG, "%zu", lengths[i]);
		free(xstate);
	}

	/* Features that the image has no room for. */
	struct inj_xstate *xstate = image_of(600, 7, 7);

	cr_expect_eq(inj_xstate_measure(xstate), -EBADMSG);
	free(xstate);
}

Test(frame, places)
{
	struct inj_xstate *xstate = image_of(2696, 7, 7);
	struct inj_frame frame;

	cr_assert_eq(inj_xstate_measure(xstate), 0);
	for (inj_addr sp = 0x7fff00001000; sp < 0x7fff00001080; sp++) {
		cr_assert_eq(inj_frame_plan(sp, xstate, &frame), 0);
		cr_expect_eq(frame.end, sp - 128);
		cr_expect_eq(frame.xstate % 64, 0);
		cr_expect_eq(frame.context % 16, 0);
		cr_expect_eq(frame.scratch % 16, 0);
		cr_expect_leq(frame.xstate + xstate->frame_length + 4, frame.end);
		cr_expect_leq(frame.context + 304, frame.xstate);
		cr_expect_eq(frame.chain + 16, frame.context);
		/* A signal handler that runs on top spares 128 bytes, so the scratch may go. */
		cr_expect_leq(frame.scratch + INJ_SCRATCH_BYTES + 128, frame.chain);
		cr_expect_geq(frame.scratch, sp - 4096);
	}
	cr_expect_eq(inj_frame_plan(0, xstate, &frame), -EFAULT);
	cr_expect_eq(inj_frame_plan(1024, xstate, &frame), -EFAULT);
	cr_expect_eq(inj_frame_plan(UINT64_MAX, xstate, &frame), -EFAULT);
	free(xstate);
}

/* What the kernel will read, byte for byte, seen through the C library's ucontext_t. */
Test(frame, contents)
{
	struct inj_xstate *xstate = image_of(2696, 7, 7);
	struct inj_gadget gadget = {0x1111, 0x2222, true};
	struct user_regs_struct regs = {
		.r8 = 8, .r9 = 9, .r10 = 10, .r11 = 11, .r12 = 12, .r13 = 13, .r14 = 14,
		.r15 = 15, .rdi = 21, .rsi = 22, .rbp = 23, .rbx = 24, .rdx = 25, .rax = 26,
		.rcx = 27, .rsp = 0x7fff00001000, .rip = 29, .eflags = 0x246, .cs = 0x33,
		.ss = 0x2b};
	struct inj_frame frame;

	cr_assert_eq(inj_xstate_measure(xstate), 0);
	cr_assert_eq(inj_frame_plan(regs.rsp, xstate, &frame), 0);

	size_t length = frame.end - frame.chain;
	uint8_t *bytes = malloc(length);
	uint64_t chain[2];
	ucontext_t context;
	uint64_t mask, segments;
	uint32_t word;

	inj_frame_build(&frame, &gadget, &regs, 0x123456789abcdef0u, xstate, bytes);
	memcpy(chain, bytes, sizeof(chain));
	cr_expect_eq(chain[0], 15);
	cr_expect_eq(chain[1], 0x2222);
	memcpy(&context, bytes + 16, 304);
	cr_expect_eq(context.uc_flags, 7);
	cr_expect_null(context.uc_link);
	/* No mode that sigaltstack knows. */
	cr_expect_eq(context.uc_stack.ss_flags, 4);
	cr_expect_eq(context.uc_mcontext.gregs[REG_R8], 8);
	cr_expect_eq(context.uc_mcontext.gregs[REG_R15], 15);
	cr_expect_eq(context.uc_mcontext.gregs[REG_RDI], 21);
	cr_expect_eq(context.uc_mcontext.gregs[REG_RSI], 22);
	cr_expect_eq(context.uc_mcontext.gregs[REG_RBP], 23);
	cr_expect_eq(context.uc_mcontext.gregs[REG_RBX], 24);
	cr_expect_eq(context.uc_mcontext.gregs[REG_RDX], 25);
	cr_expect_eq(context.uc_mcontext.gregs[REG_RAX], 26);
	cr_expect_eq(context.uc_mcontext.gregs[REG_RCX], 27);
	cr_expect_eq(context.uc_mcontext.gregs[REG_RSP], 0x7fff00001000);
	cr_expect_eq(context.uc_mcontext.gregs[REG_RIP], 29);
	cr_expect_eq(context.uc_mcontext.gregs[REG_EFL], 0x246);
	segments = (uint64_t)context.uc_mcontext.gregs[REG_CSGSFS];
	cr_expect_eq(segments & 0xffff, 0x33);
	cr_expect_eq(segments >> 48, 0x2b);
	cr_expect_eq((inj_addr)(uintptr_t)context.uc_mcontext.fpregs, frame.xstate);
	memcpy(&mask, bytes + 16 + 296, sizeof(mask));
	cr_expect_eq(mask, 0x123456789abcdef0u);

	const uint8_t *saved = bytes + (frame.xstate - frame.chain);

	cr_expect_arr_eq(saved, xstate->image, XCR0_OFFSET);
	memcpy(&word, saved + XCR0_OFFSET, sizeof(word));
	cr_expect_eq(word, MAGIC1);
	memcpy(&word, saved + XCR0_OFFSET + 4, sizeof(word));
	cr_expect_eq(word, 832 + 4);
	cr_expect_arr_eq(saved + XSTATE_BV, xstate->image + XSTATE_BV, 832 - XSTATE_BV);
	memcpy(&word, saved + 832, sizeof(word));
	cr_expect_eq(word, MAGIC2);
	free(bytes);
	free(xstate);
}

Test(frame, clean_state_keeps_protection_keys)
{
	struct inj_xstate *xstate = image_of(2696, 0x2e7, 0x2e7);
	struct inj_xstate *clean = image_of(1, 0, 0);
	uint64_t in_use;
	uint16_t control;
	uint32_t status;

	inj_xstate_clean(xstate, clean);
	memcpy(&in_use, clean->image + XSTATE_BV, sizeof(in_use));
	memcpy(&control, clean->image, sizeof(control));
	memcpy(&status, clean->image + 24, sizeof(status));
	cr_expect_eq(in_use, 0x203);
	cr_expect_eq(control, 0x37f);
	cr_expect_eq(status, 0x1f80);
	cr_expect_eq(clean->length, 2696);
	free(xstate);
	free(clean);
}
