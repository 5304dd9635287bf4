/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Text of /proc/PID/maps: what parses is ascending and found again, and every place offered near
 * one of its mappings keeps what the interface promises.
 */
#include <string.h>

#include "injector/process/maps.h"
#include "tests/fuzz/fuzz.h"

/* The search is linear; more starting points than these teach nothing. */
#define MAX_NEAR    32
#define REACH_BYTES ((INT64_C(2) << 30) - (INT64_C(1) << 20))

static void check_list(const struct inj_maps *maps)
{
	for (size_t i = 0; i < maps->n_items; i++) {
		const struct inj_map *map = &maps->items[i];

		if (map->range.start >= map->range.end ||
		    (i > 0 && map->range.start < map[-1].range.end) ||
		    inj_maps_find(maps, map->range.start) != map ||
		    inj_maps_find(maps, map->range.end - 1) != map || strchr(map->name, '\n'))
			__builtin_trap();
	}
}

static void check_place(const struct inj_maps *maps, inj_addr place, size_t bytes)
{
	if (place % INJ_PAGE_BYTES != 0)
		__builtin_trap();
	for (size_t i = 0; i < maps->n_items; i++)
		if (maps->items[i].range.end > place - INJ_PAGE_BYTES &&
		    maps->items[i].range.start < place + bytes + INJ_PAGE_BYTES)
			__builtin_trap();
}

static void check_gaps(const struct inj_maps *maps, size_t bytes)
{
	struct inj_range skip = {0};
	inj_addr place;

	for (size_t i = 0; i < maps->n_items && i < MAX_NEAR; i++) {
		struct inj_range near = maps->items[i].range;

		if (inj_maps_gap(maps, near, bytes, &skip, 1, &place) != 0)
			continue;
		check_place(maps, place, bytes);
		if ((int64_t)(near.end - place) > REACH_BYTES ||
		    (int64_t)(place + bytes - near.start) > REACH_BYTES)
			__builtin_trap();
		skip = (struct inj_range){place, place + bytes};
	}
	if (inj_maps_gap_low(maps, bytes, NULL, 0, &place) == 0) {
		check_place(maps, place, bytes);
		if (place < (1 << 20) || place + bytes > (UINT64_C(2) << 30))
			__builtin_trap();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = NULL;
	char *text = malloc(length ? length : 1);

	if (!text)
		return 0;
	memcpy(text, bytes, length);
	if (inj_maps_parse(text, length, &maps) != 0)
		return 0;
	check_list(maps);
	check_gaps(maps, (1 + length % 5000) * INJ_PAGE_BYTES);
	return 0;
}
