/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The walker: what walking and scanning the stacks of one process needs, made ready while the
 * target runs. Owns the unwind tables, the rules and the buffers. During the hold it reads
 * registers and stack bytes only.
 */
#include <string.h>

#include "injector/unwind/walker-priv.h"

static int make(struct inj_walker *walker, const struct inj_maps *maps,
		const struct inj_modules *modules, const struct inj_walker_table *tables,
		size_t n_tables)
{
	walker->own = calloc(n_tables ? n_tables : 1, sizeof(*walker->own));
	walker->piece = malloc(INJ_STACK_PIECE);
	walker->window = malloc(INJ_STACK_WINDOW);
	if (!walker->own || !walker->piece || !walker->window)
		return -ENOMEM;
	for (size_t i = 0; i < n_tables; i++)
		walker->own[walker->n_own++] = tables[i].code;
	int r = inj_stack_map_init(&walker->map, walker->process, maps);

	if (r >= 0)
		r = inj_snapshot_prepare(walker, walker->map.n_threads);
	if (r >= 0)
		r = inj_unwind_tables_init(&walker->tables, maps, modules, tables, n_tables);
	if (r >= 0)
		r = inj_unwinder_new(&walker->tables, walker->translate, walker->translate_context,
				     &walker->unwinder);
	return r;
}

int inj_walker_new(const struct inj_process *process, const struct inj_maps *maps,
		   const struct inj_modules *modules, const struct inj_walker_table *tables,
		   size_t n_tables, inj_translate_fn translate, void *context,
		   struct inj_walker **ret, struct inj_why *why)
{
	struct inj_walker *walker INJ_CLEANUP(inj_walker_guard) = calloc(1, sizeof(*walker));
	int r = -ENOMEM;

	if (walker) {
		walker->process = process;
		walker->translate = translate;
		walker->translate_context = context;
		r = make(walker, maps, modules, tables, n_tables);
	}
	if (r < 0)
		return inj_broke(why, r, "cannot prepare walking the stacks of process %d",
				 process->pid);
	*ret = INJ_TAKE(walker);
	return 0;
}

void inj_walker_deinit(struct inj_walker *walker)
{
	inj_unwinder_free(walker->unwinder);
	inj_unwind_tables_deinit(&walker->tables);
	inj_stack_map_deinit(&walker->map);
	inj_snapshot_clear(walker);
	free(walker->own);
	free(walker->stacks);
	free(walker->copies);
	free(walker->piece);
	free(walker->window);
	free(walker->known);
}

void inj_walker_free(struct inj_walker *walker)
{
	if (!walker)
		return;
	inj_walker_deinit(walker);
	free(walker);
}

void inj_walker_know(struct inj_walker *walker, inj_addr pc, struct inj_known *ret)
{
	const struct inj_constant *frames;
	struct inj_cfi cfi;

	ret->is_odd = inj_unwinder_is_odd(walker->unwinder, pc);
	ret->code = (struct inj_range){pc, pc + 1};
	if (inj_unwind_tables_find(&walker->tables, pc, &cfi, &frames) == 0)
		ret->code = cfi.code;
}

const struct inj_range *inj_walker_trampolines(const struct inj_walker *walker, size_t *ret_n)
{
	*ret_n = walker->tables.n_trampolines;
	return walker->tables.trampolines;
}

int inj_walker_snapshot(struct inj_walker *walker, const struct inj_hold *hold,
			uint64_t max_bytes_per_thread, struct inj_why *why)
{
	int r = inj_snapshot_take(walker, hold, max_bytes_per_thread);

	if (r >= 0)
		r = inj_snapshot_add_homes(walker, max_bytes_per_thread);
	if (r < 0)
		return inj_broke(why, r, "cannot copy the stacks of process %d",
				 walker->process->pid);
	walker->kept = true;
	return 0;
}

/* The copy that inj_walker_snapshot() made of this very stop of a thread, or NULL. */
static const struct inj_thread_stack *find_kept(const struct inj_walker *walker,
						const struct inj_thread *thread)
{
	for (size_t i = 0; walker->kept && i < walker->n_stacks; i++)
		if (walker->stacks[i].tid == thread->tid)
			return memcmp(&walker->stacks[i].regs, &thread->regs,
				      sizeof(thread->regs)) == 0
				       ? &walker->stacks[i]
				       : NULL;
	return NULL;
}

/* Only the one thread, and nothing of its stack yet: the walk reads what it needs. */
static int place_one(struct inj_walker *walker, const struct inj_hold *hold, size_t index)
{
	struct inj_hold one = *hold;

	one.threads = &hold->threads[index];
	one.n_threads = 1;
	return inj_snapshot_take(walker, &one, INJ_STACK_CHUNK);
}

bool inj_walker_handles_exceptions(const struct inj_walker *walker, inj_addr pc)
{
	const struct inj_constant *frames;
	struct inj_cfi cfi;

	return inj_unwind_tables_find(&walker->tables, pc - 1, &cfi, &frames) != 0 ||
	       cfi.flags & INJ_CFI_HANDLERS;
}

int inj_walker_stack(struct inj_walker *walker, const struct inj_hold *hold, size_t thread_index,
		     struct inj_frame *frames, size_t max, size_t *ret_n, bool *ret_reliable,
		     struct inj_why *why)
{
	if (thread_index >= hold->n_threads)
		return inj_broke(why, -EINVAL, "process %d has no thread number %zu",
				 walker->process->pid, thread_index);
	const struct inj_thread *thread = &hold->threads[thread_index];

	walker->walking = find_kept(walker, thread);
	walker->offline = walker->walking != NULL;
	int r = walker->offline ? 0 : place_one(walker, hold, thread_index);

	if (r < 0)
		return inj_broke(why, r, "cannot read the stack of thread %d", thread->tid);
	if (!walker->offline)
		walker->walking = &walker->stacks[0];
	const struct inj_frame_state *state = inj_unwinder_start(
		walker->unwinder, &walker->walking->regs, inj_snapshot_window, walker);
	enum inj_step step = state ? INJ_STEP_MORE : INJ_STEP_LOST;
	size_t n = 0;

	for (; step == INJ_STEP_MORE; step = inj_unwinder_step(walker->unwinder))
		if (n < max)
			frames[n++] = (struct inj_frame){state->pc, state->cfa, state->is_call};
	walker->offline = false;
	*ret_n = n;
	*ret_reliable = step == INJ_STEP_END;
	return 0;
}
