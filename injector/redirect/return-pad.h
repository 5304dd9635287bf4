/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_REDIRECT_RETURN_PAD_H
#define INJ_REDIRECT_RETURN_PAD_H

#include "injector/redirect/site.h"

/*
 * A return pad stands in for a return address: a thread that leaves a function through it counts
 * one arrival, waits a bounded time while the pad is armed, and goes on to the real return address.
 * It uses no register and no stack, changes flags only (nobody keeps flags across a return), and
 * works the same whether anybody watches or not.
 *
 * An exception that leaves the function does the same. The unwinder sees the pad as a frame of its
 * own, between the function and its caller, and tells frames apart by their CFA alone; the pad has
 * that of the caller, so when the caller has the handler, the unwinder takes the pad for the frame
 * that has it. Therefore the pad has a personality routine, and that says: there is a cleanup here.
 * The cleanup counts, waits, puts the real return address back in place, and continues unwinding
 * from the caller, as if the pad had never been. It makes no difference whether the pad was planted
 * or taken back while the exception was on its way: only CFAs of real frames are ever remembered.
 */
#define INJ_RETURN_PAD_BYTES 128
/* Up to here a thread in a pad stands, as far as its stack is concerned, at the real return
 * address. */
#define INJ_RETURN_PAD_POPPED 79
#define INJ_PAD_PERSONALITY_BYTES 256

/* Functions of the target's unwinder, by their names in libgcc: _Unwind_GetIP and so on. */
struct inj_pad_helpers {
	inj_addr get_ip, set_ip, set_gr, resume;
};

/*
 * Emit one pad.
 * words: address of its struct dsu_pad, below 2 GiB, where the pad's absolute operands reach;
 * personality: from the start of the pad to that of the personality routine, 0: there is none, and
 *   exceptions must not be caught right behind the pad;
 * ret: code of INJ_RETURN_PAD_BYTES bytes to be placed at any address, with the program of its FDE.
 * The pad itself, and so the return address to plant, is one byte behind the start: unwinders look
 * up a return address at address - 1, which must be covered too.
 * State: pure.
 * Return: 0.
 * Errors: -ERANGE when words lies too high.
 * Source: Intel SDM volume 2; DWARF 5 6.4.2 (DW_CFA_expression, DW_OP_addr).
 */
int inj_return_pad_emit(inj_addr words, int32_t personality, struct inj_stub *ret);

/*
 * Emit the personality routine that all pads share, INJ_PAD_PERSONALITY_BYTES bytes, with the
 * program of its FDE.
 * State: pure.
 * Return: nothing.
 * Errors: none.
 * Source: Itanium C++ ABI: Exception Handling, 1.6; libgcc's unwind.inc.
 */
void inj_pad_personality_emit(const struct inj_pad_helpers *helpers, struct inj_stub *ret);

/* The return address that leads into the pad which starts here. */
static inline inj_addr inj_return_pad_entry(inj_addr start)
{
	return start + 1;
}

#endif
