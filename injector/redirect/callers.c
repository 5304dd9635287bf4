/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who calls a function directly, and what the code around such a call uses. Every byte of the
 * module's code counts, whatever the instruction boundaries are: a call that is none costs a
 * protection too many, a call that is missed would cost the program. Decides what a stub has to
 * provide, and refuses what it cannot.
 */
#include "injector/redirect/callers.h"

#include "injector/arch/x86_64/decode.h"

int inj_call_sites(const struct inj_text *text, inj_addr ret_sites[INJ_MAX_CALL_SITES],
		   size_t *ret_n)
{
	INJ_CLEANUP(inj_arrivals_guard) struct inj_arrivals *own = NULL;
	struct inj_arrival_list list = { .n = 0 };
	size_t n = 0;
	int r = 0;

	if (text->code && text->address - text->code_address < text->n_code)
		r = inj_arrivals_take(text, &own, &list);
	for (size_t i = 0; r == 0 && i < list.n; i++)
		if (list.items[i].offset == 0)
			ret_sites[n++] = text->code_address + list.items[i].at;
	*ret_n = n;
	return r;
}

struct inj_registers inj_wide_registers(const struct inj_text *text, struct inj_range range)
{
	struct inj_registers found = {};
	const inj_addr end = text->code_address + text->n_code;
	inj_addr at = range.start < text->code_address ? text->code_address : range.start;

	while (at < range.end && at < end) {
		const uint8_t *bytes = text->code + (at - text->code_address);
		struct inj_effect effect;
		struct inj_insn insn;

		if (inj_insn_decode(bytes, end - at, at, &insn) < 0 ||
		    inj_effect_decode(bytes, end - at, &effect) < 0) {
			at++;
			continue;
		}
		found.vectors |= effect.wide.vectors;
		found.other |= effect.wide.other;
		at += insn.n_bytes;
	}
	return found;
}

static int refuse(const char *reason, const char **ret_reason)
{
	*ret_reason = reason;
	return INJ_UNSAFE_CALLERS;
}

int inj_keep_decide(const struct inj_text *old_text, const struct inj_text *new_text,
		    const struct inj_registers *wide, struct inj_keep *ret_keep,
		    const char **ret_reason)
{
	struct inj_clobbers clobbers;
	bool old_movable, new_movable;
	int r = inj_clobbers(old_text, &clobbers);

	if (r < 0)
		return r;
	if (clobbers.certainty == INJ_CLOBBERS_ALL) {
		*ret_keep = (struct inj_keep){ .wanted = false };
		return 0;
	}
	if (clobbers.certainty == INJ_CLOBBERS_UNKNOWN)
		return refuse("which registers the old function leaves alone cannot be told "
			      "(it has an indirect jump, or too much code)", ret_reason);
	if ((wide->vectors & ~clobbers.written.vectors) ||
	    (wide->other && !clobbers.written.other))
		return refuse(
			"they use wide vector, mask, MMX or x87 registers, which the redirect "
			"cannot keep",
			ret_reason);
	r = inj_stack_movable(old_text, &old_movable);
	if (r == 0)
		r = inj_stack_movable(new_text, &new_movable);
	if (r < 0)
		return r;
	if (!old_movable)
		return refuse(
			"the old function may take arguments on the stack or a variable number of "
			"them",
			ret_reason);
	if (!new_movable)
		return refuse(
			"the new function may take arguments on the stack, aligns it by more than "
			"16 bytes or has an indirect jump (try -fno-jump-tables)",
			ret_reason);
	*ret_keep = (struct inj_keep){
		.wanted = true,
		.gprs = (uint16_t)(INJ_CALL_CLOBBERED_GPRS & ~clobbers.written.gprs),
		.xmms = (uint16_t)~clobbers.written.vectors,
	};
	return 0;
}
