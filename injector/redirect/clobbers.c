/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The registers that a function may write. Owns the walk through everything that control can reach
 * from an entry by direct calls, jumps and branches. The set must not hold a register that the
 * function never writes, because a caller may rely on that; so nothing behind a call is looked at
 * before the callee is known to return, lest the walk runs from a call of a function like abort()
 * into the next function's code. Nor may it miss what is written, because that may be a result; so
 * whatever cannot be followed makes the whole answer "unknown".
 */
#include "injector/redirect/callers.h"

#include <errno.h>
#include <stdlib.h>

#include "injector/arch/x86_64/decode.h"
#include "injector/base/cleanup.h"

#define MAX_FUNCTIONS 64
#define MAX_INSTRUCTIONS 16384u /* of one function with its tail calls; 64 KiB and more */
#define MAX_STEPS (8 * MAX_INSTRUCTIONS)

struct callee {
	size_t offset;
	bool returns; /* a return was met */
};

struct walk {
	const struct inj_text *text;
	uint8_t *seen;   /* bit per byte of the code: an instruction that begins there was met */
	size_t *met;     /* offsets whose bits are set */
	size_t n_met;
	size_t *pending; /* offsets where control arrives */
	size_t n_pending;
	struct callee functions[MAX_FUNCTIONS];
	size_t n_functions;
	size_t n_steps;
	struct inj_clobbers found;
};

static void give_up(struct walk *walk)
{
	if (walk->found.certainty == INJ_CLOBBERS_KNOWN)
		walk->found.certainty = INJ_CLOBBERS_UNKNOWN;
}

static bool is_seen(const struct walk *walk, size_t offset)
{
	return offset < walk->text->n_code && (walk->seen[offset / 8] & 1u << offset % 8);
}

static void jump(struct walk *walk, inj_addr target)
{
	const uint64_t offset = target - walk->text->code_address;

	if (is_seen(walk, offset))
		return;
	if (offset >= walk->text->n_code || walk->n_pending == MAX_INSTRUCTIONS)
		give_up(walk);
	else
		walk->pending[walk->n_pending++] = offset;
}

/* Return: whether the callee is known to come back. */
static bool call(struct walk *walk, inj_addr target)
{
	const uint64_t offset = target - walk->text->code_address;

	if (offset >= walk->text->n_code) {
		walk->found.certainty = INJ_CLOBBERS_ALL;
		return false;
	}
	for (size_t i = 0; i < walk->n_functions; i++)
		if (walk->functions[i].offset == offset)
			return walk->functions[i].returns;
	if (walk->n_functions == MAX_FUNCTIONS)
		give_up(walk);
	else
		walk->functions[walk->n_functions++].offset = offset;
	return false;
}

/* Where does control go? Return: whether also to the next instruction. */
static bool follow(struct walk *walk, struct callee *function, const struct inj_insn *insn)
{
	switch (insn->flow) {
	case INJ_FLOW_CALL_INDIRECT:
	case INJ_FLOW_JUMP_SLOT:
		walk->found.certainty = INJ_CLOBBERS_ALL;
		return false;
	case INJ_FLOW_JUMP_INDIRECT:
	case INJ_FLOW_TRANSACTION:
		give_up(walk);
		return false;
	case INJ_FLOW_CALL:
		return call(walk, insn->target);
	case INJ_FLOW_RETURN:
		function->returns = true;
		return false;
	default:
		if (insn->has_target)
			jump(walk, insn->target);
		return inj_insn_runs_on(insn);
	}
}

static bool step(struct walk *walk, struct callee *function, size_t *offset)
{
	const struct inj_text *text = walk->text;
	struct inj_insn insn;
	struct inj_effect effect;

	if (*offset >= text->n_code || walk->n_met == MAX_INSTRUCTIONS ||
	    walk->n_steps++ == MAX_STEPS ||
	    inj_insn_decode(text->code + *offset, text->n_code - *offset,
			    text->code_address + *offset, &insn) < 0 ||
	    inj_effect_decode(text->code + *offset, text->n_code - *offset, &effect) < 0) {
		give_up(walk);
		return false;
	}
	walk->seen[*offset / 8] |= (uint8_t)(1u << *offset % 8);
	walk->met[walk->n_met++] = *offset;
	walk->found.written.gprs |= effect.written.gprs;
	walk->found.written.vectors |= effect.written.vectors;
	walk->found.written.other |= effect.written.other;
	*offset += insn.n_bytes;
	return follow(walk, function, &insn);
}

/* All of one function that is reached as far as is known now. */
static void explore(struct walk *walk, struct callee *function)
{
	walk->n_pending = 0;
	walk->pending[walk->n_pending++] = function->offset;
	while (walk->n_pending > 0 && walk->found.certainty != INJ_CLOBBERS_ALL &&
	       walk->n_steps < MAX_STEPS) {
		size_t offset = walk->pending[--walk->n_pending];

		while (!is_seen(walk, offset) && step(walk, function, &offset))
			;
	}
	for (; walk->n_met > 0; walk->n_met--) {
		const size_t offset = walk->met[walk->n_met - 1];

		walk->seen[offset / 8] &= (uint8_t)~(1u << offset % 8);
	}
}

/* Until no further function turns out to return; each one may uncover what stands behind calls. */
static void explore_all(struct walk *walk)
{
	bool changed = true;

	while (changed && walk->found.certainty != INJ_CLOBBERS_ALL) {
		changed = false;
		for (size_t i = 0; i < walk->n_functions; i++) {
			const bool returned = walk->functions[i].returns;

			explore(walk, &walk->functions[i]);
			changed |= walk->functions[i].returns != returned;
		}
		if (walk->n_steps >= MAX_STEPS) {
			give_up(walk);
			return;
		}
	}
}

int inj_clobbers(const struct inj_text *text, struct inj_clobbers *ret_clobbers)
{
	INJ_FREE uint8_t *seen = calloc(text->n_code / 8 + 1, 1);
	INJ_FREE size_t *met = calloc(MAX_INSTRUCTIONS, sizeof(*met));
	INJ_FREE size_t *pending = calloc(MAX_INSTRUCTIONS, sizeof(*pending));
	struct walk walk = {
		.text = text, .seen = seen, .met = met, .pending = pending,
		.found.certainty = INJ_CLOBBERS_KNOWN,
	};

	if (!seen || !met || !pending)
		return -ENOMEM;
	if (!text->code || text->address - text->code_address >= text->n_code) {
		give_up(&walk);
	} else {
		walk.functions[walk.n_functions++].offset = text->address - text->code_address;
		explore_all(&walk);
	}
	*ret_clobbers = walk.found;
	return 0;
}
