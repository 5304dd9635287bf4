/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Parts of replaced functions that stand elsewhere and have no name: those of stripped files, and
 * those of the functions that an earlier patch brought. The tables that tell of them are only
 * loaded where a function jumps to code without a name.
 */
#include <string.h>

#include "injector/redirect/parts.h"
#include "injector/unwind/unwind-tables.h"
#include "protocols/plan.h"

struct search {
	const struct upd_subject *subject;
	struct inj_unwind_tables tables; /* of the modules and of our own code */
	struct upd_code_map own;
	bool loaded;
};

static void free_search(struct search *search)
{
	if (search->loaded)
		inj_unwind_tables_deinit(&search->tables);
	upd_code_map_deinit(&search->own);
}

static int load(struct search *search)
{
	const struct upd_subject *subject = search->subject;
	int r = 0;

	for (size_t i = 0; r == 0 && i < subject->history.n_ledgers; i++)
		if (subject->history.ledgers[i]->complete)
			r = upd_code_map_add(&search->own, subject->process,
					     subject->history.ledgers[i]);
	if (r < 0)
		return r;
	search->loaded = true;
	return inj_unwind_tables_init(&search->tables, subject->maps, subject->modules,
				      search->own.tables, search->own.n_tables);
}

/* A name with a dot is that of a part. */
static bool begins(const struct search *search, inj_addr address)
{
	struct inj_symbol symbol;

	return inj_symbol_at(search->subject->modules, address, &symbol) &&
	       symbol.address == address && !strchr(symbol.name, '.');
}

static bool look(void *context, inj_addr address, struct inj_range *ret_code, bool *ret_framed)
{
	const struct search *search = context;
	const struct inj_constant *frames;
	struct inj_cfi cfi;

	if (begins(search, address) ||
	    inj_unwind_tables_find(&search->tables, address, &cfi, &frames) != 0)
		return false;
	*ret_code = cfi.code;
	*ret_framed = inj_cfi_begins_framed(frames, &cfi);
	return true;
}

static bool note_any(void *context, inj_addr address, struct inj_range *ret_code, bool *ret_framed)
{
	bool *any = context;

	*any = true;
	return false;
}

/* Does the function jump anywhere at all? Most do not, and asking is cheap. */
static bool leaves(const struct inj_text *text)
{
	struct inj_range parts[INJ_MAX_PARTS];
	bool any = false;

	inj_parts_find(text, note_any, &any, parts);
	return any;
}

int upd_plan_parts(const struct upd_subject *subject, struct upd_plan *plan, struct inj_why *why)
{
	INJ_CLEANUP(free_search) struct search search = { .subject = subject };
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->n_changes; i++) {
		struct upd_change *change = &plan->changes[i];
		struct inj_text text = { .address = change->entry, .size = change->size };
		struct inj_range parts[INJ_MAX_PARTS];
		size_t n;

		upd_change_show_code(change, &text);
		if (!leaves(&text))
			continue;
		if (!search.loaded)
			r = load(&search);
		if (r < 0)
			return inj_broke(why, r, "looking for the parts of %s",
					 change->wanted->name);
		n = inj_parts_find(&text, look, &search, parts);
		for (size_t j = 0; r == 0 && j < n; j++)
			r = upd_change_add_part(change, parts[j]);
	}
	return r == 0 ? 0 : inj_broke(why, r, "making a plan");
}
