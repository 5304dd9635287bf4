/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_ARCH_X86_64_ENCODE_H
#define INJ_ARCH_X86_64_ENCODE_H

#include "injector/base/types.h"

#define INJ_JMP32_BYTES 5
#define INJ_JMP8_BYTES 2
#define INJ_CALL32_BYTES 5
#define INJ_JCC32_BYTES 6
#define INJ_JMP_FAR_BYTES 14
#define INJ_CMPB_BYTES 8
#define INJ_CMPB_GS_BYTES 9
#define INJ_ENDBR64_BYTES 4

/* The low four bits of a conditional jump's opcode. */
enum inj_condition {
	INJ_IF_EQUAL = 4,
	INJ_IF_NOT_EQUAL = 5,
};

/*
 * Machine code under construction. Emitters append to it; the first one that fails leaves its
 * errno in `error` and all later ones do nothing, so that a sequence is checked once, at its end.
 */
struct inj_encoder {
	uint8_t *bytes;   /* the caller's */
	size_t capacity;  /* bytes */
	size_t n;         /* bytes written */
	inj_addr address; /* where bytes[0] will run */
	int error;        /* 0, -ENOSPC (capacity) or -ERANGE (target out of reach) */
};

/*
 * Every emitter below has the same block.
 * encoder: appended to; target: absolute address inside the target process.
 * State: none; pure.
 * Return: nothing; look at encoder->error when the sequence is complete.
 * Errors: in encoder->error: -ENOSPC; -ERANGE when the displacement or immediate does not fit.
 * Source: Intel SDM volume 2, the page of each instruction.
 */

/* Verbatim bytes. */
void inj_emit_bytes(struct inj_encoder *encoder, const uint8_t *bytes, size_t n);
/* `jmp target`, 5 bytes, +-2 GiB. */
void inj_emit_jmp32(struct inj_encoder *encoder, inj_addr target);
/* `jmp target`, 2 bytes, -128..+127 from its end. */
void inj_emit_jmp8(struct inj_encoder *encoder, inj_addr target);
/* `jcc target`, 6 bytes; condition: 0..15. */
void inj_emit_jcc32(struct inj_encoder *encoder, unsigned condition, inj_addr target);
/* `call target`, 5 bytes. */
void inj_emit_call32(struct inj_encoder *encoder, inj_addr target);
/* `jmp *0(%rip)` followed by the 8-byte target: reaches everything and uses no register. */
void inj_emit_jmp_far(struct inj_encoder *encoder, inj_addr target);
/* `cmpb $value, address` without base register; address: below 2 GiB (disp32 is sign-extended). */
void inj_emit_cmpb(struct inj_encoder *encoder, inj_addr address, uint8_t value);
/* `cmpb $value, %gs:address`: the same, counted from the thread's GS base; 9 bytes. */
void inj_emit_cmpb_gs(struct inj_encoder *encoder, inj_addr address, uint8_t value);
/* `push $value`: 2 bytes when it fits a signed byte, else 5. */
void inj_emit_push(struct inj_encoder *encoder, int32_t value);
/* `ret`. */
void inj_emit_ret(struct inj_encoder *encoder);
/* n bytes of the recommended multi-byte nops. */
void inj_emit_nop(struct inj_encoder *encoder, size_t n);
/* n times `int3`. */
void inj_emit_int3(struct inj_encoder *encoder, size_t n);
/* `endbr64`. */
void inj_emit_endbr64(struct inj_encoder *encoder);

/*
 * Can a displacement of 32 bits, counted from `end`, reach the target?
 * end: address behind the instruction.
 * State: none; pure.
 * Return: true when it can.
 * Errors: none.
 * Source: Intel SDM volume 2, JMP.
 */
bool inj_reaches32(inj_addr end, inj_addr target);

/*
 * The same for 8 bits.
 * end: address behind the instruction.
 * State: none; pure.
 * Return: true when it can.
 * Errors: none.
 * Source: Intel SDM volume 2, JMP.
 */
bool inj_reaches8(inj_addr end, inj_addr target);

#endif
