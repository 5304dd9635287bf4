/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which memory is whose stack. Owns a copy of the target's mappings and the one judgement that lets
 * a scan speak for a whole thread: `home`. It holds only where nothing can hide: the main thread on
 * [stack], another thread below its own control block in one mapping. All else (signal stacks,
 * coroutines, threads without a C library) is not home.
 */
#include <string.h>
#include <sys/mman.h>

#include "injector/unwind/stack-place.h"
#include "injector/base/bisect.h"

enum {
	MAX_STAT = 4096,
	FIELD_NUM_THREADS = 20,
	FIELD_STARTSTACK = 28,
	FIELD_STATE = 3, /* the first one after the command's name */
};

/* One number of /proc/PID/stat; 0 when it is not told. */
static uint64_t stat_field(const char *text, int field)
{
	const char *at = strrchr(text, ')');

	for (int i = FIELD_STATE - 1; at && i < field; i++) {
		at = strchr(at, ' ');
		at = at ? at + 1 : NULL;
	}
	return at ? strtoull(at, NULL, 10) : 0;
}

int inj_stack_map_init(struct inj_stack_map *ret, const struct inj_process *process,
		       const struct inj_maps *maps)
{
	*ret = (struct inj_stack_map){0};
	ret->mappings = calloc(maps->n_items ? maps->n_items : 1, sizeof(*ret->mappings));
	ret->anonymous = calloc(maps->n_items ? maps->n_items : 1, sizeof(*ret->anonymous));
	if (!ret->mappings || !ret->anonymous)
		return -ENOMEM;
	for (size_t i = 0; i < maps->n_items; i++) {
		ret->mappings[i] = maps->items[i].range;
		ret->anonymous[i] = !maps->items[i].inode && !maps->items[i].shared &&
				    (maps->items[i].prot & PROT_WRITE);
		if (strcmp(maps->items[i].name, "[stack]"))
			continue;
		ret->main = maps->items[i].range;
		ret->main_floor = i ? maps->items[i - 1].range.end : 0;
	}
	ret->n_mappings = maps->n_items;
	INJ_FREE char *text = NULL;

	if (inj_process_read_file(process, "stat", MAX_STAT, &text, NULL) < 0)
		return 0;
	ret->n_threads = stat_field(text, FIELD_NUM_THREADS);
	/* Frames never lie above the address where execve() left argc. */
	inj_addr top = stat_field(text, FIELD_STARTSTACK);

	if (inj_range_has(ret->main, top))
		ret->main.end = top;
	return 0;
}

void inj_stack_map_deinit(struct inj_stack_map *map)
{
	free(map->mappings);
	free(map->anonymous);
	*map = (struct inj_stack_map){0};
}

/* Index of the mapping that holds an address, n_mappings if none does. */
static size_t find_mapping(const struct inj_stack_map *map, inj_addr address)
{
	const size_t low = INJ_COUNT_WHILE(map->n_mappings, i, map->mappings[i].start <= address);

	return low && inj_range_has(map->mappings[low - 1], address) ? low - 1 : map->n_mappings;
}

struct inj_range inj_stack_map_at(const struct inj_stack_map *map, inj_addr address)
{
	size_t i = find_mapping(map, address);

	return i < map->n_mappings ? map->mappings[i] : (struct inj_range){0, 0};
}

bool inj_stack_map_anonymous(const struct inj_stack_map *map, struct inj_range range)
{
	size_t i = find_mapping(map, range.start);

	return i < map->n_mappings && map->anonymous[i] && range.end <= map->mappings[i].end;
}

bool inj_stack_place(const struct inj_stack_map *map, bool is_main, inj_addr rsp, inj_addr fs_base,
		     struct inj_stack_place *ret)
{
	struct inj_range own = fs_base ? inj_stack_map_at(map, fs_base) : (struct inj_range){0, 0};

	*ret = (struct inj_stack_place){.home = false};
	if (is_main)
		ret->whole = map->main;
	else if (own.end)
		ret->whole = (struct inj_range){own.start, fs_base};
	if (rsp >= map->main_floor && rsp < map->main.end) {
		ret->live = (struct inj_range){rsp, map->main.end};
		ret->home = is_main;
		return true;
	}
	struct inj_range mapping = inj_stack_map_at(map, rsp);

	if (!mapping.end)
		return false;
	ret->live = (struct inj_range){rsp, mapping.end};
	if (mapping.start == own.start && rsp < fs_base) {
		/*
		 * The main thread of a process forked by another thread lives below a control block
		 * as well, but so does a coroutine whose stack the kernel merged with the mapping
		 * of the main thread's block.
		 */
		ret->live.end = fs_base;
		ret->home = !is_main;
	}
	return true;
}
