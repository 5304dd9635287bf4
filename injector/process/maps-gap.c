/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the choice of addresses for new mappings. Obstacles (mappings, plans, the module itself)
 * are widened by what must stay free around them and sorted; what lies between is free. Always
 * holds: a found range touches no obstacle and lies in the window that displacements of 32 bits
 * can cross. Refuses windows without room; a caller then needs islands.
 */
#include <errno.h>
#include <string.h>

#include "injector/process/maps.h"

#define REACH_BYTES ((UINT64_C(2) << 30) - (UINT64_C(1) << 20))
#define LOWEST	    (UINT64_C(1) << 20)
#define LOW_END	    (UINT64_C(2) << 30)
/* The last page below the non-canonical hole is never used (erratum of early x86-64 CPUs). */
#define HIGHEST_END  UINT64_C(0x7ffffffff000)
#define GUARD_BYTES  INJ_PAGE_BYTES
#define GROWTH_BYTES (UINT64_C(64) << 20)
/*
 * Segments of one file further apart than this are separate mappings of it, not a module with an
 * alignment hole (2 MiB with max-page-size=0x200000) which dlclose() would unmap as a whole.
 */
#define HOLE_BYTES (UINT64_C(4) << 20)

struct obstacles {
	struct inj_range *items;
	size_t n_items;
};

static inj_addr minus(inj_addr a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static inj_addr plus(inj_addr a, uint64_t b)
{
	return a <= UINT64_MAX - b ? a + b : UINT64_MAX;
}

static void add(struct obstacles *obstacles, struct inj_range range)
{
	obstacles->items[obstacles->n_items++] = (struct inj_range){
		.start = minus(INJ_PAGE_DOWN(range.start), GUARD_BYTES),
		.end = plus(INJ_PAGE_DOWN(plus(range.end, INJ_PAGE_BYTES - 1)), GUARD_BYTES),
	};
}

static bool same_file(const struct inj_map *a, const struct inj_map *b)
{
	return a->inode != 0 && a->inode == b->inode && a->dev_major == b->dev_major &&
	       a->dev_minor == b->dev_minor;
}

/* What a mapping keeps others away from. growth: how far [heap] and [stack] may grow. */
static struct inj_range claim_of(const struct inj_maps *maps, size_t index, uint64_t growth)
{
	const struct inj_map *map = &maps->items[index];
	struct inj_range claim = map->range;

	if (strcmp(map->name, "[heap]") == 0)
		claim.end = plus(claim.end, growth);
	if (strcmp(map->name, "[stack]") == 0)
		claim.start = minus(claim.start, growth);
	if (index + 1 < maps->n_items && same_file(map, map + 1) &&
	    map[1].range.start - map->range.end <= HOLE_BYTES)
		claim.end = map[1].range.start;
	return claim;
}

static int by_start(const void *left, const void *right)
{
	const struct inj_range *a = left;
	const struct inj_range *b = right;

	return (a->start > b->start) - (a->start < b->start);
}

/* growth widens; near (empty: none) counts as an obstacle so that its holes stay holes. */
static int collect(const struct inj_maps *maps, struct inj_range near, const struct inj_range *skip,
		   size_t n_skip, uint64_t growth, struct obstacles *ret)
{
	struct obstacles obstacles = {0};
	size_t n;

	if (__builtin_add_overflow(maps->n_items, n_skip, &n) || __builtin_add_overflow(n, 1, &n))
		return -ENOMEM;
	obstacles.items = reallocarray(NULL, n, sizeof(*obstacles.items));
	if (!obstacles.items)
		return -ENOMEM;
	for (size_t i = 0; i < maps->n_items; i++)
		add(&obstacles, claim_of(maps, i, growth));
	for (size_t i = 0; skip && i < n_skip; i++)
		add(&obstacles, skip[i]);
	if (near.start < near.end)
		add(&obstacles, near);
	qsort(obstacles.items, obstacles.n_items, sizeof(*obstacles.items), by_start);
	*ret = obstacles;
	return 0;
}

/* The best places so far; below counts from the top of a gap, above from its bottom. */
struct choice {
	bool found_below;
	inj_addr below;
	bool found_above;
	inj_addr above;
};

/*
 * A free interval inside the window. Gaps come in ascending order: the last one below the pivot
 * is the closest, and so is the first one above it.
 */
static void consider(struct inj_range gap, size_t bytes, inj_addr pivot, struct choice *choice)
{
	inj_addr below_end = gap.end < pivot ? gap.end : pivot;
	inj_addr above_start = gap.start > pivot ? gap.start : pivot;

	if (below_end > gap.start && below_end - gap.start >= bytes) {
		choice->found_below = true;
		choice->below = below_end - bytes;
	}
	if (!choice->found_above && gap.end > above_start && gap.end - above_start >= bytes) {
		choice->found_above = true;
		choice->above = above_start;
	}
}

static int search(const struct obstacles *obstacles, struct inj_range window, size_t bytes,
		  inj_addr pivot, inj_addr *ret)
{
	struct choice choice = {0};
	inj_addr cursor = window.start;

	for (size_t i = 0; i < obstacles->n_items && cursor < window.end; i++) {
		struct inj_range item = obstacles->items[i];
		struct inj_range gap = {cursor, item.start < window.end ? item.start : window.end};

		consider(gap, bytes, pivot, &choice);
		if (item.end > cursor)
			cursor = item.end;
	}
	consider((struct inj_range){cursor, window.end}, bytes, pivot, &choice);
	if (!choice.found_below && !choice.found_above)
		return -ENOMEM;
	*ret = choice.found_below ? choice.below : choice.above;
	return 0;
}

/* First with, then without the distance to what grows. */
static int find(const struct inj_maps *maps, struct inj_range near, struct inj_range window,
		size_t bytes, inj_addr pivot, const struct inj_range *skip, size_t n_skip,
		inj_addr *ret)
{
	static const uint64_t growths[] = {GROWTH_BYTES, 0};
	int r = -ENOMEM;

	if (bytes == 0 || bytes % INJ_PAGE_BYTES != 0)
		return -EINVAL;
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(growths) && r < 0; i++) {
		struct obstacles obstacles;

		r = collect(maps, near, skip, n_skip, growths[i], &obstacles);
		if (r < 0)
			return r;
		r = search(&obstacles, window, bytes, pivot, ret);
		free(obstacles.items);
	}
	return r;
}

int inj_maps_gap(const struct inj_maps *maps, struct inj_range near, size_t bytes,
		 const struct inj_range *skip, size_t n_skip, inj_addr *ret)
{
	struct inj_range window = {
		.start = INJ_PAGE_UP(minus(near.end, REACH_BYTES)),
		.end = INJ_PAGE_DOWN(plus(near.start, REACH_BYTES)),
	};

	if (near.start > near.end)
		return -EINVAL;
	if (window.start < LOWEST)
		window.start = LOWEST;
	if (window.end > HIGHEST_END)
		window.end = HIGHEST_END;
	return find(maps, near, window, bytes, INJ_PAGE_DOWN(near.start), skip, n_skip, ret);
}

int inj_maps_gap_low(const struct inj_maps *maps, size_t bytes, const struct inj_range *skip,
		     size_t n_skip, inj_addr *ret)
{
	struct inj_range window = {LOWEST, LOW_END};

	return find(maps, (struct inj_range){0}, window, bytes, LOW_END, skip, n_skip, ret);
}
