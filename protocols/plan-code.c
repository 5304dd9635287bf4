/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The code in which replaced functions lie, each piece once however many of its functions a patch
 * replaces: what leads into them is searched for in one pass. It is code as it was compiled: from
 * the module's file, or for what an earlier patch brought (and segments too large to be had from a
 * file) a copy from the target without our redirects.
 *
 * Refuses code that can be had from neither.
 */
#include <string.h>
#include <sys/mman.h>

#include "injector/process/mem.h"
#include "protocols/plan.h"

#define MAX_COPY_BYTES (64u << 20)

static void find_in_file(const struct upd_change *change, struct upd_code *code)
{
	const struct inj_module *module = change->symbol.module;
	const uint64_t entry = change->entry - module->bias;
	const Elf64_Phdr *segments;
	size_t n;

	segments = inj_elf_segments(module->elf, &n);
	for (size_t i = 0; i < n; i++) {
		const Elf64_Phdr *segment = &segments[i];

		if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X) ||
		    entry - segment->p_vaddr >= segment->p_filesz)
			continue;
		code->bytes = inj_elf_bytes_at(module->elf, segment->p_vaddr, segment->p_filesz);
		code->address = module->bias + segment->p_vaddr;
		code->n = code->bytes ? segment->p_filesz : 0;
	}
}

/* Redirects of later updates would hide what their functions did. */
static void take_back_redirects(const struct upd_subject *subject, struct upd_code *code)
{
	for (size_t i = subject->history.n_ledgers; i-- > 0;) {
		const struct inj_ledger *ledger = subject->history.ledgers[i];

		if (!ledger->complete || !inj_ledger_active(ledger))
			continue;
		for (size_t j = 0; j < ledger->record->n_sites; j++)
			for (size_t k = 0; k < ledger->sites[j].n_writes; k++) {
				const uint64_t at =
					ledger->sites[j].writes[k].address - code->address;
				const size_t n = ledger->sites[j].writes[k].n;

				if (n <= sizeof(ledger->sites[j].writes[k].before) &&
				    n <= code->n && at <= code->n - n)
					memcpy(code->copy + at, ledger->sites[j].writes[k].before,
					       n);
			}
	}
}

static int copy_code(const struct upd_subject *subject, const struct upd_change *change,
		     struct upd_code *code)
{
	const struct inj_map *map = inj_maps_find(subject->maps, change->entry);
	INJ_FREE uint8_t *copy = NULL;
	size_t bytes;
	int r;

	if (!map || !(map->prot & PROT_EXEC) || map->range.end - map->range.start > MAX_COPY_BYTES)
		return -EFBIG;
	bytes = map->range.end - map->range.start;
	copy = malloc(bytes);
	if (!copy)
		return -ENOMEM;
	r = inj_mem_read(subject->process, map->range.start, copy, bytes);
	if (r < 0)
		return r;
	code->bytes = code->copy = INJ_TAKE(copy);
	code->address = map->range.start;
	code->n = bytes;
	take_back_redirects(subject, code);
	return 0;
}

static bool holds(const struct upd_code *code, inj_addr address)
{
	return address - code->address < code->n;
}

/* Pieces do not overlap: what an address lies in is the one it belongs to. */
static int assign_code(const struct upd_subject *subject, struct upd_plan *plan,
		       struct upd_change *change)
{
	struct upd_code *code = &plan->codes[plan->n_codes];
	int r = 0;

	for (size_t i = plan->n_codes; i-- > 0;)
		if (holds(&plan->codes[i], change->entry)) {
			change->code = &plan->codes[i];
			return 0;
		}
	if (!change->below)
		find_in_file(change, code);
	if (!code->bytes)
		r = copy_code(subject, change, code);
	if (r < 0)
		return r;
	change->code = code;
	plan->n_codes++;
	return 0;
}

static int search(struct upd_plan *plan, struct upd_code *code)
{
	INJ_FREE struct inj_range *functions = calloc(plan->n_changes, sizeof(*functions));
	size_t n = 0;

	if (!functions)
		return -ENOMEM;
	for (size_t i = 0; i < plan->n_changes; i++)
		if (plan->changes[i].code == code)
			functions[n++] = (struct inj_range){
				plan->changes[i].entry,
				plan->changes[i].entry + plan->changes[i].size,
			};
	return inj_arrivals_find(code->bytes, code->n, code->address, functions, n,
				 &code->arrivals);
}

int upd_plan_code(struct upd_subject *subject, struct upd_plan *plan, struct inj_why *why)
{
	int r = 0;

	/* Changes point into it: it never moves. */
	plan->codes = calloc(plan->n_changes + 1, sizeof(*plan->codes));
	if (!plan->codes)
		return inj_broke(why, -ENOMEM, "making a plan");
	for (size_t i = 0; r == 0 && i < plan->n_changes; i++) {
		r = assign_code(subject, plan, &plan->changes[i]);
		if (r < 0)
			inj_broke(why, r, "reading the code around %s",
				  plan->changes[i].wanted->name);
	}
	for (size_t i = 0; r == 0 && i < plan->n_codes; i++) {
		r = search(plan, &plan->codes[i]);
		if (r < 0)
			inj_broke(why, r, "looking for callers");
	}
	return r;
}

void upd_change_show_code(const struct upd_change *change, struct inj_text *text)
{
	text->code = change->code->bytes;
	text->code_address = change->code->address;
	text->n_code = change->code->n;
	text->arrivals = change->code->arrivals;
}

void upd_plan_forget_code(struct upd_plan *plan)
{
	for (size_t i = 0; i < plan->n_changes; i++)
		plan->changes[i].code = NULL;
	for (size_t i = 0; i < plan->n_codes; i++) {
		inj_arrivals_free(plan->codes[i].arrivals);
		free(plan->codes[i].copy);
	}
	free(INJ_TAKE(plan->codes));
	plan->n_codes = 0;
}
