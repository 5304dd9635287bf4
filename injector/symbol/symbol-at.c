/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From addresses to names, and the relatives of a function. The symbols of a module are sorted by
 * address on first use (radix sort: files mostly come nearly sorted, and a million entries must
 * take milliseconds). Always holds: `reach` is the running maximum of symbol ends, so a search
 * backwards knows when nothing earlier can cover an address; a search looks at no more than
 * MAX_STEPS symbols even when a hostile table nests everything.
 */
#include <string.h>

#include "injector/symbol/symtab-priv.h"

#define MAX_STEPS 512

static bool has_address(const Elf64_Sym *symbol)
{
	return source_is_definition(symbol) && ELF64_ST_TYPE(symbol->st_info) != STT_TLS &&
	       symbol->st_shndx != SHN_ABS && symbol->st_shndx != SHN_COMMON;
}

static void place_symbols(struct inj_symbol_index *index, const struct source *source,
			  uint32_t exported)
{
	for (uint32_t i = 1; source->elf && i < source->table.n_symbols; i++)
		if (has_address(&source->table.symbols[i]))
			index->placed[index->n_placed++] = (struct placed){
				source->table.symbols[i].st_value, i, exported};
}

/* Least significant digit first, 11 bits at a time, as many digits as the highest address has. */
static bool sort_placed(struct placed *items, size_t n)
{
	INJ_FREE struct placed *other = malloc((n ? n : 1) * sizeof(*other));
	struct placed *from = items, *to = other;
	uint64_t all = 0;

	if (!other)
		return false;
	for (size_t i = 0; i < n; i++)
		all |= items[i].value;
	for (unsigned shift = 0; shift < 64 && all >> shift; shift += 11) {
		size_t starts[2048] = {0}, sum = 0;

		for (size_t i = 0; i < n; i++)
			starts[from[i].value >> shift & 2047]++;
		for (size_t i = 0; i < INJ_ARRAY_LENGTH(starts); i++) {
			size_t count = starts[i];

			starts[i] = sum;
			sum += count;
		}
		for (size_t i = 0; i < n; i++)
			to[starts[from[i].value >> shift & 2047]++] = from[i];
		struct placed *swap = from;

		from = to;
		to = swap;
	}
	if (from != items)
		memcpy(items, from, n * sizeof(*items));
	return true;
}

static const Elf64_Sym *raw_of(const struct inj_symbol_index *index, const struct placed *placed)
{
	const struct source *source = placed->exported ? &index->exported : &index->named;

	return &source->table.symbols[placed->symbol];
}

/* Where a symbol ends. One of unknown size ends where the next address has one, and with the symbol
 * that encloses it: labels in assembly. */
static uint64_t end_of(const struct inj_symbol_index *index, size_t at)
{
	const struct placed *placed = &index->placed[at];
	uint64_t size = raw_of(index, placed)->st_size;
	uint64_t end;

	if (size)
		return __builtin_add_overflow(placed->value, size, &end) ? UINT64_MAX : end;
	end = at > 0 && index->reach[at - 1] > placed->value ? index->reach[at - 1] : UINT64_MAX;
	for (size_t i = at + 1; i < index->n_placed && i < at + MAX_STEPS; i++)
		if (index->placed[i].value > placed->value)
			return index->placed[i].value < end ? index->placed[i].value : end;
	return end;
}

static int place_all(struct inj_symbol_index *index)
{
	/* .symtab holds all that .dynsym does; the small table in .gnu_debugdata does not. */
	bool both = !index->named.elf || index->named.elf == index->mini;
	size_t n = index->named.table.n_symbols + (both ? index->exported.table.n_symbols : 0);
	uint64_t reach = 0;

	if (index->placed_known)
		return 0;
	if (!index->placed)
		index->placed = malloc((n + 1) * sizeof(*index->placed));
	if (!index->reach)
		index->reach = malloc((n + 1) * sizeof(*index->reach));
	if (!index->placed || !index->reach)
		return -ENOMEM;
	index->n_placed = 0;
	place_symbols(index, &index->named, 0);
	if (both)
		place_symbols(index, &index->exported, 1);
	if (!sort_placed(index->placed, index->n_placed))
		return -ENOMEM;
	for (size_t i = 0; i < index->n_placed; i++) {
		uint64_t end = end_of(index, i);

		reach = end > reach ? end : reach;
		index->reach[i] = reach;
	}
	index->placed_known = true;
	return 0;
}

/* How many placed symbols start at or below value. */
static size_t count_up_to(const struct inj_symbol_index *index, uint64_t value)
{
	size_t low = 0, high = index->n_placed;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (index->placed[middle].value <= value)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* How telling a symbol is; the highest wins. */
static unsigned rank(const struct inj_symbol_index *index, const struct placed *placed)
{
	const Elf64_Sym *raw = raw_of(index, placed);
	unsigned type = ELF64_ST_TYPE(raw->st_info);
	unsigned binding = ELF64_ST_BIND(raw->st_info);
	unsigned result = 0;

	if (type == STT_FUNC || type == STT_GNU_IFUNC)
		result += 32;
	if (raw->st_size)
		result += 16;
	if (binding == STB_GLOBAL || binding == STB_GNU_UNIQUE)
		result += 8;
	else if (binding == STB_WEAK)
		result += 4;
	const struct source *source = placed->exported ? &index->exported : &index->named;
	const char *name = raw->st_name < source->table.n_strings
				   ? source->table.strings + raw->st_name
				   : "";

	/* "write" before "__write", a name before a label of the compiler. */
	if (*name && *name != '_')
		result += 2;
	if (*name != '.')
		result += 1;
	return result;
}

/* The best symbol that covers a link-time address, or NULL. */
static const struct placed *find_cover(const struct inj_symbol_index *index, uint64_t value)
{
	size_t at = count_up_to(index, value);
	const struct placed *best = NULL;
	unsigned best_rank = 0;

	for (unsigned steps = 0; at > 0 && steps < MAX_STEPS; steps++) {
		at--;
		if (index->reach[at] <= value)
			break;
		if (end_of(index, at) <= value)
			continue;
		unsigned this_rank = rank(index, &index->placed[at]);

		/* Of equals the innermost wins: it was met first. */
		if (!best || this_rank > best_rank) {
			best = &index->placed[at];
			best_rank = this_rank;
		}
	}
	return best;
}

bool inj_symbol_at(const struct inj_modules *modules, inj_addr address, struct inj_symbol *ret)
{
	const struct inj_module *module = inj_modules_at(modules, address);
	struct inj_symbol_index *index;

	if (!module || symtab_index(modules, module, &index) < 0 || place_all(index) < 0)
		return false;
	const struct placed *placed = find_cover(index, address - module->bias);

	return placed && source_symbol(module, placed->exported ? &index->exported : &index->named,
				       placed->symbol, ret);
}

/* Every symbol that starts exactly there. */
int symtab_visit_address(const struct inj_modules *modules, const struct inj_module *module,
			 inj_addr address, symtab_visit_fn visit, void *context)
{
	struct inj_symbol_index *index;
	struct inj_symbol symbol;
	uint64_t value = address - module->bias;
	int r = symtab_index(modules, module, &index);

	if (r == 0)
		r = place_all(index);
	if (r < 0)
		return r;
	for (size_t at = count_up_to(index, value);
	     at > 0 && index->placed[at - 1].value == value; at--) {
		const struct placed *placed = &index->placed[at - 1];

		if (source_symbol(module, placed->exported ? &index->exported : &index->named,
				  placed->symbol, &symbol) &&
		    !visit(context, &symbol))
			break;
	}
	return 0;
}
