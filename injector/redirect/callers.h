/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_REDIRECT_CALLERS_H
#define INJ_REDIRECT_CALLERS_H

#include "injector/arch/x86_64/effect.h"
#include "injector/redirect/arrivals.h"

/*
 * A compiler that sees caller and callee together makes the caller rely on what the callee happens
 * to do: registers that it does not write keep values across the call (gcc's -fipa-ra), and the
 * stack is not aligned for it (-fipa-stack-alignment). A replacement knows nothing of that. Here
 * is found out what callers may rely on and whether a stub can provide it.
 */

/* Registers that any function may write: rax rcx rdx rsi rdi r8 to r11. */
#define INJ_CALL_CLOBBERED_GPRS 0x0fc7u

enum inj_certainty {
	INJ_CLOBBERS_KNOWN = 1, /* exactly these, or fewer */
	INJ_CLOBBERS_ALL,       /* it calls code that no compiler knew: nobody relies on anything */
	INJ_CLOBBERS_UNKNOWN,   /* code that cannot be followed */
};

struct inj_clobbers {
	enum inj_certainty certainty;
	struct inj_registers written; /* when known */
};

/*
 * Which registers may a function write, with everything that it calls or jumps to?
 * text: address, and code with code_address and n_code, which are followed; at most 64 functions
 *   and 64 KiB of instructions.
 * State: pure.
 * Return: 0. A call or jump through memory, an indirect call and a call out of the code make
 *   INJ_CLOBBERS_ALL; an indirect jump (a switch or a tail call: they look the same), undecodable
 *   bytes, and more code than the bounds make INJ_CLOBBERS_UNKNOWN, unless ALL is found as well.
 * Errors: -ENOMEM.
 * Source: System V AMD64 psABI 3.2.1; gcc's manual, -fipa-ra.
 */
int inj_clobbers(const struct inj_text *text, struct inj_clobbers *ret_clobbers);

/*
 * Can a function be called with another frame between it and its caller's stack arguments?
 * text: as above; direct jumps out of the function are followed, calls are not.
 * State: pure.
 * Return: 0 and *ret_movable: false when it is variadic, reads or forms an address above its
 *   return address, or uses the stack in a way that cannot be followed, an indirect jump included.
 *   A jump through a slot (to another module) is taken to pass no stack arguments on.
 * Errors: -ENOMEM.
 * Source: System V AMD64 psABI 3.2.3 and 3.5.7.
 */
int inj_stack_movable(const struct inj_text *text, bool *ret_movable);

/*
 * Addresses of the instructions that call or jump to the entry of a function directly, from outside
 * of it.
 * text: address, size, code, arrivals; ret_sites: INJ_MAX_CALL_SITES of them.
 * State: pure.
 * Return: 0 and *ret_n, at most INJ_MAX_CALL_SITES; none is missed below that number.
 * Errors: those of inj_arrivals_find().
 * Source: Intel SDM volume 2, CALL, JMP, Jcc.
 */
int inj_call_sites(const struct inj_text *text, inj_addr ret_sites[INJ_MAX_CALL_SITES],
		   size_t *ret_n);

/*
 * Which wide registers does code name (ymm, zmm, xmm16 on, x87, MMX, mask)?
 * text: code; range: of code, cut to what there is; undecodable bytes are stepped over.
 * State: pure.
 * Return: the set.
 * Errors: none.
 * Source: Intel SDM volume 1, chapters 8, 9, 14 and 15.
 */
struct inj_registers inj_wide_registers(const struct inj_text *text, struct inj_range range);

/*
 * What must a stub do for the direct callers of a function?
 * old_text, new_text: the function and its replacement, with their code; wide: what the code around
 *   the direct calls names.
 * State: pure.
 * Return: 0 and *ret_keep; nothing wanted when the old function calls unknown code, for then its
 *   callers rely on nothing and align the stack.
 * Errors: INJ_UNSAFE_CALLERS with *ret_reason, half a sentence, when no stub can do it; -ENOMEM.
 * Source: gcc's manual, -fipa-ra and -fipa-stack-alignment.
 */
int inj_keep_decide(const struct inj_text *old_text, const struct inj_text *new_text,
		    const struct inj_registers *wide, struct inj_keep *ret_keep,
		    const char **ret_reason);

#endif
