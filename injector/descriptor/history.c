/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a process remembers of the updates made to it: finds our mappings by name, reads the records
 * at their heads and orders them. The process may have forged all of it; only records that check
 * out and whose areas really are mappings of ours are reported, and nothing here writes.
 */
#include "injector/descriptor/history.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "injector/process/mem.h"
#include "injector/txn/ours.h"

/* A process has one record an update. More than this is an attack on our memory or on our time. */
#define MAX_LEDGERS 4096
#define MAX_CANDIDATES (2 * MAX_LEDGERS) /* mappings that could be records */
#define MAX_RECORD_BYTES (64u << 20)     /* of all records together, sound or not */

static bool areas_are_mapped(const struct inj_maps *maps, const struct inj_ledger *ledger,
			     const struct inj_map *home)
{
	for (size_t i = 0; i < ledger->record->n_areas; i++) {
		const struct dsu_ledger_area *area = &ledger->areas[i];
		const struct inj_map *map = inj_maps_find(maps, area->address);
		const struct inj_map *last = inj_maps_find(maps, area->address + area->bytes - 1);

		if (area->kind == DSU_AREA_SCRATCH)
			continue;
		if (!last || !inj_map_is_ours(last) || last->inode != home->inode ||
		    area->bytes > INJ_LEDGER_MAX_AREA_BYTES)
			return false;
		if (!map || !inj_map_is_ours(map) || map->inode != home->inode ||
		    map->dev_minor != home->dev_minor ||
		    (map->prot & (PROT_WRITE | PROT_EXEC)) == (PROT_WRITE | PROT_EXEC))
			return false;
	}
	return true;
}

/* left: bytes that may still be read; what is read is subtracted, whatever comes of it. */
static int read_ledger(const struct inj_process *process, const struct inj_map *map, size_t *left,
		       struct inj_ledger **ret)
{
	struct dsu_ledger head;
	struct dsu_control control = {};
	INJ_FREE void *bytes = NULL;
	int r;

	r = inj_mem_read(process, map->range.start, &head, sizeof(head));
	if (r < 0)
		return r;
	if (head.magic != DSU_LEDGER_MAGIC)
		return -EBADMSG;
	if (head.version != DSU_LEDGER_VERSION)
		return -EPROTONOSUPPORT;
	if (head.total_bytes < sizeof(head) || head.total_bytes > INJ_LEDGER_MAX_BYTES ||
	    head.total_bytes > map->range.end - map->range.start)
		return -EBADMSG;
	if (head.total_bytes > *left)
		return -E2BIG;
	*left -= head.total_bytes;
	r = inj_mem_read(process, head.control, &control, sizeof(control));
	if (r < 0)
		return -EBADMSG;
	bytes = malloc(head.total_bytes);
	if (!bytes)
		return -ENOMEM;
	r = inj_mem_read(process, map->range.start, bytes, head.total_bytes);
	if (r < 0)
		return r;
	return inj_ledger_check(INJ_TAKE(bytes), head.total_bytes, map->range.start, &control, ret);
}

static int by_sequence(const void *a, const void *b)
{
	const struct inj_ledger *const *x = a, *const *y = b;
	uint64_t left = (*x)->control.sequence, right = (*y)->control.sequence;

	return left < right ? -1 : left > right;
}

static int append(struct inj_history *history, struct inj_ledger *ledger)
{
	struct inj_ledger **grown;

	if (history->n_ledgers >= MAX_LEDGERS)
		return -E2BIG;
	grown = reallocarray(history->ledgers, history->n_ledgers + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	history->ledgers = grown;
	grown[history->n_ledgers++] = ledger;
	return 0;
}

/* The record opens the memfd; nothing else of it lies read-only at offset 0. */
static bool may_be_record(const struct inj_map *map)
{
	return inj_map_is_ours(map) && map->offset == 0 && map->prot == PROT_READ;
}

/* "/memfd:dsu:<patch id> (deleted)": all that can be said of it. */
static void name_unknown(const struct inj_map *map, struct inj_unknown_ledger *unknown)
{
	static const char deleted[] = " (deleted)";
	char *end;

	snprintf(unknown->patch_id, sizeof(unknown->patch_id), "%s",
		 map->name + sizeof(INJ_AREA_NAME_PREFIX) - 1);
	end = strstr(unknown->patch_id, deleted);
	if (end && end[sizeof(deleted) - 1] == '\0')
		*end = '\0';
}

static int append_unknown(const struct inj_process *process, struct inj_history *history,
			  const struct inj_map *map)
{
	struct inj_unknown_ledger *grown;
	struct dsu_ledger head;

	if (history->n_unknown >= MAX_LEDGERS)
		return -E2BIG;
	if (inj_mem_read(process, map->range.start, &head, sizeof(head)) < 0)
		return 0;
	grown = reallocarray(history->unknown, history->n_unknown + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	history->unknown = grown;
	grown[history->n_unknown] = (struct inj_unknown_ledger){
		.address = map->range.start, .version = head.version,
	};
	name_unknown(map, &grown[history->n_unknown++]);
	return 0;
}

static int collect(const struct inj_process *process, const struct inj_maps *maps,
		   struct inj_history *history)
{
	size_t left = MAX_RECORD_BYTES;
	size_t n_candidates = 0;

	for (size_t i = 0; i < maps->n_items; i++) {
		const struct inj_map *map = &maps->items[i];
		INJ_CLEANUP(inj_ledger_guard) struct inj_ledger *ledger = NULL;
		int r;

		if (!may_be_record(map))
			continue;
		if (++n_candidates > MAX_CANDIDATES)
			return -E2BIG;
		r = read_ledger(process, map, &left, &ledger);
		if (r == -EPROTONOSUPPORT) {
			r = append_unknown(process, history, map);
			if (r < 0)
				return r;
			continue;
		}
		if (r == -EBADMSG || r == -EFAULT)
			continue;
		if (r < 0)
			return r;
		ledger->complete = areas_are_mapped(maps, ledger, map);
		r = append(history, ledger);
		if (r < 0)
			return r;
		ledger = NULL;
	}
	return 0;
}

/* --- mappings that no record lists -------------------------------------------------------- */

static int by_start(const void *a, const void *b)
{
	const struct inj_range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* All areas of all records, sorted. Forged ones may overlap: each end is raised to the highest so
 * far. */
static int list_areas(const struct inj_history *history, struct inj_range **ret, size_t *ret_n)
{
	struct inj_range *areas;
	size_t n = 0;

	for (size_t i = 0; i < history->n_ledgers; i++)
		n += history->ledgers[i]->record->n_areas;
	areas = calloc(n ? n : 1, sizeof(*areas));
	if (!areas)
		return -ENOMEM;
	n = 0;
	for (size_t i = 0; i < history->n_ledgers; i++)
		for (size_t j = 0; j < history->ledgers[i]->record->n_areas; j++) {
			const struct dsu_ledger_area *area = &history->ledgers[i]->areas[j];

			areas[n++] = (struct inj_range){area->address, area->address + area->bytes};
		}
	qsort(areas, n, sizeof(*areas), by_start);
	for (size_t i = 1; i < n; i++)
		if (areas[i].end < areas[i - 1].end)
			areas[i].end = areas[i - 1].end;
	*ret = areas;
	*ret_n = n;
	return 0;
}

/* Both lists ascend. */
static int count_orphans(const struct inj_maps *maps, struct inj_history *history)
{
	INJ_FREE struct inj_range *areas = NULL;
	size_t n = 0, at = 0;
	int r = list_areas(history, &areas, &n);

	if (r < 0)
		return r;
	for (size_t i = 0; i < maps->n_items; i++) {
		const inj_addr start = maps->items[i].range.start;

		if (!inj_map_is_ours(&maps->items[i]))
			continue;
		while (at < n && areas[at].end <= start)
			at++;
		history->n_orphans += at == n || areas[at].start > start;
	}
	return 0;
}

int inj_history_read(const struct inj_process *process, const struct inj_maps *maps,
		     struct inj_history *ret, struct inj_why *why)
{
	struct inj_history history = {};
	int r = collect(process, maps, &history);

	if (r == 0 && history.n_ledgers)
		qsort(history.ledgers, history.n_ledgers, sizeof(*history.ledgers), by_sequence);
	if (r == 0)
		r = count_orphans(maps, &history);
	if (r < 0)
		inj_history_deinit(&history);
	if (r == -E2BIG)
		return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
				  "process %d carries more records of updates than any dsud makes; "
				  "they are forged, or it was patched some thousand times. Restart "
				  "it.",
				  process->pid);
	if (r < 0)
		return inj_broke(why, r, "reading the ledgers of process %d", process->pid);
	*ret = history;
	return 0;
}

void inj_history_deinit(struct inj_history *history)
{
	for (size_t i = 0; i < history->n_ledgers; i++)
		inj_ledger_free(history->ledgers[i]);
	free(history->ledgers);
	free(history->unknown);
	*history = (struct inj_history){};
}

const struct inj_ledger *inj_history_active(const struct inj_history *history, const char *patch_id)
{
	for (size_t i = history->n_ledgers; i-- > 0;) {
		const struct inj_ledger *ledger = history->ledgers[i];

		if (ledger->complete && inj_ledger_active(ledger) &&
		    strcmp(inj_ledger_string(ledger, ledger->record->patch_id), patch_id) == 0)
			return ledger;
	}
	return NULL;
}

const struct inj_ledger *inj_history_replacing(const struct inj_history *history, inj_addr address,
					       const struct dsu_ledger_site **ret_site)
{
	for (size_t i = history->n_ledgers; i-- > 0;) {
		const struct inj_ledger *ledger = history->ledgers[i];

		if (!ledger->complete || !inj_ledger_active(ledger))
			continue;
		for (size_t j = 0; j < ledger->record->n_sites; j++)
			if (ledger->sites[j].address == address) {
				*ret_site = &ledger->sites[j];
				return ledger;
			}
	}
	return NULL;
}

const struct inj_ledger *inj_history_above(const struct inj_history *history,
					   const struct inj_ledger *ledger)
{
	const struct dsu_ledger *record = ledger->record;

	for (size_t i = history->n_ledgers; i-- > 0;) {
		const struct inj_ledger *other = history->ledgers[i];

		if (other == ledger || !other->complete || !inj_ledger_active(other))
			continue;
		for (size_t j = 0; j < other->record->n_sites; j++)
			if (other->sites[j].address - record->image_base < record->image_bytes)
				return other;
	}
	return NULL;
}

uint64_t inj_history_sequence(const struct inj_history *history)
{
	return history->n_ledgers ?
		       history->ledgers[history->n_ledgers - 1]->control.sequence : 0;
}
