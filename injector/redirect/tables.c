/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looks for labels of a function's entry in the tables that its code refers to: 8-byte addresses
 * (computed goto, switches of position-dependent code) and 4-byte offsets from any address that
 * the code forms (switches of position-independent code count from the table itself, label
 * differences from a label). Compilers align such tables to their entries and emit none of more
 * than 4096. Every match counts, whatever the data is meant to be.
 */
#include "injector/base/bisect.h"
#include "injector/redirect/flow-priv.h"

#include <stdlib.h>
#include <string.h>

#define TABLE_BYTES 16384u

static int compare_addresses(const void *a, const void *b)
{
	inj_addr left = *(const inj_addr *)a;
	inj_addr right = *(const inj_addr *)b;

	return left < right ? -1 : left > right;
}

static void sort_refers(struct inj_flow_map *map)
{
	size_t n = 0;

	qsort(map->refers, map->n_refers, sizeof(map->refers[0]), compare_addresses);
	for (size_t i = 0; i < map->n_refers; i++)
		if (n == 0 || map->refers[n - 1] != map->refers[i])
			map->refers[n++] = map->refers[i];
	map->n_refers = n;
}

/* The first known address not below `least`; n_refers when there is none. */
static size_t first_refer(const struct inj_flow_map *map, inj_addr least)
{
	return INJ_COUNT_WHILE(map->n_refers, i, map->refers[i] < least);
}

static void note_address(const struct inj_text *text, struct inj_flow_map *map, inj_addr label)
{
	uint64_t offset = label - text->address;

	if (offset > 0 && offset < INJ_ENTRY_BYTES)
		map->outside |= 1u << offset;
}

/* Is there a base such that base + difference is one of the inner entry bytes? */
static void note_difference(const struct inj_text *text, struct inj_flow_map *map,
			    int32_t difference)
{
	inj_addr least = text->address + 1 - (uint64_t)(int64_t)difference;

	for (size_t i = first_refer(map, least); i < map->n_refers; i++) {
		if (map->refers[i] - least >= INJ_ENTRY_BYTES - 1)
			break;
		note_address(text, map, map->refers[i] + (uint64_t)(int64_t)difference);
	}
}

static void look_through(const struct inj_text *text, struct inj_flow_map *map,
			 const uint8_t *data, size_t n)
{
	for (size_t at = 0; at + 4 <= n; at += 4) {
		int32_t difference;
		inj_addr label;

		memcpy(&difference, data + at, sizeof(difference));
		note_difference(text, map, difference);
		if (at + 8 > n)
			continue;
		memcpy(&label, data + at, sizeof(label));
		note_address(text, map, label);
	}
}

/* Page by page: the data may end before the longest table would. */
static size_t read_table(const struct inj_text *text, inj_addr address, uint8_t *data)
{
	size_t n = 0;

	while (n < TABLE_BYTES) {
		inj_addr from = address + n;
		size_t part = INJ_PAGE_BYTES - from % INJ_PAGE_BYTES;

		if (part > TABLE_BYTES - n)
			part = TABLE_BYTES - n;
		if (from + part < from || text->read(text->context, from, data + n, part) != 0)
			break;
		n += part;
	}
	return n;
}

void inj_flow_read_tables(const struct inj_text *text, struct inj_flow_map *map)
{
	uint8_t data[TABLE_BYTES];

	sort_refers(map);
	for (size_t i = 0; i < map->n_refers; i++) {
		inj_addr address = map->refers[i];

		if (address % 4 != 0 ||
		    (text->code && address - text->code_address < text->n_code))
			continue;
		look_through(text, map, data, read_table(text, address, data));
	}
}
