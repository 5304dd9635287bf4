/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copies of stacks. Owns the buffers of a walker and all reading of the target's stacks: the tops
 * of all of them at once, then more of one on demand, in pieces of fixed size whatever the depth.
 * What always holds: a copy holds bytes of the held target at the addresses it names, or it is
 * empty.
 */
#include <fcntl.h>
#include <string.h>

#include "injector/process/mem.h"
#include "injector/unwind/walker-priv.h"

static int refresh_map(struct inj_walker *walker)
{
	struct inj_maps *maps INJ_CLEANUP(inj_maps_guard) = NULL;
	struct inj_stack_map map;
	int r = inj_maps_read(walker->process, &maps, NULL);

	if (r)
		return r < 0 ? r : -ESRCH;
	r = inj_stack_map_init(&map, walker->process, maps);
	if (r < 0) {
		inj_stack_map_deinit(&map);
		return r;
	}
	inj_stack_map_deinit(&walker->map);
	walker->map = map;
	return 0;
}

static bool place(const struct inj_walker *walker, struct inj_thread_stack *stack)
{
	return inj_stack_place(&walker->map, stack->tid == walker->process->pid, stack->regs.rsp,
			       stack->regs.fs_base, &stack->place);
}

static int place_all(struct inj_walker *walker, bool *refreshed)
{
	for (size_t i = 0; i < walker->n_stacks; i++) {
		if (place(walker, &walker->stacks[i]) || *refreshed)
			continue;
		/* Mapped since the map was read: once more, from the first thread on. */
		int r = refresh_map(walker);

		if (r < 0)
			return r;
		*refreshed = true;
		i = (size_t)-1;
	}
	return 0;
}

void inj_snapshot_clear(struct inj_walker *walker)
{
	for (size_t i = 0; i < walker->n_stacks; i++)
		free((void *)walker->stacks[i].older.data);
	walker->n_stacks = 0;
	walker->kept = false;
}

static int set_stacks(struct inj_walker *walker, const struct inj_hold *hold)
{
	inj_snapshot_clear(walker);
	struct inj_thread_stack *stacks = reallocarray(
		walker->stacks, hold->n_threads ? hold->n_threads : 1, sizeof(*stacks));

	if (!stacks)
		return -ENOMEM;
	walker->stacks = stacks;
	walker->n_stacks = hold->n_threads;
	for (size_t i = 0; i < hold->n_threads; i++)
		stacks[i] = (struct inj_thread_stack){
			.tid = hold->threads[i].tid,
			.regs = hold->threads[i].regs,
		};
	return 0;
}

static int reserve_copies(struct inj_walker *walker, size_t bytes)
{
	if (bytes <= walker->copies_bytes)
		return 0;
	free(walker->copies);
	walker->copies_bytes = 0;
	walker->copies = malloc(bytes);
	if (!walker->copies)
		return -ENOMEM;
	walker->copies_bytes = bytes;
	return 0;
}

int inj_snapshot_prepare(struct inj_walker *walker, size_t n_threads)
{
	/* Threads that wait for something have used about so much. */
	size_t bytes = (n_threads < 4096 ? n_threads : 4096) * 2048;
	int r = reserve_copies(walker, bytes);

	if (r < 0)
		return r;
	if (bytes)
		memset(walker->copies, 0, bytes);
	return 0;
}

/* Where the copy begins: words below the stack pointer can still matter (red zone), but not below
 * the mapping. */
static inj_addr copy_start(const struct inj_walker *walker, const struct inj_stack_place *at)
{
	struct inj_range mapping = inj_stack_map_at(&walker->map, at->live.start);
	inj_addr start = at->live.start - INJ_RED_ZONE;

	return start > at->live.start || (mapping.end && start < mapping.start) ? at->live.start
										: start;
}

static int plan_copies(struct inj_walker *walker, size_t chunk_bytes, struct inj_mem_part *parts)
{
	size_t total = 0;

	for (size_t i = 0; i < walker->n_stacks; i++) {
		struct inj_thread_stack *stack = &walker->stacks[i];
		inj_addr start = copy_start(walker, &stack->place);
		size_t n = stack->place.live.end > start ? stack->place.live.end - start : 0;

		if (!stack->place.live.end)
			n = 0;
		stack->copy = (struct inj_bytes){.address = start,
						 .n = n < chunk_bytes ? n : chunk_bytes};
		total += stack->copy.n;
	}
	int r = reserve_copies(walker, total);

	if (r < 0)
		return r;
	total = 0;
	for (size_t i = 0; i < walker->n_stacks; i++) {
		struct inj_thread_stack *stack = &walker->stacks[i];

		stack->copy.data = walker->copies + total;
		parts[i] = (struct inj_mem_part){stack->copy.address, walker->copies + total,
						 stack->copy.n};
		total += stack->copy.n;
	}
	return 0;
}

static int read_each(struct inj_walker *walker, const struct inj_mem_part *parts)
{
	for (size_t i = 0; i < walker->n_stacks; i++) {
		int r = inj_mem_read(walker->process, parts[i].address, parts[i].buffer,
				     parts[i].length);

		if (r == -ESRCH)
			return r;
		if (r < 0) {
			walker->stacks[i].copy.n = 0;
			walker->stacks[i].place.home = false;
		}
	}
	return 0;
}

int inj_snapshot_take(struct inj_walker *walker, const struct inj_hold *hold, size_t chunk_bytes)
{
	bool refreshed = false;
	int r = set_stacks(walker, hold);

	if (r < 0)
		return r;
	if (walker->n_stacks && chunk_bytes > INJ_STACK_COPIES / walker->n_stacks)
		chunk_bytes = INJ_STACK_COPIES / walker->n_stacks;
	struct inj_mem_part *parts INJ_FREE =
		calloc(walker->n_stacks ? walker->n_stacks : 1, sizeof(*parts));

	if (!parts)
		return -ENOMEM;
	for (;;) {
		r = place_all(walker, &refreshed);
		if (r >= 0)
			r = plan_copies(walker, chunk_bytes, parts);
		if (r >= 0)
			r = inj_mem_read_parts(walker->process, parts, walker->n_stacks);
		if (r != -EFAULT)
			return r;
		if (refreshed)
			return read_each(walker, parts);
		/* Something was unmapped since the map was read. */
		r = refresh_map(walker);
		if (r < 0)
			return r;
		refreshed = true;
	}
}

int inj_snapshot_add_homes(struct inj_walker *walker, size_t most_bytes)
{
	if (walker->n_stacks && most_bytes > INJ_STACK_COPIES / walker->n_stacks)
		most_bytes = INJ_STACK_COPIES / walker->n_stacks;
	for (size_t i = 0; i < walker->n_stacks; i++) {
		struct inj_thread_stack *stack = &walker->stacks[i];
		struct inj_range whole = stack->place.whole;
		size_t n =
			whole.end - whole.start < most_bytes ? whole.end - whole.start : most_bytes;

		if (stack->place.home || !n)
			continue;
		uint8_t *data = malloc(n);

		if (!data)
			return -ENOMEM;
		stack->older = (struct inj_bytes){whole.end - n, data, n};
		if (inj_mem_read(walker->process, stack->older.address, data, n))
			stack->older.n = 0;
	}
	return 0;
}

static bool within(const struct inj_bytes *bytes, inj_addr address, size_t n)
{
	return bytes->n >= n && address >= bytes->address &&
	       address - bytes->address <= bytes->n - n;
}

/* Small frames follow each other: read ahead more and more. Large ones are reached one by one. */
static size_t window_bytes(const struct inj_walker *walker, inj_addr start)
{
	struct inj_range before = walker->window_at;
	struct inj_range mapping = inj_stack_map_at(&walker->map, start);
	size_t n = 2 * INJ_PAGE_BYTES;

	if (start > before.start && start - before.start <= before.end - before.start)
		n = 2 * (before.end - before.start);
	if (n > INJ_STACK_WINDOW)
		n = INJ_STACK_WINDOW;
	return mapping.end && n > mapping.end - start ? mapping.end - start : n;
}

bool inj_snapshot_window(void *context, inj_addr address, struct inj_bytes *ret)
{
	struct inj_walker *walker = context;

	if (within(&walker->walking->copy, address, 8)) {
		*ret = walker->walking->copy;
		return true;
	}
	if (within(&walker->walking->older, address, 8)) {
		*ret = walker->walking->older;
		return true;
	}
	if (walker->offline)
		return false;
	inj_addr start = INJ_PAGE_DOWN(address);
	size_t n = window_bytes(walker, start);

	*ret = (struct inj_bytes){start, walker->window, n};
	if (!inj_mem_read(walker->process, start, walker->window, n)) {
		walker->window_at = (struct inj_range){start, start + n};
		return true;
	}
	/* The map may be older than the memory. */
	*ret = (struct inj_bytes){address, walker->window, 8};
	return !inj_mem_read(walker->process, address, walker->window, 8);
}

/*
 * Which pages of a piece of anonymous memory hold anything. A stack of 8 MiB of which a few pages
 * were ever used is the rule, and reading the others would make them exist.
 * pages: one byte for each page, filled; Return: they are filled.
 */
static bool read_presence(int pagemap, struct inj_range range, uint8_t *pages)
{
	uint64_t entries[INJ_STACK_PIECE / INJ_PAGE_BYTES + 1];
	inj_addr first = range.start / INJ_PAGE_BYTES;
	size_t n = (range.end - 1) / INJ_PAGE_BYTES - first + 1;
	size_t bytes = n * sizeof(*entries);

	if (pagemap < 0 ||
	    pread(pagemap, entries, bytes, (off_t)(first * sizeof(*entries))) != (ssize_t)bytes)
		return false;
	for (size_t i = 0; i < n; i++)
		/* proc(5): bit 63 in memory, bit 62 in swap or on its way somewhere */
		pages[i] = entries[i] >> 62 != 0;
	return true;
}

/* The next run of pages that hold something, within the piece. Return: there is one. */
static bool next_run(struct inj_range piece, const uint8_t *pages, inj_addr from,
		     struct inj_range *ret)
{
	inj_addr first = INJ_PAGE_DOWN(piece.start);

	while (from < piece.end && !pages[(from - first) / INJ_PAGE_BYTES])
		from = INJ_PAGE_DOWN(from) + INJ_PAGE_BYTES;
	if (from >= piece.end)
		return false;
	ret->start = from;
	while (from < piece.end && pages[(from - first) / INJ_PAGE_BYTES])
		from = INJ_PAGE_DOWN(from) + INJ_PAGE_BYTES;
	ret->end = from < piece.end ? from : piece.end;
	return true;
}

struct delivery {
	struct inj_walker *walker;
	inj_piece_fn take;
	void *context;
	bool complete;
	bool stopped;
};

/* Return: go on. */
static bool deliver(struct delivery *delivery, struct inj_range range)
{
	uint8_t *piece = delivery->walker->piece;
	size_t n = range.end - range.start;

	if (inj_mem_read(delivery->walker->process, range.start, piece, n)) {
		delivery->complete = false;
		return false;
	}
	delivery->stopped =
		!delivery->take(delivery->context, (struct inj_bytes){range.start, piece, n});
	return !delivery->stopped;
}

static bool deliver_runs(struct delivery *delivery, struct inj_range piece, const uint8_t *pages)
{
	struct inj_range run = {0, piece.start};

	while (next_run(piece, pages, run.end, &run))
		if (!deliver(delivery, run))
			return false;
	return true;
}

static void deliver_range(struct delivery *delivery, struct inj_range range)
{
	uint8_t pages[INJ_STACK_PIECE / INJ_PAGE_BYTES + 1];
	int pagemap INJ_CLOSE = -1;

	/* Opened anew each time: an old descriptor would tell of memory before an execve(). */
	if (range.end - range.start > INJ_STACK_WINDOW && range.start % 8 == 0 &&
	    inj_stack_map_anonymous(&delivery->walker->map, range))
		pagemap = inj_process_openat(delivery->walker->process, "pagemap", O_RDONLY);
	while (range.start + 8 <= range.end) {
		size_t n = range.end - range.start < INJ_STACK_PIECE ? range.end - range.start
								     : INJ_STACK_PIECE;
		struct inj_range piece = {range.start, range.start + n};

		if (read_presence(pagemap, piece, pages) ? !deliver_runs(delivery, piece, pages)
							 : !deliver(delivery, piece))
			return;
		range.start += n & ~(size_t)7;
	}
}

bool inj_snapshot_pieces(struct inj_walker *walker, const struct inj_thread_stack *stack,
			 struct inj_range range, inj_piece_fn take, void *context,
			 bool *ret_complete)
{
	struct delivery delivery = {walker, take, context, .complete = true};

	*ret_complete = true;
	if (within(&stack->copy, range.start, 1)) {
		size_t skip = range.start - stack->copy.address;
		struct inj_bytes first = {range.start, stack->copy.data + skip,
					  stack->copy.n - skip};

		if (first.n > range.end - range.start)
			first.n = range.end - range.start;
		if (!take(context, first))
			return false;
		/* A word cut by the end of the copy is read again. */
		range.start += first.n & ~(size_t)7;
	}
	deliver_range(&delivery, range);
	*ret_complete = delivery.complete;
	return !delivery.stopped;
}
