/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which code elsewhere belongs to a function. A tail call and a jump into an outlined part look the
 * same; what tells them apart is the frame. A function begins with the frame that a call makes, a
 * part with the one that its function has built by then, and where both are the same, only a part
 * jumps back into the middle of the function.
 */
#include "injector/redirect/parts.h"

#include "injector/arch/x86_64/decode.h"

static const uint8_t *code_at(const struct inj_text *text, inj_addr address, uint64_t *ret_n)
{
	const uint64_t offset = address - text->code_address;

	if (offset >= text->n_code)
		return NULL;
	*ret_n = text->n_code - offset;
	return text->code + offset;
}

/* Does code jump behind the entry of the function? */
static bool jumps_back(const struct inj_text *text, struct inj_range code)
{
	for (inj_addr at = code.start; at < code.end;) {
		struct inj_insn insn;
		uint64_t n;
		const uint8_t *bytes = code_at(text, at, &n);

		if (!bytes ||
		    inj_insn_decode(bytes, n < code.end - at ? n : code.end - at, at, &insn) < 0)
			return false;
		if (insn.has_target && insn.flow != INJ_FLOW_CALL && insn.target != text->address &&
		    insn.target - text->address < text->size)
			return true;
		at += insn.n_bytes;
	}
	return false;
}

/* Who is asked about addresses. */
struct guide {
	inj_piece_of_code_fn look;
	void *context;
};

static bool is_part(const struct inj_text *text, const struct guide *guide, inj_addr target,
		    struct inj_range *ret)
{
	struct inj_range code;
	bool framed;

	if (!guide->look(guide->context, target, &code, &framed) ||
	    inj_range_has(code, text->address))
		return false;
	*ret = code;
	/* Nobody calls the middle of a function. */
	return target != code.start || framed || jumps_back(text, code);
}

static size_t add(struct inj_range *ranges, size_t n, struct inj_range range)
{
	for (size_t i = 0; i < n; i++)
		if (ranges[i].start == range.start)
			return n;
	if (n < INJ_MAX_PARTS)
		ranges[n++] = range;
	return n;
}

/* A part may jump on into another part: each is looked through as the function itself. */
static size_t look_through(const struct inj_text *text, const struct guide *guide,
			   struct inj_range code, struct inj_range *ret, size_t n)
{
	for (inj_addr at = code.start; at < code.end;) {
		struct inj_range part;
		struct inj_insn insn;
		uint64_t left;
		const uint8_t *bytes = code_at(text, at, &left);

		if (!bytes || inj_insn_decode(bytes, left < code.end - at ? left : code.end - at,
					      at, &insn) < 0)
			break;
		at += insn.n_bytes;
		if (!insn.has_target || insn.flow == INJ_FLOW_CALL ||
		    inj_range_has(code, insn.target) || insn.target - text->address < text->size)
			continue;
		if (is_part(text, guide, insn.target, &part))
			n = add(ret, n, part);
	}
	return n;
}

size_t inj_parts_find(const struct inj_text *text, inj_piece_of_code_fn look, void *context,
		      struct inj_range ret[INJ_MAX_PARTS])
{
	const struct inj_range whole = { text->address, text->address + text->size };
	const struct guide guide = { look, context };
	size_t n = look_through(text, &guide, whole, ret, 0);

	for (size_t i = 0; i < n; i++)
		n = look_through(text, &guide, ret[i], ret, n);
	return n;
}
