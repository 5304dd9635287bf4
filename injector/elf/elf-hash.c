/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looks names up in the hash tables of the dynamic symbol table, touching only the few bytes that a
 * question needs, and counts the table's symbols. Always holds: chains are bounded by the number of
 * symbols that fit the file, so a cyclic chain ends. A damaged table finds nothing; it is never
 * followed outside the file.
 */
#include <string.h>

#include "injector/elf/elf-priv.h"

/* Header of DT_GNU_HASH, then bloom filter words, buckets, chain values. */
struct gnu_hash {
	uint32_t n_buckets, first_symbol, n_bloom, shift;
	uint64_t bloom, buckets, chains; /* offsets inside the extent */
};

static bool read_u32(const struct inj_elf *elf, const struct elf_extent *table, uint64_t offset,
		     uint32_t *ret)
{
	if (!elf_inside(offset, sizeof(*ret), table->bytes))
		return false;
	const uint8_t *bytes = elf_view(elf, table->offset + offset, sizeof(*ret));

	if (!bytes)
		return false;
	memcpy(ret, bytes, sizeof(*ret));
	return true;
}

static bool gnu_hash_header(const struct inj_elf *elf, struct gnu_hash *ret)
{
	const struct elf_extent *table = &elf->dynamic.gnu_hash;
	struct gnu_hash hash = {0};

	if (!table->bytes || !read_u32(elf, table, 0, &hash.n_buckets) ||
	    !read_u32(elf, table, 4, &hash.first_symbol) ||
	    !read_u32(elf, table, 8, &hash.n_bloom) || !read_u32(elf, table, 12, &hash.shift))
		return false;
	if (hash.n_buckets == 0 || hash.n_bloom == 0 || hash.n_bloom & (hash.n_bloom - 1))
		return false;
	hash.bloom = 16;
	hash.buckets = hash.bloom + (uint64_t)hash.n_bloom * 8;
	hash.chains = hash.buckets + (uint64_t)hash.n_buckets * 4;
	if (hash.chains > table->bytes)
		return false;
	*ret = hash;
	return true;
}

static uint32_t gnu_hash_of(const char *name)
{
	uint32_t hash = 5381;

	for (const unsigned char *c = (const unsigned char *)name; *c; c++)
		hash = hash * 33 + *c;
	return hash;
}

/* The hash function of gABI chapter 5. */
static uint32_t sysv_hash_of(const char *name)
{
	uint32_t hash = 0;

	for (const unsigned char *c = (const unsigned char *)name; *c; c++) {
		hash = (hash << 4) + *c;
		hash = (hash ^ (hash >> 28 << 4)) & 0x0fffffff;
	}
	return hash;
}

static bool symbol_at(const struct inj_elf *elf, size_t index, Elf64_Sym *ret)
{
	const struct elf_extent *symbols = &elf->dynamic.symbols;

	if (index >= symbols->bytes / sizeof(*ret))
		return false;
	const uint8_t *bytes =
		elf_view(elf, symbols->offset + index * sizeof(*ret), sizeof(*ret));

	if (!bytes)
		return false;
	memcpy(ret, bytes, sizeof(*ret));
	return true;
}

static bool has_name(const struct inj_elf *elf, const Elf64_Sym *symbol, const char *name,
		     size_t length)
{
	const struct elf_extent *strings = &elf->dynamic.strings;

	if (!elf_inside(symbol->st_name, length + 1, strings->bytes))
		return false;
	const uint8_t *bytes = elf_view(elf, strings->offset + symbol->st_name, length + 1);

	return bytes && memcmp(bytes, name, length + 1) == 0;
}

/* How well a symbol's version answers the question; 0: not at all. */
enum fit {
	FIT_NONE,
	FIT_HIDDEN,  /* no version asked; a non-default one */
	FIT_BASE,    /* no version asked; an unversioned symbol of a versioned object */
	FIT_DEFAULT, /* what was asked for */
};

static enum fit version_fit(const struct inj_elf *elf, size_t index, const char *version)
{
	if (!elf->dynamic.versions.bytes)
		return FIT_DEFAULT;
	uint16_t raw = elf_version_index(elf, index);
	bool hidden = raw & 0x8000;
	uint16_t number = raw & 0x7fff;

	if (number == VER_NDX_LOCAL)
		return FIT_NONE;
	if (!version) {
		if (hidden)
			return FIT_HIDDEN;
		return number == VER_NDX_GLOBAL ? FIT_BASE : FIT_DEFAULT;
	}
	if (number == VER_NDX_GLOBAL)
		return hidden ? FIT_NONE : FIT_DEFAULT;
	const char *name = elf_version_name(elf, number);

	return name && strcmp(name, version) == 0 ? FIT_DEFAULT : FIT_NONE;
}

/* One question; the best answer so far. */
struct query {
	const char *name;
	size_t length;
	const char *version;
	enum fit best;
	size_t index;
	uint64_t value;    /* of the best one */
	bool several;      /* best is FIT_HIDDEN, and another such symbol lies elsewhere */
};

/* Consider one symbol of a chain. Return: true when it cannot get any better. */
static bool consider(const struct inj_elf *elf, struct query *query, size_t index)
{
	Elf64_Sym symbol;

	if (!symbol_at(elf, index, &symbol) || symbol.st_shndx == SHN_UNDEF ||
	    ELF64_ST_BIND(symbol.st_info) == STB_LOCAL ||
	    !has_name(elf, &symbol, query->name, query->length))
		return false;
	enum fit fit = version_fit(elf, index, query->version);

	if (fit > query->best) {
		query->best = fit;
		query->index = index;
		query->value = symbol.st_value;
		query->several = false;
	} else if (fit == FIT_HIDDEN && query->best == FIT_HIDDEN) {
		query->several |= symbol.st_value != query->value;
	}
	return query->best == FIT_DEFAULT;
}

static void search_gnu_hash(const struct inj_elf *elf, const struct gnu_hash *hash,
			    struct query *query)
{
	const struct elf_extent *table = &elf->dynamic.gnu_hash;
	uint32_t value = gnu_hash_of(query->name);
	uint64_t word_offset = hash->bloom + (uint64_t)(value / 64 & (hash->n_bloom - 1)) * 8;
	const uint8_t *bytes = elf_view(elf, table->offset + word_offset, 8);
	uint64_t word;
	uint32_t index, chained;

	if (!bytes)
		return;
	memcpy(&word, bytes, sizeof(word));
	if (!(word >> (value % 64) & word >> (value >> (hash->shift & 31)) % 64 & 1))
		return;
	if (!read_u32(elf, table, hash->buckets + (uint64_t)(value % hash->n_buckets) * 4,
		      &index) ||
	    index < hash->first_symbol)
		return;
	/* A chain ascends through the table, so the table's end is its end. */
	for (;; index++) {
		uint64_t offset = hash->chains + (uint64_t)(index - hash->first_symbol) * 4;

		if (!read_u32(elf, table, offset, &chained))
			return;
		if ((chained | 1) == (value | 1) && consider(elf, query, index))
			return;
		if (chained & 1 || index == UINT32_MAX)
			return;
	}
}

static void search_sysv_hash(const struct inj_elf *elf, struct query *query)
{
	const struct elf_extent *table = &elf->dynamic.hash;
	uint32_t n_buckets, n_chains, index;

	if (!table->bytes || !read_u32(elf, table, 0, &n_buckets) ||
	    !read_u32(elf, table, 4, &n_chains) || n_buckets == 0)
		return;
	uint64_t chains = 8 + (uint64_t)n_buckets * 4;
	uint64_t limit = chains <= table->bytes ? (table->bytes - chains) / 4 : 0;

	if (n_chains < limit)
		limit = n_chains;
	if (!read_u32(elf, table, 8 + (uint64_t)(sysv_hash_of(query->name) % n_buckets) * 4,
		      &index))
		return;
	for (uint64_t steps = 0; index && index < limit && steps < limit; steps++) {
		if (consider(elf, query, index) ||
		    !read_u32(elf, table, chains + (uint64_t)index * 4, &index))
			return;
	}
}

int inj_elf_dynamic_lookup(const struct inj_elf *elf, const char *name, const char *version,
			   size_t *ret_index)
{
	struct query query = {.name = name, .length = strlen(name), .version = version};
	struct gnu_hash hash;

	if (!*name || !elf->dynamic.symbols.bytes)
		return -ENOENT;
	if (gnu_hash_header(elf, &hash))
		search_gnu_hash(elf, &hash, &query);
	else
		search_sysv_hash(elf, &query);
	if (query.best == FIT_NONE)
		return -ENOENT;
	if (query.several)
		return -ENOTUNIQ;
	*ret_index = query.index;
	return 0;
}

/* Symbols as the GNU table knows them: the last chain's end is the table's end. */
static size_t count_gnu_hash(const struct inj_elf *elf, const struct gnu_hash *hash)
{
	const struct elf_extent *table = &elf->dynamic.gnu_hash;
	uint32_t highest = 0, value;

	for (uint32_t i = 0; i < hash->n_buckets; i++) {
		if (!read_u32(elf, table, hash->buckets + (uint64_t)i * 4, &value))
			return 0;
		if (value > highest)
			highest = value;
	}
	if (highest < hash->first_symbol)
		return hash->first_symbol;
	for (;; highest++) {
		uint64_t offset = hash->chains + (uint64_t)(highest - hash->first_symbol) * 4;

		if (!read_u32(elf, table, offset, &value) || highest == UINT32_MAX)
			return 0;
		if (value & 1)
			return (size_t)highest + 1;
	}
}

/* Number of dynamic symbols that the hash tables vouch for; 0 when they say nothing. */
size_t elf_hash_count(const struct inj_elf *elf)
{
	struct gnu_hash hash;
	uint32_t n_chains;

	/* DT_HASH states the number, so it is the better witness where there are both. */
	if (elf->dynamic.hash.bytes && read_u32(elf, &elf->dynamic.hash, 4, &n_chains))
		return n_chains;
	if (gnu_hash_header(elf, &hash))
		return count_gnu_hash(elf, &hash);
	return 0;
}
