/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The index of a symbol table by base name: one chain holds a function with all its parts. Always
 * holds: indexing is one pass and two arrays of 4 bytes a symbol; strings are those of the file.
 */
#include <string.h>

#include "injector/symbol/symtab-priv.h"

/* A symbol that is in no chain. Indices and hashes stay below INJ_ELF_MAX_SYMBOLS. */
#define NOT_CHAINED       UINT32_MAX
#define PREFETCH_DISTANCE 16

/* Eight bytes at a time: a million C++ names are some hundred megabytes. */
static uint32_t hash_bytes(const char *bytes, size_t length)
{
	const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15);
	uint64_t hash = length * factor;
	uint64_t word;

	for (; length >= sizeof(word); bytes += sizeof(word), length -= sizeof(word)) {
		memcpy(&word, bytes, sizeof(word));
		hash = (hash ^ word) * factor;
		hash ^= hash >> 32;
	}
	word = 0;
	memcpy(&word, bytes, length);
	hash = (hash ^ word) * factor;
	return (uint32_t)(hash >> 32);
}

/* Hash of every name; NOT_CHAINED for what has none to be found by. */
static void hash_names(struct source *source)
{
	const struct inj_elf_symbol_table *table = &source->table;

	for (uint32_t i = 1; i < table->n_symbols; i++) {
		const Elf64_Sym *symbol = &table->symbols[i];

		source->next[i] = NOT_CHAINED;
		if (!source_is_definition(symbol))
			continue;
		const char *name =
			symbol->st_name < table->n_strings ? table->strings + symbol->st_name : "";

		source->next[i] = hash_bytes(name, base_length(name, strlen(name))) & source->mask;
	}
}

/* Turn hashes into chains. Backwards, so that chains ascend. Without the prefetch nearly every head
 * misses cache and translation cache, and a million symbols take five times as long. */
static void link_chains(struct source *source)
{
	for (size_t i = source->table.n_symbols - 1; i > 0; i--) {
		uint32_t slot = source->next[i];

		if (i > PREFETCH_DISTANCE && source->next[i - PREFETCH_DISTANCE] != NOT_CHAINED)
			__builtin_prefetch(
				&source->heads[source->next[i - PREFETCH_DISTANCE]], 1);
		if (slot == NOT_CHAINED)
			continue;
		source->next[i] = source->heads[slot];
		source->heads[slot] = (uint32_t)i;
	}
}

int source_load(struct source *source)
{
	return source->table.symbols ?
		       0 :
		       inj_elf_symbol_table(source->elf, source->which, &source->table);
}

int source_chain(struct source *source)
{
	size_t n_heads = 16;
	int r;

	if (source->heads)
		return 0;
	r = source_load(source);
	if (r < 0)
		return r;
	while (n_heads < source->table.n_symbols)
		n_heads *= 2;
	INJ_FREE uint32_t *heads = calloc(n_heads, sizeof(*heads));

	source->next = malloc(source->table.n_symbols * sizeof(*source->next));
	if (!heads || !source->next) {
		free(INJ_TAKE(source->next));
		return -ENOMEM;
	}
	source->mask = (uint32_t)(n_heads - 1);
	source->heads = INJ_TAKE(heads);
	hash_names(source);
	link_chains(source);
	return 0;
}

uint32_t source_first(const struct source *source, const char *base, size_t length)
{
	return source->heads[hash_bytes(base, length) & source->mask];
}
