/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a patch wants to replace, found in the target and examined: the symbol, the code that
 * answers to it now (an earlier patch may stand there), its bytes as they are and as its file says,
 * and how its entry can be redirected.
 *
 * Refuses code that differs from its file (somebody else's hook), and two different replacements of
 * one function.
 */
#include <string.h>
#include <sys/mman.h>

#include "injector/process/mem.h"
#include "protocols/plan.h"

#define MAX_FUNCTION_BYTES (8u << 20)
#define MAX_GAP 15
#define MAX_STACKED 4096
/* Padding lies within 128 bytes of the entry that uses it, so what is farther apart shares none. */
#define CLASH_REACH 512

/* The code that runs today for a symbol: follow active updates upwards. */
static int find_top(const struct upd_subject *subject, struct upd_change *change,
		    struct inj_why *why)
{
	const struct dsu_ledger_site *site;
	const struct inj_ledger *ledger;

	change->entry = change->symbol.address;
	change->size = change->symbol.size;
	for (unsigned depth = 0; depth < MAX_STACKED; depth++) {
		ledger = inj_history_replacing(&subject->history, change->entry, &site);
		if (!ledger)
			return 0;
		change->below = ledger;
		change->entry = site->replacement;
		change->size = site->replacement_size;
	}
	return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
			  "The ledgers of process %d go in a circle at %s.", subject->pid,
			  change->wanted->name);
}

static int check_place(const struct upd_subject *subject, struct upd_change *change,
		       struct inj_why *why)
{
	const struct inj_map *map = inj_maps_find(subject->maps, change->entry);
	const struct inj_module *module = change->symbol.module;

	if (change->size == 0 || change->size > MAX_FUNCTION_BYTES)
		return inj_refuse(why, INJ_FUNCTION_TOO_SHORT,
				  "The size of %s is unknown (%llu bytes by its symbol), so its "
				  "end cannot be watched. Install debug symbols for %s, or patch a "
				  "caller.",
				  change->wanted->name, (unsigned long long)change->size,
				  module->name);
	if (!map || !(map->prot & PROT_EXEC) || change->size > map->range.end - change->entry ||
	    module->kind == INJ_MODULE_VDSO)
		return inj_refuse(
			why, INJ_NO_SUCH_SYMBOL, "%s at 0x%llx is not executable code of %s.",
			change->wanted->name, (unsigned long long)change->entry, module->name);
	change->near = change->below ?
			       (struct inj_range){ change->below->record->image_base,
						   change->below->record->image_base +
							   change->below->record->image_bytes } :
			       module->span;
	return 0;
}

/* Bytes between the end of this function and where the next one may begin; no symbol covers
 * them. */
static size_t gap_after(const struct upd_subject *subject, const struct upd_change *change)
{
	inj_addr end = change->entry + change->size;
	size_t gap = (size_t)(-end & MAX_GAP);
	struct inj_symbol other;

	for (size_t i = 0; i < gap; i++)
		if (inj_symbol_at(subject->modules, end + i, &other) && other.address >= end)
			return i;
	return gap;
}

static int refuse_changed(const struct upd_subject *subject, const struct upd_change *change,
			  const uint8_t *found, const uint8_t *file, struct inj_why *why)
{
	size_t at = 0;

	while (found[at] == file[at])
		at++;
	return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
			  "The code of %s in process %d is not what its file says: at %s+%zu it "
			  "reads 0x%02x instead of 0x%02x. Another tool (a debugger's breakpoint, "
			  "a hook) changed it; remove that first.",
			  change->wanted->name, subject->pid, change->symbol.name, at, found[at],
			  file[at]);
}

static int read_data(void *context, inj_addr address, void *buffer, size_t n)
{
	return inj_mem_read(context, address, buffer, n);
}

/* Whether this very function has handlers costs a search of its FDE; its module having none settles
 * most. */
static bool may_have_handlers(const struct upd_change *change)
{
	const struct inj_elf *elf = change->symbol.module->elf;

	return change->below || inj_elf_section_named(elf, ".gcc_except_table") ||
	       inj_elf_n_sections(elf) == 0;
}

static int examine(const struct upd_subject *subject, struct upd_change *change, size_t before,
		   size_t after, struct inj_why *why)
{
	const struct inj_module *module = change->symbol.module;
	const size_t total = before + change->size + after;
	INJ_FREE uint8_t *bytes = malloc(total);
	const uint8_t *file = NULL;
	struct inj_text text;
	int r;

	if (!bytes)
		return inj_broke(why, -ENOMEM, "reading %s", change->wanted->name);
	r = inj_mem_read(subject->process, change->entry - before, bytes, total);
	if (r < 0)
		return inj_broke(why, r, "reading the code of %s in process %d",
				 change->wanted->name, subject->pid);
	if (!change->below)
		file = inj_elf_bytes_at(module->elf, change->entry - module->bias, change->size);
	if (file && memcmp(file, bytes + before, change->size) != 0)
		return refuse_changed(subject, change, bytes + before, file, why);
	text = (struct inj_text){
		.address = change->entry,
		.size = change->size,
		.bytes = bytes,
		.before = before,
		.after = after,
		.name = change->wanted->name,
		.has_handlers = may_have_handlers(change),
		.read = read_data,
		.context = subject->process,
	};
	upd_change_show_code(change, &text);
	return inj_site_examine(&text, &change->site, why);
}

/* Most functions need no padding; asking for it costs a look at all symbols around. */
static int examine_site(const struct upd_subject *subject, struct upd_change *change,
			struct inj_why *why)
{
	int r = examine(subject, change, 0, 0, why);

	if (r == 0 && change->site.kind == INJ_SITE_NEAR)
		return 0;
	if (r < 0 || (r > 0 && r != INJ_FUNCTION_TOO_SHORT) || change->below)
		return r;
	/* What stands before the entry is the end of another function, of which a stripped file
	 * does not tell enough. */
	return examine(subject, change, 0, gap_after(subject, change), why);
}

/* In the order of addresses: the changes on either side of one are its neighbours. */
static int compare_entries(const void *a, const void *b)
{
	const inj_addr left = (*(const struct upd_change *const *)a)->entry;
	const inj_addr right = (*(const struct upd_change *const *)b)->entry;

	return left < right ? -1 : left > right;
}

static int refuse_twice(const struct upd_change *one, const struct upd_change *other,
			struct inj_why *why)
{
	return inj_refuse(why, INJ_BAD_PATCH,
			  "The patch replaces %s and %s, which are the same code in the target, by "
			  "different functions. Give both the same new function, or keep one of "
			  "them.",
			  one->wanted->name, other->wanted->name);
}

/* Two names of one function that both get the same new function are one change. */
static int join_twins(struct upd_plan *plan, struct inj_why *why)
{
	INJ_FREE struct upd_change **sorted = calloc(plan->n_changes + 1, sizeof(*sorted));
	size_t n = plan->n_changes;

	plan->twins = calloc(n + 1, sizeof(*plan->twins));
	if (!sorted || !plan->twins)
		return inj_broke(why, -ENOMEM, "making a plan");
	for (size_t i = 0; i < n; i++)
		sorted[i] = &plan->changes[i];
	qsort(sorted, n, sizeof(*sorted), compare_entries);
	for (size_t i = 1; i < n; i++) {
		struct upd_change *first = sorted[i - 1], *next = sorted[i];

		if (first->entry != next->entry)
			continue;
		if (first->wanted->new_vaddr != next->wanted->new_vaddr)
			return refuse_twice(first, next, why);
		plan->twins[plan->n_twins++] =
			(struct upd_twin){ next->wanted, next->symbol.address };
		next->wanted = NULL;
		sorted[i] = first;
	}
	plan->n_changes = 0;
	for (size_t i = 0; i < n; i++)
		if (plan->changes[i].wanted)
			plan->changes[plan->n_changes++] = plan->changes[i];
	return 0;
}

/* Two short functions may have chosen the same padding; the later one does without. */
static int avoid_clashes(const struct upd_subject *subject, struct upd_change *const *sorted,
			 size_t last, struct inj_why *why)
{
	for (size_t i = last; i-- > 0 && sorted[last]->entry - sorted[i]->entry < CLASH_REACH;)
		if (inj_site_clashes(&sorted[i]->site, &sorted[last]->site))
			return examine(subject, sorted[last], 0, 0, why);
	return 0;
}

static int resolve_one(const struct upd_subject *subject, struct upd_plan *plan,
		       struct upd_change *change, struct inj_why *why)
{
	const struct inj_replacement *wanted = change->wanted;
	int r = inj_resolve_function(subject->modules, wanted->module, wanted->file, wanted->name,
				     &change->symbol, why);

	if (r == 0)
		r = upd_plan_follow_ifunc(subject, plan, change, why);
	if (r == 0)
		r = find_top(subject, change, why);
	if (r == 0)
		r = check_place(subject, change, why);
	return r;
}

static int examine_all(struct upd_subject *subject, struct upd_plan *plan, struct inj_why *why)
{
	INJ_FREE struct upd_change **sorted = calloc(plan->n_changes + 1, sizeof(*sorted));
	int r;

	if (!sorted)
		return inj_broke(why, -ENOMEM, "making a plan");
	for (size_t i = 0; i < plan->n_changes; i++)
		sorted[i] = &plan->changes[i];
	qsort(sorted, plan->n_changes, sizeof(*sorted), compare_entries);
	r = upd_plan_code(subject, plan, why);
	for (size_t i = 0; r == 0 && i < plan->n_changes; i++) {
		r = examine_site(subject, sorted[i], why);
		if (r == 0)
			r = avoid_clashes(subject, sorted, i, why);
	}
	return r;
}

int upd_plan_resolve(struct upd_subject *subject, struct upd_plan *plan, struct inj_why *why)
{
	const struct inj_patch *patch = plan->patch;
	int r = 0;

	plan->changes = calloc(patch->n_replacements ? patch->n_replacements : 1,
			       sizeof(*plan->changes));
	if (!plan->changes)
		return inj_broke(why, -ENOMEM, "making a plan");
	for (size_t i = 0; r == 0 && i < patch->n_replacements; i++) {
		plan->changes[i].wanted = &patch->replacements[i];
		r = resolve_one(subject, plan, &plan->changes[i], why);
		if (r == 0)
			plan->n_changes = i + 1;
	}
	if (r == 0)
		r = join_twins(plan, why);
	return r == 0 ? examine_all(subject, plan, why) : r;
}
