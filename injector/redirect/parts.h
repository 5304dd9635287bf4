/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_REDIRECT_PARTS_H
#define INJ_REDIRECT_PARTS_H

#include "injector/redirect/site.h"

/* More than this is no compiler's doing. */
#define INJ_MAX_PARTS 64

/*
 * What is known of the code at an address that a function jumps to.
 * ret_code: what the unwind table takes for one piece; ret_framed: at its first instruction the
 *   frame is another one than a call leaves.
 * Return: false for a function of its own, and where nothing is known.
 */
typedef bool (*inj_piece_of_code_fn)(void *context, inj_addr address, struct inj_range *ret_code,
				     bool *ret_framed);

/*
 * Parts of a function that stand elsewhere without a name of their own (.cold in a stripped file):
 * the function jumps there, and the code goes on with the function's frame, or jumps back into the
 * middle of the function.
 * text: address, size and code; look: asked for each address that the function jumps to; ret:
 *   INJ_MAX_PARTS ranges, in any order, none twice.
 * State: pure.
 * Return: how many there are. A part that is only reached through a jump table is not found.
 * Errors: none.
 * Source: LSB Core 10.6; System V AMD64 psABI 3.7.
 */
size_t inj_parts_find(const struct inj_text *text, inj_piece_of_code_fn look, void *context,
		      struct inj_range ret[INJ_MAX_PARTS]);

#endif
