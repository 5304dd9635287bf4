/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From addresses to names, and the relatives of a function. The symbols of a module are sorted by
 * address on first use (radix sort: files mostly come nearly sorted, and a million entries must
 * take milliseconds); of a large table, for the first few questions, only those around the address.
 * Always holds: `reach` is the running maximum of symbol ends, so a search backwards knows when
 * nothing earlier can cover an address; a search looks at no more than MAX_STEPS symbols even when
 * a hostile table nests everything.
 */
#include <string.h>

#include "injector/base/bisect.h"
#include "injector/symbol/symtab-priv.h"

#define MAX_STEPS 512
/* A symbol of unknown size names nothing farther away than this. */
#define UNSIZED_REACH (256u << 10)
/* On either side of an address; more questions about one place come together. */
#define WINDOW_REACH (64u << 10)
#define MAX_WINDOWS 3

bool symbol_has_address(const Elf64_Sym *symbol)
{
	return source_is_definition(symbol) && ELF64_ST_TYPE(symbol->st_info) != STT_TLS &&
	       symbol->st_shndx != SHN_ABS && symbol->st_shndx != SHN_COMMON;
}

struct placed symbol_placed(const Elf64_Sym *symbol, uint32_t index, bool exported)
{
	return (struct placed){ .value = symbol->st_value, .size = symbol->st_size,
				.symbol = index, .info = symbol->st_info, .exported = exported };
}

static void place_symbols(struct inj_symbol_index *index, const struct source *source,
			  bool exported)
{
	for (uint32_t i = 1; source->table.symbols && i < source->table.n_symbols; i++)
		if (symbol_has_address(&source->table.symbols[i]))
			index->placed[index->n_placed++] =
				symbol_placed(&source->table.symbols[i], i, exported);
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

/* Where a symbol ends. One of unknown size ends where the next address has one, and with the symbol
 * that encloses it: labels in assembly. */
static uint64_t end_of(const struct inj_symbol_index *index, size_t at)
{
	const struct placed *placed = &index->placed[at];
	uint64_t end;

	if (placed->size)
		return __builtin_add_overflow(placed->value, placed->size, &end) ? UINT64_MAX : end;
	if (__builtin_add_overflow(placed->value, UNSIZED_REACH, &end))
		end = UINT64_MAX;
	if (at > 0 && index->reach[at - 1] > placed->value && index->reach[at - 1] < end)
		end = index->reach[at - 1];
	for (size_t i = at + 1; i < index->n_placed && i < at + MAX_STEPS; i++)
		if (index->placed[i].value > placed->value)
			return index->placed[i].value < end ? index->placed[i].value : end;
	return end;
}

static int arrange(struct inj_symbol_index *index, struct inj_range answers)
{
	uint64_t reach = 0;

	free(index->reach);
	index->reach = malloc((index->n_placed + 1) * sizeof(*index->reach));
	if (!index->reach || !sort_placed(index->placed, index->n_placed))
		return -ENOMEM;
	for (size_t i = 0; i < index->n_placed; i++) {
		uint64_t end = end_of(index, i);

		reach = end > reach ? end : reach;
		index->reach[i] = reach;
	}
	index->answers = answers;
	return 0;
}

/* .symtab holds all that .dynsym does; the small table in .gnu_debugdata does not. */
static bool needs_both(const struct inj_symbol_index *index)
{
	return !index->named.elf || index->named.elf == index->mini;
}

static void unplace(struct inj_symbol_index *index)
{
	free(INJ_TAKE(index->placed));
	index->n_placed = 0;
	index->answers = (struct inj_range){ 0, 0 };
}

static int place_all(struct inj_symbol_index *index)
{
	const bool both = needs_both(index);
	size_t n = 0;

	unplace(index);
	if (index->named.elf && source_load(&index->named) == 0)
		n += index->named.table.n_symbols;
	if (both && index->exported.elf && source_load(&index->exported) == 0)
		n += index->exported.table.n_symbols;
	index->placed = malloc((n + 1) * sizeof(*index->placed));
	if (!index->placed)
		return -ENOMEM;
	place_symbols(index, &index->named, false);
	if (both)
		place_symbols(index, &index->exported, true);
	return arrange(index, (struct inj_range){ 0, UINT64_MAX });
}

static int place_window(struct inj_symbol_index *index, uint64_t value)
{
	const struct inj_range answers = {
		value > WINDOW_REACH ? value - WINDOW_REACH : 0,
		value < UINT64_MAX - WINDOW_REACH ? value + WINDOW_REACH : UINT64_MAX,
	};
	/* With all that may name something in there. */
	const struct inj_range window = {
		answers.start > UNSIZED_REACH ? answers.start - UNSIZED_REACH : 0,
		answers.end,
	};
	size_t n_allocated = 0;
	int r;

	unplace(index);
	index->n_windows++;
	r = sift_range(&index->named, window, false, &index->placed, &index->n_placed,
		       &n_allocated);
	if (r == 0 && needs_both(index))
		r = sift_range(&index->exported, window, true, &index->placed, &index->n_placed,
			       &n_allocated);
	return r == 0 ? arrange(index, answers) : r;
}

/* Place what is needed for an answer about an address. Return: 0 or -ENOMEM. */
static int place(struct inj_symbol_index *index, uint64_t value)
{
	const bool large = index->named.large || (needs_both(index) && index->exported.large);
	int r = -E2BIG;

	if (inj_range_has(index->answers, value))
		return 0;
	if (large && index->n_windows < MAX_WINDOWS)
		r = place_window(index, value);
	return r == 0 || r == -ENOMEM ? r : place_all(index);
}

/* How many placed symbols start at or below value. */
static size_t count_up_to(const struct inj_symbol_index *index, uint64_t value)
{
	return INJ_COUNT_WHILE(index->n_placed, i, index->placed[i].value <= value);
}

/* How telling a symbol is; the highest wins. */
static unsigned rank(const struct inj_symbol_index *index, const struct placed *placed)
{
	const struct source *source = placed->exported ? &index->exported : &index->named;
	const unsigned type = ELF64_ST_TYPE(placed->info);
	const unsigned binding = ELF64_ST_BIND(placed->info);
	struct inj_elf_symbol raw;
	unsigned result = 0;

	if (!source_raw(source, placed->symbol, &raw))
		return 0;
	if (type == STT_FUNC || type == STT_GNU_IFUNC)
		result += 32;
	if (placed->size)
		result += 16;
	if (binding == STB_GLOBAL || binding == STB_GNU_UNIQUE)
		result += 8;
	else if (binding == STB_WEAK)
		result += 4;
	/* "write" before "__write", a name before a label of the compiler. */
	if (*raw.name && *raw.name != '_')
		result += 2;
	if (*raw.name != '.')
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

	if (!module || symtab_index(modules, module, &index) < 0 ||
	    place(index, address - module->bias) < 0)
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
		r = place(index, value);
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
