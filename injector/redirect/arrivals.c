/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the search for direct branches into the first bytes of functions. A module's code is long
 * and a patch may have thousands of functions, so the code is read once for all of them. Always
 * holds: a function's own branches are left out, whoever decodes it knows them exactly; a list that
 * says it is not cut is complete.
 */
#include "injector/redirect/arrivals.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "injector/arch/x86_64/scan.h"
#include "injector/base/bisect.h"

/* Behind the end of a rel8 jump's reach and its own two bytes. */
#define SHORT_REACH 144u
/* So many functions are looked for one after the other: each such search is that much faster. */
#define FEW_FUNCTIONS 4

struct function {
	struct inj_range range;
	size_t first, n; /* its arrivals */
	uint32_t n_entry, n_inner;
	bool entry_cut, inner_cut;
};

struct found {
	uint32_t function;
	struct inj_arrival arrival;
};

struct inj_arrivals {
	struct function *functions; /* ascending */
	size_t n_functions;
	struct inj_arrival *items;  /* function by function */
};

struct search {
	const uint8_t *code;
	size_t n_code;
	inj_addr address;
	struct inj_arrivals *arrivals;
	struct found *found; /* in the order of discovery */
	size_t n_found, n_allocated;
	int error;
};

static int compare_functions(const void *a, const void *b)
{
	const inj_addr left = ((const struct function *)a)->range.start;
	const inj_addr right = ((const struct function *)b)->range.start;

	return left < right ? -1 : left > right;
}

/* How many functions begin at or below an address. */
static size_t count_up_to(const struct inj_arrivals *arrivals, inj_addr address)
{
	return INJ_COUNT_WHILE(arrivals->n_functions, i,
			       arrivals->functions[i].range.start <= address);
}

static void append(struct search *search, const struct found *found)
{
	if (search->n_found == search->n_allocated) {
		const size_t n = search->n_allocated ? 2 * search->n_allocated : 64;
		struct found *grown = reallocarray(search->found, n, sizeof(*grown));

		if (!grown) {
			search->error = -ENOMEM;
			return;
		}
		search->found = grown;
		search->n_allocated = n;
	}
	search->found[search->n_found++] = *found;
}

static void add(struct search *search, size_t index, size_t at, inj_addr target, bool confirmed)
{
	struct function *function = &search->arrivals->functions[index];
	const uint64_t offset = target - function->range.start;

	if (inj_range_has(function->range, search->address + at))
		return;
	if (offset == 0 ? function->n_entry == INJ_MAX_CALL_SITES :
			  function->n_inner == INJ_MAX_INNER_ARRIVALS) {
		*(offset == 0 ? &function->entry_cut : &function->inner_cut) = true;
		return;
	}
	++*(offset == 0 ? &function->n_entry : &function->n_inner);
	append(search, &(struct found){
			       .function = (uint32_t)index,
			       .arrival = { .at = (uint32_t)at, .offset = (uint8_t)offset,
					    .call = search->code[at] == 0xe8,
					    .confirmed = confirmed },
		       });
}

static void on_marked(void *context, size_t at, inj_addr target)
{
	struct search *search = context;
	const struct function *functions = search->arrivals->functions;

	/* Short functions may begin within the first bytes of others. */
	for (size_t i = count_up_to(search->arrivals, target);
	     i > 0 && target - functions[i - 1].range.start < INJ_ENTRY_BYTES; i--)
		add(search, i - 1, at, target, false);
}

static struct inj_range entry_of(const struct function *function)
{
	return (struct inj_range){ function->range.start,
				   function->range.start + INJ_ENTRY_BYTES };
}

static void search_each(struct search *search)
{
	for (size_t i = 0; i < search->arrivals->n_functions; i++) {
		const struct inj_range entry = entry_of(&search->arrivals->functions[i]);
		inj_addr target;
		size_t at;

		for (size_t from = 0; inj_scan_branch32(search->code, search->n_code,
							search->address, from, entry, &at, &target);
		     from = at + 1)
			add(search, i, at, target, false);
	}
}

static void search_all(struct search *search)
{
	const struct inj_arrivals *arrivals = search->arrivals;
	const uint64_t n_bits = search->n_code / INJ_SCAN_GRANULE + 2;
	INJ_FREE uint64_t *bits = calloc(n_bits / 64 + 1, sizeof(*bits));
	const struct inj_scan_marks marks = { search->address, n_bits, bits };

	if (!bits) {
		search->error = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < arrivals->n_functions; i++) {
		const struct inj_range entry = entry_of(&arrivals->functions[i]);
		const uint64_t first = (entry.start - search->address) / INJ_SCAN_GRANULE;
		const uint64_t last = (entry.end - 1 - search->address) / INJ_SCAN_GRANULE;

		bits[first / 64] |= UINT64_C(1) << (first % 64);
		bits[last / 64] |= UINT64_C(1) << (last % 64);
	}
	inj_scan_marked32(search->code, search->n_code, search->address, &marks, on_marked, search);
}

/* Two bytes look like a jump often; what counts must be an instruction. */
static void search_short(struct search *search, size_t index)
{
	const struct inj_range entry = entry_of(&search->arrivals->functions[index]);
	const size_t offset = entry.start - search->address;
	const size_t end = search->n_code - offset > SHORT_REACH ? offset + SHORT_REACH :
								   search->n_code;
	inj_addr target;
	size_t at;

	for (size_t from = offset > SHORT_REACH ? offset - SHORT_REACH : 0;
	     inj_scan_jump8(search->code, end, search->address, from, entry, &at, &target);
	     from = at + 1)
		if (inj_scan_confirm(search->code, search->n_code, search->address, at, target))
			add(search, index, at, target, true);
}

/* From the order of discovery to that of functions, which keeps the former within each. */
static int arrange(struct search *search)
{
	struct inj_arrivals *arrivals = search->arrivals;
	size_t first = 0;

	arrivals->items = calloc(search->n_found + 1, sizeof(*arrivals->items));
	if (!arrivals->items)
		return -ENOMEM;
	for (size_t i = 0; i < arrivals->n_functions; i++) {
		struct function *function = &arrivals->functions[i];

		function->first = first;
		first += function->n_entry + function->n_inner;
	}
	for (size_t i = 0; i < search->n_found; i++) {
		struct function *function = &arrivals->functions[search->found[i].function];

		arrivals->items[function->first + function->n++] = search->found[i].arrival;
	}
	return 0;
}

static void take_functions(struct search *search, const struct inj_range *functions, size_t n)
{
	struct inj_arrivals *arrivals = search->arrivals;

	for (size_t i = 0; i < n; i++)
		if (functions[i].start - search->address < search->n_code)
			arrivals->functions[arrivals->n_functions++].range = functions[i];
	qsort(arrivals->functions, arrivals->n_functions, sizeof(*arrivals->functions),
	      compare_functions);
}

int inj_arrivals_find(const uint8_t *code, size_t n_code, inj_addr code_address,
		      const struct inj_range *functions, size_t n, struct inj_arrivals **ret)
{
	INJ_CLEANUP(inj_arrivals_guard) struct inj_arrivals *arrivals =
		calloc(1, sizeof(*arrivals));
	struct search search = { .code = code, .n_code = n_code, .address = code_address,
				 .arrivals = arrivals };
	int r;

	if (n_code > UINT32_MAX || n > UINT32_MAX)
		return -EFBIG;
	if (arrivals)
		arrivals->functions = calloc(n + 1, sizeof(*arrivals->functions));
	if (!arrivals || !arrivals->functions)
		return -ENOMEM;
	take_functions(&search, functions, n);
	if (arrivals->n_functions <= FEW_FUNCTIONS)
		search_each(&search);
	else
		search_all(&search);
	for (size_t i = 0; i < arrivals->n_functions; i++)
		search_short(&search, i);
	r = search.error ? search.error : arrange(&search);
	free(search.found);
	if (r == 0)
		*ret = INJ_TAKE(arrivals);
	return r;
}

void inj_arrivals_free(struct inj_arrivals *arrivals)
{
	if (!arrivals)
		return;
	free(arrivals->functions);
	free(arrivals->items);
	free(arrivals);
}

bool inj_arrivals_of(const struct inj_arrivals *arrivals, inj_addr entry,
		     struct inj_arrival_list *ret)
{
	const size_t i = count_up_to(arrivals, entry);
	const struct function *function;

	if (i == 0 || arrivals->functions[i - 1].range.start != entry)
		return false;
	function = &arrivals->functions[i - 1];
	*ret = (struct inj_arrival_list){
		.items = arrivals->items + function->first,
		.n = function->n,
		.entry_cut = function->entry_cut,
		.inner_cut = function->inner_cut,
	};
	return true;
}

int inj_arrivals_take(const struct inj_text *text, struct inj_arrivals **ret_own,
		      struct inj_arrival_list *ret)
{
	const struct inj_range function = { text->address, text->address + text->size };
	int r;

	*ret_own = NULL;
	if (text->arrivals && inj_arrivals_of(text->arrivals, text->address, ret))
		return 0;
	r = inj_arrivals_find(text->code, text->n_code, text->code_address, &function, 1, ret_own);
	if (r == 0)
		inj_arrivals_of(*ret_own, text->address, ret);
	return r;
}
