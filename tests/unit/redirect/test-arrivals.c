/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <string.h>

#include "injector/redirect/arrivals.h"

#define CODE 0x555555554000ull
#define N_FUNCTIONS 100
#define STRIDE 64
#define FIRST 1024

static uint8_t code[FIRST + N_FUNCTIONS * STRIDE + 4096];
static struct inj_range functions[N_FUNCTIONS];

static void plant(size_t at, uint8_t opcode, inj_addr target)
{
	const uint32_t displacement = (uint32_t)(target - (CODE + at + 5));

	code[at] = opcode;
	memcpy(code + at + 1, &displacement, 4);
}

static void set_up(void)
{
	memset(code, 0x90, sizeof(code));
	for (size_t i = 0; i < N_FUNCTIONS; i++) {
		/* in no order */
		const inj_addr start = CODE + FIRST + (i * 37 % N_FUNCTIONS) * STRIDE;

		functions[i] = (struct inj_range){ start, start + 32 };
	}
}

static struct inj_arrival_list list_of(size_t n, inj_addr entry)
{
	static struct inj_arrivals *arrivals;
	struct inj_arrival_list list;

	inj_arrivals_free(arrivals);
	cr_assert_eq(inj_arrivals_find(code, sizeof(code), CODE, functions, n, &arrivals), 0);
	cr_assert(inj_arrivals_of(arrivals, entry, &list));
	return list;
}

/* The search for a few functions and the one for many tell the same. */
Test(arrivals, few_and_many, .init = set_up)
{
	static const size_t counts[] = { 1, N_FUNCTIONS };
	const inj_addr entry = functions[0].start;

	plant(100, 0xe8, entry);
	plant(200, 0xe9, entry + 4);
	plant(300, 0xe9, entry + 9);                      /* behind the first bytes */
	plant(entry - CODE + 10, 0xe9, entry + 3);        /* its own */
	memcpy(code + (entry - CODE) + 40, "\xeb\xdb", 2); /* rel8 to entry + 5 */
	plant(sizeof(code) - 5, 0xe8, entry);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(counts); i++) {
		const struct inj_arrival_list list = list_of(counts[i], entry);

		cr_assert_eq(list.n, 4);
		cr_assert(!list.entry_cut && !list.inner_cut);
		cr_assert(list.items[0].at == 100 && list.items[0].offset == 0);
		cr_assert(list.items[0].call && !list.items[0].confirmed);
		cr_assert(list.items[1].at == 200 && list.items[1].offset == 4);
		cr_assert(!list.items[1].call);
		cr_assert(list.items[2].at == sizeof(code) - 5 && list.items[2].offset == 0);
		cr_assert(list.items[3].at == entry - CODE + 40 && list.items[3].offset == 5);
		cr_assert(list.items[3].confirmed);
	}
}

Test(arrivals, each_function_has_its_own, .init = set_up)
{
	for (size_t i = 0; i < N_FUNCTIONS; i++)
		plant(8 * i, 0xe8, functions[i].start);
	for (size_t i = 0; i < N_FUNCTIONS; i++) {
		const struct inj_arrival_list list = list_of(N_FUNCTIONS, functions[i].start);

		cr_assert_eq(list.n, 1);
		cr_assert_eq(list.items[0].at, 8 * i);
	}
}

/* Two functions whose first bytes overlap: a branch between them is told to both. */
Test(arrivals, short_functions, .init = set_up)
{
	functions[1] = (struct inj_range){ functions[0].start + 4, functions[0].start + 7 };
	plant(100, 0xe9, functions[0].start + 6);
	for (size_t n = 2; n <= N_FUNCTIONS; n += N_FUNCTIONS - 2) {
		cr_assert_eq(list_of(n, functions[0].start).items[0].offset, 6);
		cr_assert_eq(list_of(n, functions[1].start).items[0].offset, 2);
	}
}

Test(arrivals, too_many_are_told, .init = set_up)
{
	const size_t far = FIRST + N_FUNCTIONS * STRIDE;
	const inj_addr entry = functions[0].start;
	struct inj_arrival_list list;

	for (size_t i = 0; i < INJ_MAX_INNER_ARRIVALS; i++)
		plant(far + 8 * i, 0xe9, entry + 1);
	list = list_of(N_FUNCTIONS, entry);
	cr_assert_eq(list.n, INJ_MAX_INNER_ARRIVALS);
	cr_assert_not(list.inner_cut);
	plant(100, 0xe9, entry + 8);
	plant(200, 0xe8, entry);
	list = list_of(N_FUNCTIONS, entry);
	cr_assert_eq(list.n, INJ_MAX_INNER_ARRIVALS + 1);
	cr_assert(list.inner_cut && !list.entry_cut);
}

Test(arrivals, unknown_functions, .init = set_up)
{
	INJ_CLEANUP(inj_arrivals_guard) struct inj_arrivals *arrivals = NULL;
	struct inj_arrival_list list;

	functions[0].start = CODE - 16; /* not in this code */
	cr_assert_eq(inj_arrivals_find(code, sizeof(code), CODE, functions, 2, &arrivals), 0);
	cr_assert_not(inj_arrivals_of(arrivals, functions[0].start, &list));
	cr_assert_not(inj_arrivals_of(arrivals, functions[2].start, &list));
	cr_assert(inj_arrivals_of(arrivals, functions[1].start, &list));
	cr_assert_eq(list.n, 0);
}

/* Entries at the very end, and code of any length. */
Test(arrivals, ends, .init = set_up)
{
	for (size_t n = 1; n < 80; n++) {
		const struct inj_range last = { CODE + n - 1, CODE + n };
		struct inj_range many[8];
		INJ_CLEANUP(inj_arrivals_guard) struct inj_arrivals *arrivals = NULL;
		struct inj_arrival_list list;

		for (size_t i = 0; i < INJ_ARRAY_LENGTH(many); i++)
			many[i] = last;
		cr_assert_eq(inj_arrivals_find(code, n, CODE, many, 8, &arrivals), 0);
		cr_assert(inj_arrivals_of(arrivals, last.start, &list));
		cr_assert_eq(list.n, 0);
	}
}
