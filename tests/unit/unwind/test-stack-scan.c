/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "injector/unwind/stack-scan.h"

static const struct inj_watch watches[] = {
	{.code = {0x401000, 0x401020}, .tag = 1, .entry_is_free = true},
	{.code = {0x401020, 0x401040}, .tag = 2, .entry_is_free = false},
	{.code = {0x7f0000001000, 0x7f0000003000}, .tag = 3, .entry_is_free = true},
};

static struct inj_range trampoline = {0x7f0000005000, 0x7f0000005009};
static const struct inj_unwind_tables tables = {.trampolines = &trampoline, .n_trampolines = 1};

/* A stub area: 0x20000010 there stands for 0x401008. */
static const struct inj_range stubs = {0x20000000, 0x20001000};

static inj_addr translate(void *context, inj_addr pc)
{
	(void)context;
	return pc >= stubs.start && pc < stubs.end ? pc - 0x20000010 + 0x401008 : pc;
}

static void make(struct inj_word_filter *filter)
{
	cr_assert_eq(inj_word_filter_init(filter, watches, INJ_ARRAY_LENGTH(watches), &tables,
					  &stubs, 1, translate, NULL),
		     0);
}

static const struct {
	uint64_t word;
	enum inj_word_kind kind;
	size_t watch;
} words[] = {
	{0, INJ_WORD_NOTHING, 0},
	{UINT64_MAX, INJ_WORD_NOTHING, 0},
	{0x400fff, INJ_WORD_NOTHING, 0},
	{0x401000, INJ_WORD_NOTHING, 0}, /* a function pointer */
	{0x401001, INJ_WORD_WATCHED, 0},
	{0x40101f, INJ_WORD_WATCHED, 0},
	{0x401020, INJ_WORD_WATCHED, 0}, /* behind a call that is the last instruction */
	{0x401021, INJ_WORD_WATCHED, 1},
	{0x401040, INJ_WORD_WATCHED, 1},
	{0x401041, INJ_WORD_NOTHING, 0},
	{0x10401001, INJ_WORD_NOTHING, 0}, /* same page modulo the bitmap's size */
	{0x7f0000001000, INJ_WORD_NOTHING, 0},
	{0x7f0000002fff, INJ_WORD_WATCHED, 2},
	{0x7f0000005000, INJ_WORD_TRAMPOLINE, 0},
	{0x7f0000005009, INJ_WORD_NOTHING, 0},
	{0x20000010, INJ_WORD_WATCHED, 0},
	{0x20000008, INJ_WORD_NOTHING, 0},
	{0x20000800, INJ_WORD_NOTHING, 0},
};

struct found {
	size_t n;
	struct {
		inj_addr slot;
		uint64_t word;
		enum inj_word_kind kind;
		size_t watch;
	} items[32];
};

static bool collect(void *context, inj_addr slot, uint64_t word, enum inj_word_kind kind,
		    size_t watch)
{
	struct found *found = context;

	found->items[found->n].slot = slot;
	found->items[found->n].word = word;
	found->items[found->n].kind = kind;
	found->items[found->n++].watch = watch;
	return found->n < INJ_ARRAY_LENGTH(found->items);
}

Test(stack_scan, judges_words)
{
	static struct inj_word_filter filter;

	make(&filter);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(words); i++) {
		size_t watch = 0;
		enum inj_word_kind kind = inj_word_judge(&filter, words[i].word, &watch);

		cr_expect_eq(kind, words[i].kind, "%#lx", words[i].word);
		cr_expect_eq(watch, words[i].watch, "%#lx", words[i].word);
	}
}

Test(stack_scan, finds_exactly_what_it_judges)
{
	static struct inj_word_filter filter;
	uint64_t stack[INJ_ARRAY_LENGTH(words)];
	/* Odd in memory as well: the copy's alignment is not the target's. */
	uint8_t copy[sizeof(stack) + 3];
	struct found found = {.n = 0};
	size_t n = 0;

	make(&filter);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(words); i++)
		stack[i] = words[i].word;
	memcpy(copy + 3, stack, sizeof(stack));
	/* The last word is cut and must not be read. */
	struct inj_bytes bytes = {0x7ffe0000, copy + 3, sizeof(stack) - 1};

	cr_assert(inj_word_scan(&filter, bytes, collect, &found));
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(words) - 1; i++) {
		if (words[i].kind == INJ_WORD_NOTHING)
			continue;
		cr_assert_lt(n, found.n);
		cr_expect_eq(found.items[n].slot, 0x7ffe0000 + 8 * i);
		cr_expect_eq(found.items[n].word, words[i].word);
		cr_expect_eq(found.items[n].kind, words[i].kind);
		cr_expect_eq(found.items[n].watch, words[i].watch);
		n++;
	}
	cr_expect_eq(found.n, n);
}

static bool stop(void *context, inj_addr slot, uint64_t word, enum inj_word_kind kind, size_t watch)
{
	(void)slot;
	(void)word;
	(void)kind;
	(void)watch;
	++*(int *)context;
	return false;
}

Test(stack_scan, stops_when_told)
{
	static struct inj_word_filter filter;
	uint64_t stack[2] = {0x401001, 0x401002};
	int n = 0;

	make(&filter);
	cr_expect_not(inj_word_scan(
		&filter, (struct inj_bytes){0x1000, (uint8_t *)stack, sizeof(stack)}, stop, &n));
	cr_expect_eq(n, 1);
}

Test(stack_scan, judges_program_counters)
{
	static struct inj_word_filter filter;
	static const struct {
		inj_addr pc;
		bool is_call, inside;
		size_t watch;
	} cases[] = {
		{0x401000, false, false, 0}, /* at an entry that is free */
		{0x401000, true, false, 0},  /* whoever called is before it */
		{0x401001, false, true, 0},  {0x401001, true, true, 0},
		{0x401020, true, true, 0},  /* the call was the last instruction */
		{0x401020, false, true, 1}, /* an entry that counts */
		{0x401040, false, false, 0}, {0x401040, true, true, 1},
		{0x401041, true, false, 0},
	};

	make(&filter);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++) {
		size_t watch = 0;
		bool inside = inj_pc_judge(&filter, cases[i].pc, cases[i].is_call, &watch);

		cr_expect_eq(inside, cases[i].inside, "%zu", i);
		cr_expect_eq(watch, cases[i].watch, "%zu", i);
	}
}

Test(stack_scan, refuses_disorder)
{
	static struct inj_word_filter filter;
	static const struct inj_watch overlapping[] = {{.code = {16, 32}}, {.code = {31, 48}}};
	static const struct inj_watch descending[] = {{.code = {64, 80}}, {.code = {16, 32}}};
	static const struct inj_watch empty[] = {{.code = {16, 16}}};

	cr_expect_eq(inj_word_filter_init(&filter, overlapping, 2, &tables, NULL, 0, NULL, NULL),
		     -EINVAL);
	cr_expect_eq(inj_word_filter_init(&filter, descending, 2, &tables, NULL, 0, NULL, NULL),
		     -EINVAL);
	cr_expect_eq(inj_word_filter_init(&filter, empty, 1, &tables, NULL, 0, NULL, NULL),
		     -EINVAL);
}

/* Against the definition, with many ranges and every word near one of their borders. */
Test(stack_scan, agrees_with_the_definition_on_many_ranges)
{
	static struct inj_word_filter filter;
	static struct inj_watch many[2000];
	static const struct inj_unwind_tables none;
	uint64_t seed = 1;
	inj_addr at = 0x555555554000;

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(many); i++) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		at += seed >> 40 & 0xfff;
		many[i].code.start = at;
		at += 1 + (seed >> 52);
		many[i].code.end = at;
		many[i].entry_is_free = seed >> 33 & 1;
	}
	cr_assert_eq(inj_word_filter_init(&filter, many, INJ_ARRAY_LENGTH(many), &none, NULL, 0,
					  NULL, NULL),
		     0);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(many); i++)
		for (int delta = -2; delta <= 2; delta++) {
			uint64_t pair[2] = {many[i].code.start + (uint64_t)delta,
					    many[i].code.end + (uint64_t)delta};

			for (size_t k = 0; k < 2; k++) {
				struct found found = {.n = 0};
				bool expected = false;

				for (size_t j = i ? i - 1 : 0; j < i + 3 && j < 2000; j++)
					expected |= (pair[k] > many[j].code.start &&
						     pair[k] <= many[j].code.end) ||
						    (pair[k] == many[j].code.start &&
						     !many[j].entry_is_free);
				inj_word_scan(&filter,
					      (struct inj_bytes){0, (uint8_t *)&pair[k], 8},
					      collect, &found);
				cr_assert_eq(found.n == 1, expected, "%#lx", pair[k]);
			}
		}
}
