/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where our own code lies in a target, gathered from the ledgers. A forged ledger can make a walk
 * of that target wrong or unreliable, which harms nobody but the target itself.
 */
#include "protocols/code-map.h"

#include "injector/base/bisect.h"
#include "injector/process/mem.h"

#define MAX_STUBS (1u << 20)
#define MAX_FRAMES_BYTES (16u << 20)
#define MAX_ALL_FRAMES_BYTES (64u << 20) /* of all ledgers of a process */

static int add_stub(struct upd_code_map *map, const struct dsu_ledger_site *site)
{
	struct upd_code_stub *grown;

	if (map->n_stubs >= MAX_STUBS)
		return -E2BIG;
	grown = reallocarray(map->stubs, map->n_stubs + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	map->stubs = grown;
	grown[map->n_stubs] = (struct upd_code_stub){
		.range = { site->stub, site->stub + site->stub_bytes },
		.detour = {
			.site = site->address, .stub = site->stub, .pad = site->pad,
			.n_stub = site->stub_bytes, .n_covered = site->n_covered,
			.n_kept = site->n_kept, .n_written = site->n_written,
			.n_map = site->n_map,
		},
	};
	for (size_t i = 0; i < site->n_map; i++)
		grown[map->n_stubs].map[i] =
			(struct inj_relocated){ site->map[i].from, site->map[i].to };
	map->n_stubs++;
	return 0;
}

static int add_table(struct upd_code_map *map, const struct inj_process *process,
		     struct inj_range code, inj_addr eh_frame, size_t bytes)
{
	INJ_FREE uint8_t *copy = NULL;
	struct inj_walker_table *grown;
	int r;

	if (bytes == 0 || bytes > MAX_FRAMES_BYTES)
		return 0;
	if (map->n_frames_bytes > MAX_ALL_FRAMES_BYTES - bytes)
		return -E2BIG;
	map->n_frames_bytes += bytes;
	copy = malloc(bytes);
	if (!copy)
		return -ENOMEM;
	r = inj_mem_read(process, eh_frame, copy, bytes);
	if (r < 0)
		return r;
	grown = reallocarray(map->tables, map->n_tables + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	map->tables = grown;
	grown[map->n_tables++] = (struct inj_walker_table){
		.code = code, .eh_frame = eh_frame, .bytes = INJ_TAKE(copy), .n_bytes = bytes,
	};
	return 0;
}

static int add_frames(struct upd_code_map *map, const struct inj_process *process,
		      const struct inj_ledger *ledger)
{
	int r = 0;

	for (size_t i = 1; r == 0 && i < ledger->record->n_areas; i++) {
		const struct dsu_ledger_area *area = &ledger->areas[i];
		const struct dsu_ledger_area *code = area - 1;

		if (area->kind == DSU_AREA_FRAMES &&
		    (code->kind == DSU_AREA_STUBS || code->kind == DSU_AREA_PADS))
			r = add_table(
				map, process,
				(struct inj_range){code->address, code->address + code->bytes},
				area->address, area->bytes);
	}
	return r;
}

int upd_code_map_add(struct upd_code_map *map, const struct inj_process *process,
		     const struct inj_ledger *ledger)
{
	const struct dsu_ledger *record = ledger->record;
	int r = 0;

	for (size_t i = 0; r == 0 && i < record->n_sites; i++)
		r = add_stub(map, &ledger->sites[i]);
	if (r == 0)
		r = add_frames(map, process, ledger);
	if (r == 0 && record->image_eh_frame)
		r = add_table(map, process,
			      (struct inj_range){ record->image_base,
						  record->image_base + record->image_bytes },
			      record->image_eh_frame, record->image_eh_frame_bytes);
	return r;
}

static int by_start(const void *a, const void *b)
{
	const struct upd_code_stub *x = a, *y = b;

	return x->range.start < y->range.start ? -1 : x->range.start > y->range.start;
}

void upd_code_map_seal(struct upd_code_map *map)
{
	if (map->n_stubs)
		qsort(map->stubs, map->n_stubs, sizeof(*map->stubs), by_start);
	for (size_t i = 0; i < map->n_stubs; i++)
		map->stubs[i].detour.map = map->stubs[i].map;
}

void upd_code_map_forget_stubs(struct upd_code_map *map)
{
	free(map->stubs);
	map->stubs = NULL;
	map->n_stubs = 0;
	map->n_pads = 0;
	map->is_forgotten = true;
}

void upd_code_map_deinit(struct upd_code_map *map)
{
	for (size_t i = 0; i < map->n_tables; i++)
		free((void *)map->tables[i].bytes);
	free(map->tables);
	free(map->stubs);
	free(map->pads);
	*map = (struct upd_code_map){};
}

static const struct upd_code_stub *find_stub(const struct upd_code_map *map, inj_addr pc)
{
	const size_t low = INJ_COUNT_WHILE(map->n_stubs, i, map->stubs[i].range.end <= pc);

	return low < map->n_stubs && inj_range_has(map->stubs[low].range, pc) ? &map->stubs[low]
									      : NULL;
}

inj_addr upd_code_map_translate(void *context, inj_addr pc)
{
	const struct upd_code_map *map = context;
	const struct upd_code_stub *stub;

	for (size_t i = 0; i < map->n_pads; i++)
		if (inj_range_has(map->pads[i].code, pc))
			return map->pads[i].back;
	stub = find_stub(map, pc);
	if (!stub)
		return pc;
	return inj_site_translate(&stub->detour, pc);
}
