/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Symbol versions: the index of each dynamic symbol (.gnu.version) and the name of each index, from
 * the definitions and the needs of the object. Always holds: both linked lists are walked forward
 * only, at most as many steps as stated and as fit their segment. What is damaged has no version.
 * Source: Linux Standard Base Core, "Symbol Versioning".
 */
#include <string.h>

#include "injector/elf/elf-priv.h"

#define MAX_VERSIONS 0x8000

uint16_t elf_version_index(const struct inj_elf *elf, size_t symbol)
{
	const struct elf_extent *table = &elf->dynamic.versions;
	uint16_t index;

	if (symbol >= table->bytes / sizeof(index))
		return VER_NDX_GLOBAL;
	const uint8_t *bytes =
		elf_view(elf, table->offset + symbol * sizeof(index), sizeof(index));

	if (!bytes)
		return VER_NDX_GLOBAL;
	memcpy(&index, bytes, sizeof(index));
	return index;
}

static bool read_part(const struct inj_elf *elf, const struct elf_extent *table, uint64_t offset,
		      void *part, size_t length)
{
	if (!elf_inside(offset, length, table->bytes))
		return false;
	const uint8_t *bytes = elf_view(elf, table->offset + offset, length);

	if (!bytes)
		return false;
	memcpy(part, bytes, length);
	return true;
}

static void keep_name(struct inj_elf *elf, uint16_t index, uint32_t string)
{
	const struct elf_extent *strings = &elf->dynamic.strings;

	index &= 0x7fff;
	if (string >= strings->bytes || elf->version_names[index])
		return;
	elf->version_names[index] =
		elf_string(elf, strings->offset + string, strings->offset + strings->bytes);
}

static void read_definitions(struct inj_elf *elf)
{
	const struct elf_extent *table = &elf->dynamic.verdef;
	uint64_t offset = 0;

	for (uint64_t i = 0; i < elf->dynamic.n_verdef && i < MAX_VERSIONS; i++) {
		Elf64_Verdef definition;
		Elf64_Verdaux name;

		if (!read_part(elf, table, offset, &definition, sizeof(definition)))
			return;
		/* The base definition names the object itself, not a version of its symbols. */
		if (!(definition.vd_flags & VER_FLG_BASE) && definition.vd_cnt &&
		    read_part(elf, table, offset + definition.vd_aux, &name, sizeof(name)))
			keep_name(elf, definition.vd_ndx, name.vda_name);
		if (!definition.vd_next)
			return;
		offset += definition.vd_next;
	}
}

/* Versions needed of one object. Return: entries consumed of the common budget. */
static uint64_t read_need(struct inj_elf *elf, uint64_t offset, uint64_t count, uint64_t budget)
{
	uint64_t i;

	for (i = 0; i < count && i < budget; i++) {
		Elf64_Vernaux name;

		if (!read_part(elf, &elf->dynamic.verneed, offset, &name, sizeof(name)))
			break;
		keep_name(elf, name.vna_other, name.vna_name);
		if (!name.vna_next)
			break;
		offset += name.vna_next;
	}
	return i + 1;
}

static void read_needs(struct inj_elf *elf)
{
	uint64_t offset = 0;
	uint64_t budget = MAX_VERSIONS;

	for (uint64_t i = 0; i < elf->dynamic.n_verneed && budget; i++) {
		Elf64_Verneed need;

		if (!read_part(elf, &elf->dynamic.verneed, offset, &need, sizeof(need)))
			return;
		uint64_t used = read_need(elf, offset + need.vn_aux, need.vn_cnt, budget);

		budget -= used < budget ? used : budget;
		if (!need.vn_next)
			return;
		offset += need.vn_next;
	}
}

/* Name of a version index without its hidden bit; NULL for the two reserved ones. */
const char *elf_version_name(const struct inj_elf *elf, uint16_t index)
{
	struct inj_elf *cache = elf_cache(elf);

	if (index <= VER_NDX_GLOBAL || index >= MAX_VERSIONS)
		return NULL;
	if (!elf->version_names) {
		cache->version_names = calloc(MAX_VERSIONS, sizeof(*elf->version_names));
		if (!elf->version_names)
			return NULL;
		read_definitions(cache);
		read_needs(cache);
	}
	return elf->version_names[index];
}
