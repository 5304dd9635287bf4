/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Does a function look above its return address? Follows a lower bound of the distance from the
 * stack pointer up to the canonical frame address along all paths; where paths meet, the smaller
 * one holds. What cannot be followed counts as looking.
 */
#include "injector/redirect/callers.h"

#include <errno.h>
#include <stdlib.h>

#include "injector/arch/x86_64/decode.h"
#include "injector/base/cleanup.h"

#define N_PLACES 32768u /* a power of two */
#define MAX_PLACES 16384u
#define MAX_STEPS (4 * MAX_PLACES)
#define NO_FRAME (-1)

/* An instruction and what holds before it: bytes from rsp or rbp up to the CFA, at least. */
struct place {
	inj_addr address; /* 0: unused */
	int32_t rsp, rbp; /* rbp: NO_FRAME when it points to no frame */
};

struct trace {
	const struct inj_text *text;
	struct place *places; /* hashed by address */
	size_t n_places, n_steps;
	struct place *pending;
	size_t n_pending;
	bool rax_written;
	bool movable;
};

static struct place *find(struct trace *trace, inj_addr address)
{
	size_t at = (address * 0x9e3779b97f4a7c15ull) >> 40;

	while (trace->places[at % N_PLACES].address != 0 &&
	       trace->places[at % N_PLACES].address != address)
		at++;
	return &trace->places[at % N_PLACES];
}

/* Return: whether this tells anything new. */
static bool meet(struct place *known, const struct place *now)
{
	const int32_t rsp = known->rsp < now->rsp ? known->rsp : now->rsp;
	const int32_t rbp = known->rbp < now->rbp ? known->rbp : now->rbp;
	const bool news = rsp != known->rsp || rbp != known->rbp;

	known->rsp = rsp;
	known->rbp = rbp;
	return news;
}

static bool is_above(const struct place *place, const struct inj_effect *effect)
{
	/* 8 bytes below the CFA is the return address */
	if (effect->uses_rsp && effect->rsp_end > place->rsp - 8)
		return true;
	return effect->uses_rbp && place->rbp != NO_FRAME && effect->rbp_end > place->rbp - 8;
}

static bool move(struct place *place, const struct inj_effect *effect)
{
	switch (effect->move) {
	case INJ_STACK_MOVED:
		place->rsp += effect->down;
		break;
	case INJ_STACK_TO_FRAME:
		place->rbp = place->rsp + effect->down;
		return true;
	case INJ_STACK_FROM_FRAME:
		if (place->rbp == NO_FRAME)
			return false;
		place->rsp = place->rbp + effect->down;
		break;
	case INJ_STACK_LOST:
		return false;
	default:
		break;
	}
	if (effect->written.gprs & 1u << INJ_RBP)
		place->rbp = NO_FRAME;
	return place->rsp >= 8 && place->rsp < 1 << 30;
}

static void go(struct trace *trace, struct place place, inj_addr target)
{
	place.address = target;
	if (target - trace->text->code_address >= trace->text->n_code ||
	    trace->n_pending == MAX_PLACES)
		trace->movable = false;
	else
		trace->pending[trace->n_pending++] = place;
}

/* Return: whether control goes on to the next instruction, place then stands there. */
static bool step(struct trace *trace, struct place *place)
{
	const struct inj_text *text = trace->text;
	const uint64_t offset = place->address - text->code_address;
	struct inj_insn insn;
	struct inj_effect effect;

	if (offset >= text->n_code || trace->n_steps++ == MAX_STEPS ||
	    inj_insn_decode(text->code + offset, text->n_code - offset, place->address,
			    &insn) < 0 ||
	    inj_effect_decode(text->code + offset, text->n_code - offset, &effect) < 0 ||
	    is_above(place, &effect) || (effect.tests_al && !trace->rax_written) ||
	    !move(place, &effect)) {
		trace->movable = false;
		return false;
	}
	trace->rax_written |= (effect.written.gprs & 1u << INJ_RAX) != 0;
	if (insn.flow == INJ_FLOW_JUMP_INDIRECT)
		trace->movable = false; /* to code that nobody looked at */
	if (insn.has_target && insn.flow != INJ_FLOW_CALL)
		go(trace, *place, insn.target);
	place->address += insn.n_bytes;
	/* a call that ends the function does not return */
	return inj_insn_runs_on(&insn) && place->address != text->address + text->size;
}

/* Until the path ends or comes to where as little is known already. */
static void run(struct trace *trace, struct place place)
{
	do {
		struct place *known = find(trace, place.address);

		if (known->address == 0) {
			if (trace->n_places++ == MAX_PLACES) {
				trace->movable = false;
				return;
			}
			*known = place;
		} else if (!meet(known, &place)) {
			return;
		}
		place = *known;
	} while (trace->movable && step(trace, &place));
}

int inj_stack_movable(const struct inj_text *text, bool *ret_movable)
{
	INJ_FREE struct place *places = calloc(N_PLACES, sizeof(*places));
	INJ_FREE struct place *pending = calloc(MAX_PLACES, sizeof(*pending));
	struct trace trace = {
		.text = text, .places = places, .pending = pending, .movable = true,
	};

	if (!places || !pending)
		return -ENOMEM;
	go(&trace, (struct place){ .rsp = 8, .rbp = NO_FRAME }, text->address);
	while (trace.movable && trace.n_pending > 0)
		run(&trace, pending[--trace.n_pending]);
	*ret_movable = trace.movable;
	return 0;
}
