/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a thread that stands in a stub, in used padding or in bytes about to be overwritten stands
 * in the terms of the old function, and the other way round. Pure tables: no code is decoded, so
 * that a ledger's record is enough.
 */
#include "injector/redirect/translate.h"

#include "injector/arch/x86_64/encode.h"

struct inj_detour inj_site_detour(const struct inj_site *site, const struct inj_stub *stub,
				  inj_addr address)
{
	return (struct inj_detour){
		.site = site->address,
		.stub = address,
		.pad = site->pad,
		.n_stub = (uint16_t)stub->n_bytes,
		.n_covered = site->n_covered,
		.n_kept = site->n_kept,
		.n_written = site->kind == INJ_SITE_SHORT ? INJ_JMP8_BYTES : INJ_JMP32_BYTES,
		.map = stub->map,
		.n_map = stub->n_map,
	};
}

static bool in_stub(const struct inj_detour *detour, inj_addr pc)
{
	return pc - detour->stub < detour->n_stub;
}

static bool in_pad(const struct inj_detour *detour, inj_addr pc)
{
	return detour->pad != 0 && pc - detour->pad < INJ_JMP32_BYTES;
}

/* The map's entry for an address in the stub; NULL in the dispatch part. */
static const struct inj_relocated *entry_for(const struct inj_detour *detour, inj_addr pc)
{
	const struct inj_relocated *found = NULL;

	for (size_t i = 0; i < detour->n_map; i++)
		if (detour->map[i].to <= pc - detour->stub)
			found = &detour->map[i];
	return found;
}

/* The far jump to the replacement is the only entry behind the first one with from = 0. */
static bool is_far_jump(const struct inj_detour *detour, const struct inj_relocated *entry)
{
	return entry != detour->map && entry->from == 0;
}

/*
 * Inside the wrapper, behind its first instruction: the thread has left the old function's frame
 * for one that the stub's own call frame program describes. A far jump is one instruction only, so
 * a longer last part is a wrapper.
 */
static bool in_wrapper(const struct inj_detour *detour, inj_addr pc)
{
	const struct inj_relocated *last = detour->n_map ? &detour->map[detour->n_map - 1] : NULL;
	unsigned start = 0;

	if (last && !is_far_jump(detour, last))
		return false;
	if (last)
		start = last->to;
	return in_stub(detour, pc) && detour->n_stub > start + INJ_JMP_FAR_BYTES &&
	       pc - detour->stub > start;
}

inj_addr inj_site_translate(const struct inj_detour *detour, inj_addr pc)
{
	if (in_pad(detour, pc) || pc == detour->site + detour->n_kept)
		return detour->site;
	if (!in_stub(detour, pc) || in_wrapper(detour, pc))
		return pc;
	const struct inj_relocated *entry = entry_for(detour, pc);

	return entry ? detour->site + entry->from : detour->site;
}

inj_addr inj_site_translate_into_stub(const struct inj_detour *detour, inj_addr pc)
{
	inj_addr jump = detour->site + detour->n_kept;

	if (detour->pad != 0 && pc > detour->pad && pc < detour->pad + INJ_JMP32_BYTES)
		return 0;
	if (pc <= jump || pc >= jump + detour->n_written)
		return pc;
	for (size_t i = 0; i < detour->n_map; i++)
		if (detour->site + detour->map[i].from == pc)
			return detour->stub + detour->map[i].to;
	return 0;
}

inj_addr inj_site_decide_again(const struct inj_detour *detour, inj_addr pc)
{
	if (!in_stub(detour, pc) || in_wrapper(detour, pc))
		return pc;
	if (detour->n_map == 0) /* LATE: whatever stands at the entry decides */
		return detour->site + detour->n_kept;
	const struct inj_relocated *entry = entry_for(detour, pc);

	if (!entry || is_far_jump(detour, entry) || pc == detour->stub + detour->map[0].to)
		return detour->stub;
	return pc;
}

inj_addr inj_site_leave_padding(const struct inj_detour *detour, inj_addr pc)
{
	return in_pad(detour, pc) ? detour->site + detour->n_kept : pc;
}
