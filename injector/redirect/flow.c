/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who can reach the first bytes of a function, other than by entering it? Owns the collection of
 * branches. The answer errs on the side of "reached": code that does not decode makes everything
 * reachable, and every plausible reading of other code counts.
 */
#include "injector/redirect/flow-priv.h"

#include "injector/arch/x86_64/decode.h"
#include "injector/arch/x86_64/scan.h"

/* More than this is not a function; decoding it would only cost time. */
#define MAX_DECODED_BYTES (16u << 20)
/* Numbers below are no addresses. */
#define LOWEST_ADDRESS 65536u
/* Functions of one assembly file jump into each other; a compiler's only into their own parts. */
#define NEIGHBOURHOOD (64u << 10)

static void note_target(const struct inj_text *text, struct inj_flow_map *map, uint64_t source,
			inj_addr target)
{
	inj_addr end = text->address + text->size;

	if (target - text->address < INJ_SITE_MAX_COVERED && target < end) {
		uint64_t offset = target - text->address;

		if (source < INJ_SITE_MAX_COVERED)
			map->sources[offset] |= 1u << source;
		else
			map->outside |= 1u << offset;
	} else if (target >= end && target - end < text->after) {
		map->after[target - end] = 1;
	} else if (target < text->address && text->address - target <= text->before) {
		map->before[text->before - (text->address - target)] = 1;
	}
}

static void note_refers(struct inj_flow_map *map, const struct inj_insn *insn)
{
	for (unsigned i = 0; i < insn->n_refers; i++) {
		if (insn->refers[i] < LOWEST_ADDRESS)
			continue;
		if (map->n_refers == INJ_FLOW_MAX_REFERS) {
			map->opaque = true;
			return;
		}
		map->refers[map->n_refers++] = insn->refers[i];
	}
}

static void decode_body(const struct inj_text *text, struct inj_flow_map *map)
{
	const uint8_t *bytes = text->bytes + text->before;
	uint64_t size = text->size;
	uint64_t offset = 0;

	map->runs_on = true;
	if (size > MAX_DECODED_BYTES) {
		map->opaque = true;
		return;
	}
	while (offset < size) {
		struct inj_insn insn;

		if (inj_insn_decode(bytes + offset, size - offset, text->address + offset,
				    &insn) < 0) {
			map->opaque = true;
			map->runs_on = true;
			return;
		}
		if (insn.has_target)
			note_target(text, map, offset, insn.target);
		if (insn.has_target && insn.flow != INJ_FLOW_CALL &&
		    insn.target - text->address >= size)
			map->leaves = true;
		if (insn.flow == INJ_FLOW_JUMP_INDIRECT)
			map->switches = true;
		note_refers(map, &insn);
		map->runs_on = inj_insn_runs_on(&insn);
		offset += insn.n_bytes;
	}
}

/* An address that the function itself forms of one of its first instructions is a label. */
static void note_labels(const struct inj_text *text, struct inj_flow_map *map)
{
	for (size_t i = 0; i < map->n_refers; i++) {
		uint64_t offset = map->refers[i] - text->address;

		if (offset > 0 && offset < INJ_ENTRY_BYTES)
			map->outside |= 1u << offset;
	}
}

/*
 * A function's other part (.cold) lies anywhere in the module. It is entered by a jump of the
 * function, through a jump table or as a landing pad of an exception, and jumps back.
 */
static bool counts(const struct inj_text *text, const struct inj_flow_map *map,
		   const struct inj_arrival *arrival)
{
	const bool parts = map->leaves || map->switches || text->has_handlers;
	const uint64_t entry = text->address - text->code_address;
	const uint64_t distance = arrival->at < entry ? entry - arrival->at : arrival->at - entry;

	return arrival->offset > 0 && (parts || distance < NEIGHBOURHOOD) &&
	       (arrival->confirmed ||
		inj_scan_confirm(text->code, text->n_code, text->code_address, arrival->at,
				 text->address + arrival->offset));
}

static void note_arrivals(const struct inj_text *text, struct inj_flow_map *map)
{
	INJ_CLEANUP(inj_arrivals_guard) struct inj_arrivals *own = NULL;
	struct inj_arrival_list list;

	if (text->address - text->code_address >= text->n_code)
		return;
	if (inj_arrivals_take(text, &own, &list) < 0 || list.inner_cut) {
		map->opaque = true;
		return;
	}
	for (size_t i = 0; i < list.n; i++)
		if (counts(text, map, &list.items[i]))
			map->outside |= 1u << list.items[i].offset;
}

void inj_flow_collect(const struct inj_text *text, struct inj_flow_map *ret_map)
{
	*ret_map = (struct inj_flow_map){ .outside = 0 };
	decode_body(text, ret_map);
	note_labels(text, ret_map);
	if (!ret_map->opaque && text->code)
		note_arrivals(text, ret_map);
	if (ret_map->opaque || !ret_map->switches)
		return;
	if (text->read)
		inj_flow_read_tables(text, ret_map);
	else
		ret_map->opaque = true;
}
