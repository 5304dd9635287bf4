/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_ARCH_X86_64_FRAME_H
#define INJ_ARCH_X86_64_FRAME_H

#include "injector/base/types.h"

#define INJ_DW_REGISTERS 16
#define INJ_DW_RBP 6
#define INJ_DW_RSP 7
#define INJ_DW_RA 16

/*
 * What an unwinder must know at one instruction, followed from a function's entry. Registers have
 * their DWARF numbers. The canonical frame address (CFA) is rsp before the call pushed.
 */
struct inj_frame_rule {
	bool by_rbp;       /* the CFA is counted from rbp, else from rsp */
	bool depth_known;  /* false after rsp was aligned */
	int32_t depth;     /* CFA - rsp in bytes; 8 at the entry */
	int32_t rbp_depth; /* CFA - rbp in bytes when by_rbp */
	uint16_t changed;  /* bit per register: no longer holds the caller's value */
	uint8_t saved[INJ_DW_REGISTERS]; /* caller's value lies at CFA - 8 * saved; 0: not saved */
};

/*
 * The rule at a function's entry: CFA = rsp + 8, nothing saved.
 * ret_rule: filled.
 * State: none; pure.
 * Return: nothing.
 * Errors: none.
 * Source: System V AMD64 psABI 3.2 and 3.7.
 */
void inj_frame_start(struct inj_frame_rule *ret_rule);

/*
 * Follow the effect of one instruction.
 * rule: before it, changed to what holds behind it; bytes: the instruction, n readable bytes.
 * State: none; pure.
 * Return: 0.
 * Errors: -EOPNOTSUPP when the rule behind it cannot be expressed (rsp from an arbitrary source,
 *   16-bit pushes, the return address popped), rule then untouched; -EILSEQ undecodable.
 * Source: System V AMD64 psABI 3.2.1 (registers that belong to the caller).
 */
int inj_frame_step(struct inj_frame_rule *rule, const uint8_t *bytes, size_t n);

/*
 * Do two rules say the same to an unwinder?
 * a, b: any.
 * State: none; pure.
 * Return: true when they do.
 * Errors: none.
 * Source: DWARF 5, 6.4.
 */
bool inj_frame_same(const struct inj_frame_rule *a, const struct inj_frame_rule *b);

/*
 * Append the call frame instructions that lead from one rule to the next.
 * advance: bytes of code between the two, 0..65535; program: capacity bytes, *n of them used;
 *   nothing at all is written when the rules say the same.
 * State: none; pure.
 * Return: 0; *ret_written tells whether anything was appended (advance was then consumed).
 * Errors: -ENOSPC.
 * Source: DWARF 5, 6.4.2 and 7.24; code alignment 1, data alignment -8.
 */
int inj_frame_encode(const struct inj_frame_rule *from, const struct inj_frame_rule *to,
		     unsigned advance, uint8_t *program, size_t capacity, size_t *n,
		     bool *ret_written);

#endif
