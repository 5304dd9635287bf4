/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The new path of a stub whose callers rely on registers that the old function left alone, or call
 * it with a stack that is not aligned. What always holds: every register named survives, all other
 * results of the replacement are handed on, and rbp and the return address lie where the call frame
 * program says.
 *
 *	push %rbp
 *	mov  %rsp,%rbp
 *	and  $-16,%rsp
 *	sub  $N,%rsp
 *	... save: mov of general registers, movups of vector registers
 *	call replacement          (or call *1f(%rip))
 *	... restore
 *	leave
 *	ret
 * 1:	.quad replacement         (only when it is out of reach)
 */
#include "injector/redirect/wrapper-priv.h"

#define N_REGISTERS 16
#define GPR_BYTES 8
#define XMM_BYTES 16

static void put32(uint8_t *place, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		place[i] = (uint8_t)(value >> (8 * i));
}

/* ModRM and SIB of disp(%rsp), and the displacement */
static size_t put_slot(uint8_t *place, unsigned reg, uint32_t disp)
{
	const bool is_short = disp < 128;

	place[0] = (uint8_t)((is_short ? 0x44 : 0x84) | (reg & 7) << 3);
	place[1] = 0x24;
	if (is_short) {
		place[2] = (uint8_t)disp;
		return 3;
	}
	put32(place + 2, disp);
	return 6;
}

/* mov %reg,disp(%rsp): REX.W 89 /r; the other way: 8b */
static void move_gpr(struct inj_encoder *encoder, unsigned reg, uint32_t disp, bool save)
{
	uint8_t code[8] = { reg < 8 ? 0x48 : 0x4c, save ? 0x89 : 0x8b };

	inj_emit_bytes(encoder, code, 2 + put_slot(code + 2, reg, disp));
}

/* movups %xmm,disp(%rsp): [REX.R] 0f 11 /r; the other way: 10 */
static void move_xmm(struct inj_encoder *encoder, unsigned reg, uint32_t disp, bool save)
{
	uint8_t code[9] = { 0x44, 0x0f, save ? 0x11 : 0x10 };
	const size_t skipped = reg < 8; /* no prefix */

	inj_emit_bytes(encoder, code + skipped, 3 - skipped + put_slot(code + 3, reg, disp));
}

/* Save or restore everything. Return: the bytes that it takes on the stack. */
static uint32_t move_all(struct inj_encoder *encoder, const struct inj_keep *keep, bool save)
{
	uint32_t disp = 0;

	for (unsigned i = 0; i < N_REGISTERS; i++)
		if (keep->xmms & 1u << i) {
			if (encoder)
				move_xmm(encoder, i, disp, save);
			disp += XMM_BYTES;
		}
	for (unsigned i = 0; i < N_REGISTERS; i++)
		if (keep->gprs & 1u << i) {
			if (encoder)
				move_gpr(encoder, i, disp, save);
			disp += GPR_BYTES;
		}
	return disp;
}

static void make_room(struct inj_encoder *encoder, uint32_t bytes)
{
	uint8_t code[7] = { 0x48, 0x81, 0xec }; /* sub $bytes,%rsp */

	put32(code + 3, bytes);
	inj_emit_bytes(encoder, code, sizeof(code));
}

void inj_wrapper_emit(struct inj_encoder *encoder, const struct inj_keep *keep,
		      inj_addr replacement, struct inj_wrapper_marks *ret_marks)
{
	const uint32_t bytes = (move_all(NULL, keep, true) + 15) & ~15u;
	size_t pointer = 0;

	inj_emit_bytes(encoder, (const uint8_t[]){ 0x55 }, 1);
	ret_marks->pushed = encoder->n;
	inj_emit_bytes(encoder, (const uint8_t[]){ 0x48, 0x89, 0xe5 }, 3);
	ret_marks->framed = encoder->n;
	inj_emit_bytes(encoder, (const uint8_t[]){ 0x48, 0x83, 0xe4, 0xf0 }, 4);
	make_room(encoder, bytes);
	move_all(encoder, keep, true);
	if (inj_reaches32(encoder->address + encoder->n + INJ_CALL32_BYTES, replacement)) {
		inj_emit_call32(encoder, replacement);
	} else {
		inj_emit_bytes(encoder, (const uint8_t[]){ 0xff, 0x15, 0, 0, 0, 0 }, 6);
		pointer = encoder->n;
	}
	move_all(encoder, keep, false);
	inj_emit_bytes(encoder, (const uint8_t[]){ 0xc9 }, 1);
	ret_marks->left = encoder->n;
	inj_emit_ret(encoder);
	if (pointer && !encoder->error) {
		uint8_t target[8];

		put32(encoder->bytes + pointer - 4, (uint32_t)(encoder->n - pointer));
		put32(target, (uint32_t)replacement);
		put32(target + 4, (uint32_t)(replacement >> 32));
		inj_emit_bytes(encoder, target, sizeof(target));
	}
}
