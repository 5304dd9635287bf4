/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_ARCH_X86_64_EFFECT_H
#define INJ_ARCH_X86_64_EFFECT_H

#include "injector/base/types.h"

/* Numbers of registers as instructions encode them. */
#define INJ_RAX 0
#define INJ_RCX 1
#define INJ_RDX 2
#define INJ_RSP 4
#define INJ_RBP 5
#define INJ_R11 11
#define INJ_N_GPRS 16
#define INJ_N_XMMS 16

/* A set of registers; a part of a register stands for the whole. */
struct inj_registers {
	uint16_t gprs;    /* bit n: register n, rax 0 to r15 */
	uint32_t vectors; /* bit n: xmm n, or its ymm or zmm */
	bool other;       /* any of x87, MMX, mask or tile registers */
};

/* What becomes of the stack pointer and of a frame pointer in rbp. */
enum inj_stack_move {
	INJ_STACK_KEPT = 1,   /* unchanged, or lowered by an unknown amount */
	INJ_STACK_MOVED,      /* rsp goes down by `down` bytes (up when negative) */
	INJ_STACK_TO_FRAME,   /* rbp = rsp - down */
	INJ_STACK_FROM_FRAME, /* rsp = rbp - down */
	INJ_STACK_LOST,       /* rsp comes from anywhere */
};

/* What one instruction does to registers and to the stack. */
struct inj_effect {
	struct inj_registers written;
	struct inj_registers wide; /* read or written beyond what xmm0 to xmm15 hold: vectors as
				      ymm or zmm or above 15, and `other` */
	bool tests_al;             /* `test %al,%al`, the first thing that a variadic function
				      does */
	enum inj_stack_move move;
	int32_t down;
	/* Farthest byte, counted from rsp or rbp before the instruction, of a memory operand or of
	   an address formed: a disp of 8 and 4 bytes make 12. */
	bool uses_rsp, uses_rbp;
	int64_t rsp_end, rbp_end;
};

/*
 * What an instruction does, as far as callers could notice.
 * bytes: n readable bytes, foreign.
 * State: none; pure.
 * Return: 0.
 * Errors: -EILSEQ when the bytes are not a complete valid instruction.
 * Source: Intel SDM volume 2; Zydis 4.0; System V AMD64 psABI 3.2.
 */
int inj_effect_decode(const uint8_t *bytes, size_t n, struct inj_effect *ret_effect);

#endif
