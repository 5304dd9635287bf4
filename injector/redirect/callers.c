/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who calls a function directly, and what the code around such a call uses. Every byte of the
 * module's code is looked at, whatever the instruction boundaries are: a call that is none costs a
 * protection too many, a call that is missed would cost the program. Decides what a stub has to
 * provide, and refuses what it cannot.
 */
#include "injector/redirect/callers.h"

#include "injector/arch/x86_64/decode.h"
#include "injector/arch/x86_64/scan.h"

/* Behind the end of a rel8 jump's reach and its own two bytes. */
#define SHORT_REACH 144u

static void add_site(const struct inj_text *text, inj_addr *sites, size_t *n, size_t at)
{
	const inj_addr address = text->code_address + at;

	if (address - text->address < text->size || *n == INJ_MAX_CALL_SITES)
		return;
	sites[(*n)++] = address;
}

size_t inj_call_sites(const struct inj_text *text, inj_addr ret_sites[INJ_MAX_CALL_SITES])
{
	const struct inj_range entry = { text->address, text->address + 1 };
	const uint64_t offset = text->address - text->code_address;
	const size_t reach = offset + SHORT_REACH < text->n_code ? offset + SHORT_REACH :
								    text->n_code;
	inj_addr target;
	size_t n = 0, at;

	if (!text->code || offset >= text->n_code)
		return 0;
	for (size_t from = 0; n < INJ_MAX_CALL_SITES &&
	     inj_scan_branch32(text->code, text->n_code, text->code_address, from, entry, &at,
			       &target); from = at + 1)
		add_site(text, ret_sites, &n, at);
	/* Two bytes look like a jump often; this one must be an instruction. */
	for (size_t from = offset > SHORT_REACH ? offset - SHORT_REACH : 0;
	     inj_scan_jump8(text->code, reach, text->code_address, from, entry, &at, &target);
	     from = at + 1)
		if (inj_scan_confirm(text->code, text->n_code, text->code_address, at, target))
			add_site(text, ret_sites, &n, at);
	return n;
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
		return refuse("they use wide vector, mask, MMX or x87 registers, which the redirect "
			      "cannot keep", ret_reason);
	r = inj_stack_movable(old_text, &old_movable);
	if (r == 0)
		r = inj_stack_movable(new_text, &new_movable);
	if (r < 0)
		return r;
	if (!old_movable)
		return refuse("the old function may take arguments on the stack or a variable number "
			      "of them", ret_reason);
	if (!new_movable)
		return refuse("the new function may take arguments on the stack, aligns it by more than "
			      "16 bytes or has an indirect jump (try -fno-jump-tables)", ret_reason);
	*ret_keep = (struct inj_keep){
		.wanted = true,
		.gprs = (uint16_t)(INJ_CALL_CLOBBERED_GPRS & ~clobbers.written.gprs),
		.xmms = (uint16_t)~clobbers.written.vectors,
	};
	return 0;
}
