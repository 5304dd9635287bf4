/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looks through symbol tables of many megabytes without loading them: who asks for one or two names
 * or addresses need not pay for an index of a million. First the strings are searched for the name,
 * then the symbols for those that begin there. Always holds: the answers are candidates, to be
 * checked against the symbol itself; none is missed; more than a bounded number is refused, for
 * then the index is the better way.
 */
#include <string.h>

#include "injector/base/bisect.h"
#include "injector/symbol/symtab-priv.h"

#define MAX_PLACES  256
#define MAX_SYMBOLS 4096
#define N_FILTER    4096u

/* The search for one name. */
struct sieve {
	const char *base;
	size_t length;
	uint32_t places[MAX_PLACES]; /* offsets of strings, ascending */
	size_t n_places;
	uint64_t filter[N_FILTER / 64]; /* bit per hash of a place */
	uint32_t *symbols;
	size_t n_symbols;
	bool full;
};

static unsigned filter_bit(uint32_t place)
{
	return (place * 2654435761u) >> 20; /* the upper 12 of 32 bits */
}

static bool add_place(struct sieve *sieve, uint64_t place)
{
	const unsigned bit = filter_bit((uint32_t)place);

	if (sieve->n_places == MAX_PLACES) {
		sieve->full = true;
		return false;
	}
	sieve->places[sieve->n_places++] = (uint32_t)place;
	sieve->filter[bit / 64] |= UINT64_C(1) << (bit % 64);
	return true;
}

/* A name may be the end of another one's string. What follows it is looked at later. */
static bool find_places(void *context, const uint8_t *bytes, size_t n, uint64_t offset)
{
	struct sieve *sieve = context;
	const uint8_t *end = bytes + n;

	for (const uint8_t *at = bytes;
	     (at = memmem(at, (size_t)(end - at), sieve->base, sieve->length)); at++) {
		const uint8_t *behind = at + sieve->length;

		if (behind == end) /* the next piece begins here */
			break;
		if ((*behind == '\0' || *behind == '.' || *behind == '@') &&
		    !add_place(sieve, offset + (uint64_t)(at - bytes)))
			return false;
	}
	return true;
}

static bool is_place(const struct sieve *sieve, uint32_t name)
{
	const unsigned bit = filter_bit(name);

	if (!(sieve->filter[bit / 64] >> (bit % 64) & 1))
		return false;
	const size_t low = INJ_COUNT_WHILE(sieve->n_places, i, sieve->places[i] < name);

	return low < sieve->n_places && sieve->places[low] == name;
}

static bool find_symbols(void *context, const uint8_t *bytes, size_t n, uint64_t offset)
{
	struct sieve *sieve = context;

	for (size_t at = 0; at + sizeof(Elf64_Sym) <= n; at += sizeof(Elf64_Sym)) {
		Elf64_Sym symbol;

		memcpy(&symbol.st_name, bytes + at, sizeof(symbol.st_name));
		if (!is_place(sieve, symbol.st_name))
			continue;
		memcpy(&symbol, bytes + at, sizeof(symbol));
		if (!source_is_definition(&symbol))
			continue;
		if (sieve->n_symbols == MAX_SYMBOLS) {
			sieve->full = true;
			return false;
		}
		sieve->symbols[sieve->n_symbols++] = (uint32_t)((offset + at) / sizeof(symbol));
	}
	return true;
}

static int run(const struct source *source, struct sieve *sieve)
{
	int r = inj_elf_pass_strings(source->elf, source->which, sieve->length, find_places, sieve);

	if (r == 0 && !sieve->full && sieve->n_places)
		r = inj_elf_pass_symbols(source->elf, source->which, find_symbols, sieve);
	return r == 0 && sieve->full ? -E2BIG : r;
}

int sift_names(struct source *source, const char *base, size_t length, const struct sifted **ret)
{
	INJ_FREE struct sieve *sieve = NULL;
	INJ_FREE uint32_t *symbols = NULL;
	INJ_FREE char *copy = NULL;
	struct sifted *sifted;
	int r;

	for (size_t i = 0; i < source->n_sifted; i++)
		if (strncmp(source->sifted[i].base, base, length) == 0 &&
		    source->sifted[i].base[length] == '\0') {
			*ret = &source->sifted[i];
			return 0;
		}
	if (source->n_sifted == MAX_SIFTED || length == 0 || length > INJ_ELF_MAX_OVERLAP)
		return -E2BIG;
	sieve = calloc(1, sizeof(*sieve));
	symbols = calloc(MAX_SYMBOLS, sizeof(*symbols));
	copy = strndup(base, length);
	if (!sieve || !symbols || !copy)
		return -ENOMEM;
	sieve->base = base;
	sieve->length = length;
	sieve->symbols = symbols;
	r = run(source, sieve);
	if (r < 0)
		return r;
	sifted = &source->sifted[source->n_sifted++];
	*sifted = (struct sifted){ INJ_TAKE(copy), INJ_TAKE(symbols), sieve->n_symbols };
	*ret = sifted;
	return 0;
}

struct window {
	struct inj_range range;
	bool exported;
	struct placed **items;
	size_t *n, *n_allocated;
	int error;
};

static bool overlaps(const Elf64_Sym *symbol, struct inj_range range)
{
	uint64_t end;

	if (__builtin_add_overflow(symbol->st_value, symbol->st_size, &end))
		end = UINT64_MAX;
	return symbol->st_value < range.end &&
	       (end > range.start || symbol->st_value >= range.start);
}

static bool append(struct window *window, struct placed placed)
{
	if (*window->n == *window->n_allocated) {
		const size_t n = *window->n_allocated ? 2 * *window->n_allocated : 1024;
		struct placed *grown = reallocarray(*window->items, n, sizeof(*grown));

		if (!grown) {
			window->error = -ENOMEM;
			return false;
		}
		*window->items = grown;
		*window->n_allocated = n;
	}
	(*window->items)[(*window->n)++] = placed;
	return true;
}

static bool place_symbols(void *context, const uint8_t *bytes, size_t n, uint64_t offset)
{
	struct window *window = context;

	for (size_t at = 0; at + sizeof(Elf64_Sym) <= n; at += sizeof(Elf64_Sym)) {
		Elf64_Sym symbol;

		memcpy(&symbol, bytes + at, sizeof(symbol));
		if (overlaps(&symbol, window->range) && symbol_has_address(&symbol) &&
		    !append(window, symbol_placed(&symbol,
						  (uint32_t)((offset + at) / sizeof(symbol)),
						  window->exported)))
			return false;
	}
	return true;
}

int sift_range(const struct source *source, struct inj_range range, bool exported,
	       struct placed **items, size_t *n, size_t *n_allocated)
{
	struct window window = { range, exported, items, n, n_allocated, 0 };
	int r;

	if (!source->elf)
		return 0;
	r = inj_elf_pass_symbols(source->elf, source->which, place_symbols, &window);
	return r < 0 ? r : window.error;
}
