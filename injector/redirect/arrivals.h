/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_REDIRECT_ARRIVALS_H
#define INJ_REDIRECT_ARRIVALS_H

#include "injector/base/cleanup.h"
#include "injector/redirect/site.h"

/* No redirect overwrites more than endbr64 and five bytes behind it. */
#define INJ_ENTRY_BYTES 9
/* Direct callers of one function. */
#define INJ_MAX_CALL_SITES 1024
/* Branches between its first bytes. */
#define INJ_MAX_INNER_ARRIVALS 64

/* Something in the code that reads like a branch into the first bytes of a function. */
struct inj_arrival {
	uint32_t at;    /* offset of the opcode's last byte in the code */
	uint8_t offset; /* of the target in the function, below INJ_ENTRY_BYTES */
	bool call;
	bool confirmed; /* an instruction, as far as can be told; else any bytes that read so */
};

/* All of one function, those with a rel32 first; rel8 ones are all confirmed. */
struct inj_arrival_list {
	const struct inj_arrival *items;
	size_t n;
	bool entry_cut; /* there are more at its entry than INJ_MAX_CALL_SITES */
	bool inner_cut; /* there are more behind it than INJ_MAX_INNER_ARRIVALS */
};

/*
 * Find, for all functions of one piece of code at once, what leads into their first bytes from
 * outside of them: callers, and branches into what a redirect would overwrite.
 * code: n_code bytes, below 4 GiB, that stand at code_address, borrowed for the call; functions: n
 *   ranges, in any order, only those that begin in the code count; ret: to be freed.
 * State: pure.
 * Return: 0; every rel32 branch is found whatever the instruction boundaries are.
 * Errors: -ENOMEM; -EFBIG when there is more code.
 * Source: Intel SDM volume 2, CALL, JMP, Jcc, LOOP and JCXZ.
 */
struct inj_arrivals;
int inj_arrivals_find(const uint8_t *code, size_t n_code, inj_addr code_address,
		      const struct inj_range *functions, size_t n, struct inj_arrivals **ret);
void inj_arrivals_free(struct inj_arrivals *arrivals);
INJ_DEFINE_GUARD(struct inj_arrivals *, inj_arrivals_free, inj_arrivals_guard)

/*
 * The arrivals of one function.
 * entry: where it begins; ret: borrowed from arrivals.
 * State: pure.
 * Return: true; false when it was not among those asked for.
 * Errors: none.
 * Source: none.
 */
bool inj_arrivals_of(const struct inj_arrivals *arrivals, inj_addr entry,
		     struct inj_arrival_list *ret);

/*
 * The arrivals of one function, from its text's arrivals or, where these do not tell, searched for.
 * text: with code, in which the function begins; ret_own: what was found, to be freed, or NULL;
 *   ret: borrowed from either.
 * State: pure.
 * Return: 0.
 * Errors: those of inj_arrivals_find().
 * Source: none.
 */
int inj_arrivals_take(const struct inj_text *text, struct inj_arrivals **ret_own,
		      struct inj_arrival_list *ret);

#endif
