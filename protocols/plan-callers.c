/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the direct callers of replaced functions rely on, and whether the stubs can provide it.
 * Callers that the same
 * patch replaces come along: their new versions know the new function, and their old ones never run
 *   beside it.
 *
 * Refuses a function whose remaining callers need what no stub can give, and names them.
 */
#include <stdio.h>
#include <string.h>

#include "injector/redirect/callers.h"
#include "protocols/plan.h"

#define MAX_NAMED 4
/* Around a call in code without a symbol. */
#define SURROUNDINGS 4096

static void show_patch(const struct inj_patch *patch, uint64_t vaddr, uint64_t size,
		       struct inj_text *text)
{
	const Elf64_Phdr *segments;
	size_t n;

	*text = (struct inj_text){ .address = vaddr, .size = size };
	segments = inj_elf_segments(patch->elf, &n);
	for (size_t i = 0; i < n; i++) {
		const Elf64_Phdr *segment = &segments[i];

		if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X) ||
		    vaddr - segment->p_vaddr >= segment->p_filesz)
			continue;
		text->code = inj_elf_bytes_at(patch->elf, segment->p_vaddr, segment->p_filesz);
		text->code_address = segment->p_vaddr;
		text->n_code = text->code ? segment->p_filesz : 0;
	}
}

static bool comes_along(const struct upd_plan *plan, inj_addr caller)
{
	for (size_t i = 0; i < plan->n_changes; i++) {
		const struct upd_change *change = &plan->changes[i];

		if (caller - change->entry < change->size)
			return true;
		for (size_t j = 0; j < change->n_parts; j++)
			if (inj_range_has(change->parts[j], caller))
				return true;
	}
	return false;
}

static struct inj_range surroundings(const struct upd_subject *subject, inj_addr caller)
{
	struct inj_symbol symbol;

	if (inj_symbol_at(subject->modules, caller, &symbol) && symbol.size > 0)
		return (struct inj_range){ symbol.address, symbol.address + symbol.size };
	return (struct inj_range){ caller - SURROUNDINGS, caller + SURROUNDINGS };
}

static struct inj_registers wide_around(const struct upd_subject *subject,
					const struct inj_text *text, const inj_addr *callers,
					size_t n)
{
	struct inj_registers all = {};
	struct inj_range last = {};

	for (size_t i = 0; i < n; i++) {
		const struct inj_range range = surroundings(subject, callers[i]);

		if (range.start == last.start) /* several calls in one function */
			continue;
		last = range;
		struct inj_registers found = inj_wide_registers(text, range);

		all.vectors |= found.vectors;
		all.other |= found.other;
	}
	return all;
}

static int refuse_callers(const struct upd_subject *subject, const struct upd_change *change,
			  const inj_addr *callers, size_t n, const char *reason,
			  struct inj_why *why)
{
	char names[256] = "";
	size_t at = 0;

	for (size_t i = 0; i < n && i < MAX_NAMED && at < sizeof(names); i++) {
		struct inj_symbol symbol;
		const char *comma = i > 0 ? ", " : "";

		if (inj_symbol_at(subject->modules, callers[i], &symbol))
			at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%.40s+0x%llx",
					       comma, symbol.name,
					       (unsigned long long)(callers[i] - symbol.address));
		else
			at += (size_t)snprintf(names + at, sizeof(names) - at, "%s0x%llx", comma,
					       (unsigned long long)callers[i]);
	}
	return inj_refuse(why, INJ_UNSAFE_CALLERS,
			  "%s%s call %s directly and may rely on how it was compiled: %s. Replace "
			  "these callers in the same patch as well, or compile the replacement "
			  "from the program's own source by comparing objects.",
			  names, n > MAX_NAMED ? " and others" : "", change->wanted->name, reason);
}

static int check_change(const struct upd_subject *subject, const struct upd_plan *plan,
			struct upd_change *change, struct inj_why *why)
{
	INJ_FREE inj_addr *callers = calloc(INJ_MAX_CALL_SITES, sizeof(*callers));
	struct inj_text text = { .address = change->entry, .size = change->size }, replacement;
	struct inj_registers wide;
	const char *reason = NULL;
	size_t n_found = 0, n = 0;
	int r = callers ? 0 : -ENOMEM;

	upd_change_show_code(change, &text);
	if (r == 0)
		r = inj_call_sites(&text, callers, &n_found);
	if (r < 0)
		return inj_broke(why, r, "looking for callers of %s", change->wanted->name);
	for (size_t i = 0; i < n_found; i++)
		if (!comes_along(plan, callers[i]))
			callers[n++] = callers[i];
	if (n == 0 && n_found < INJ_MAX_CALL_SITES)
		return 0;
	wide = wide_around(subject, &text, callers, n);
	if (n_found == INJ_MAX_CALL_SITES) /* the rest is anywhere */
		wide = inj_wide_registers(
			&text,
			(struct inj_range){text.code_address, text.code_address + text.n_code});
	show_patch(plan->patch, change->wanted->new_vaddr, change->wanted->new_size, &replacement);
	r = inj_keep_decide(&text, &replacement, &wide, &change->site.keep, &reason);
	if (r < 0)
		return inj_broke(why, r, "looking at %s", change->wanted->name);
	return r == 0 ? 0 : refuse_callers(subject, change, callers, n, reason, why);
}

int upd_plan_callers(const struct upd_subject *subject, struct upd_plan *plan, struct inj_why *why)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->n_changes; i++)
		r = check_change(subject, plan, &plan->changes[i], why);
	return r;
}
