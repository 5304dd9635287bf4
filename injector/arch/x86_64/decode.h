/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_ARCH_X86_64_DECODE_H
#define INJ_ARCH_X86_64_DECODE_H

#include "injector/base/types.h"

#define INJ_INSN_MAX_BYTES 15

/* Where control goes after an instruction. */
enum inj_flow {
	INJ_FLOW_NEXT = 1,      /* on to the next instruction */
	INJ_FLOW_JUMP,          /* to the target */
	INJ_FLOW_BRANCH,        /* jcc: to the target or on */
	INJ_FLOW_LOOP,          /* loop, loopcc, jecxz, jrcxz: jcc of which only a rel8 form is */
	INJ_FLOW_TRANSACTION,   /* xbegin: on, or to the target on an abort */
	INJ_FLOW_CALL,          /* to the target and back */
	INJ_FLOW_CALL_INDIRECT,
	INJ_FLOW_JUMP_INDIRECT, /* register or memory: perhaps a switch */
	INJ_FLOW_JUMP_SLOT,     /* jmp *slot(%rip): a call through the GOT, never a switch */
	INJ_FLOW_RETURN,
	INJ_FLOW_STOP,          /* ud2, hlt, int3: never runs on */
	INJ_FLOW_KERNEL,        /* syscall and its kind: a thread may sleep at its end */
};

/* What we need to know of one instruction. */
struct inj_insn {
	uint8_t n_bytes;
	enum inj_flow flow;
	bool is_nop;         /* 90, 66 90, 0f 1f /0 with any prefixes */
	bool is_endbr64;
	bool is_int3;
	bool movable;        /* false: no copy of it at another address can do the same */
	uint8_t condition;   /* BRANCH: low four bits of the opcode */
	bool has_target;     /* JUMP, BRANCH, LOOP, TRANSACTION, CALL */
	inj_addr target;
	bool rip_relative;   /* has a memory operand relative to rip */
	uint8_t disp_offset; /* where its 4-byte displacement stands in the instruction */
	inj_addr operand;    /* address that it means */
	/* Addresses that it forms: lea of rip-relative ones, disp32 without base, wide immediates
	   (some of which are mere numbers). */
	inj_addr refers[3];
	uint8_t n_refers;
};

/*
 * Decode one instruction.
 * bytes: n readable bytes, foreign; address: where they stand in the target.
 * State: none; pure.
 * Return: 0.
 * Errors: -EILSEQ when the bytes are not a complete valid instruction.
 * Source: Intel SDM volume 2; Zydis 4.0.
 */
int inj_insn_decode(const uint8_t *bytes, size_t n, inj_addr address, struct inj_insn *ret_insn);

/*
 * Does control ever pass from this instruction to the one behind it?
 * insn: decoded.
 * State: none; pure.
 * Return: false for jumps, returns and traps; true for calls, though some never return.
 * Errors: none.
 * Source: Intel SDM volume 2.
 */
bool inj_insn_runs_on(const struct inj_insn *insn);

/*
 * How long the instruction becomes when it is moved.
 * insn: decoded and movable.
 * State: none; pure.
 * Return: bytes; independent of the addresses involved.
 * Errors: none.
 * Source: Intel SDM volume 2; see inj_insn_move.
 */
size_t inj_insn_moved_bytes(const struct inj_insn *insn);

struct inj_encoder;

/*
 * Append a copy that does at its new place what the instruction did at the old one. rel8 branches
 * become rel32, loops and jrcxz branch over a jump, rip-relative operands keep their address.
 * encoder: appended to; its position is the new place; insn: decoded from bytes; target: where its
 * direct branch shall go (insn->target, or the copy of the instruction there).
 * State: none; pure.
 * Return: 0; encoder->error is that of the emitters.
 * Errors: -EOPNOTSUPP when the instruction is not movable.
 * Source: Intel SDM volume 2, JMP, Jcc, LOOP, CALL, and 2.2.1.6 (rip-relative addressing).
 */
int inj_insn_move(struct inj_encoder *encoder, const struct inj_insn *insn, const uint8_t *bytes,
		  inj_addr target);

#endif
