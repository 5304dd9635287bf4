/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_REDIRECT_RETURN_PAD_H
#define INJ_REDIRECT_RETURN_PAD_H

#include "injector/redirect/site.h"

/*
 * A return pad stands in for a return address: a thread that leaves a function through it counts one
 * arrival, waits a bounded time while the pad is armed, and goes on to the real return address. It
 * uses no register and no stack, changes flags only (nobody keeps flags across a return), and works
 * the same whether anybody watches or not.
 */
#define INJ_RETURN_PAD_BYTES 64

/*
 * Emit one pad.
 * words: address of its struct dsu_pad, below 2 GiB, where the pad's absolute operands reach;
 * ret: code of INJ_RETURN_PAD_BYTES bytes to be placed at any address, with the program of its FDE.
 * The pad itself, and so the return address to plant, is one byte behind the start: unwinders look
 * up a return address at address - 1, which must be covered too.
 * State: pure.
 * Return: 0.
 * Errors: -ERANGE when words lies too high.
 * Source: Intel SDM volume 2; DWARF 5 6.4.2 (DW_CFA_expression, DW_OP_addr).
 */
int inj_return_pad_emit(inj_addr words, struct inj_stub *ret);

/* The return address that leads into the pad which starts here. */
static inline inj_addr inj_return_pad_entry(inj_addr start)
{
	return start + 1;
}

#endif
