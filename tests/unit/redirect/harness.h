/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_REDIRECT_HARNESS_H
#define TESTS_REDIRECT_HARNESS_H

#include <stdbool.h>
#include <stdint.h>

/* Everything a function may change, but rsp. Order: rax rbx rcx rdx rsi rdi rbp r8 ... r15. */
enum { RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8, R9, R10, R11, R12, R13, R14, R15, N_REGISTERS };

struct registers {
	uint64_t general[16];
	uint8_t vector[16][16];
};

/* Call a function with all registers set, and note what it leaves in them. */
void harness_call(void *function, const struct registers *in, struct registers *out);

/*
 * The same, one instruction at a time. Wherever rip is within [start, end), the stack is unwound,
 * and must lead back to the harness with the stack pointer and the callee-saved registers as they
 * were. frames: .eh_frame section for that code. Returns the number of checks, or -1 when one
 * failed; ret_pc: where.
 */
int harness_trace(void *function, void *frames, const struct registers *in, struct registers *out,
		  uint64_t start, uint64_t end, uint64_t *ret_pc);

/*
 * Call a function, and the first time that rip is `from`, go on at `to` instead. Returns whether
 * it was.
 */
bool harness_divert(void *function, const struct registers *in, struct registers *out,
		    uint64_t from, uint64_t to);

#endif
