/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A table that is only looked through answers as one that is indexed does, piece by piece. */
#include <criterion/criterion.h>
#include <string.h>

#include "injector/symbol/symtab-priv.h"
#include "tests/unit/symbol/make-module.h"

#define N_SYMBOLS 30000
#define NAME_BYTES 40
#define PIECE (192u << 10) /* what elf-store.c reads at a time */

static struct made_symbol symbols[N_SYMBOLS];
static char names[N_SYMBOLS][NAME_BYTES];
static size_t offsets[N_SYMBOLS]; /* of the strings */
static struct inj_modules *indexed;

/* Files, parts, versions, labels without size, nested symbols, names within names. */
static void make_name(size_t i, char *name)
{
	static const char *const endings[] = {"", ".cold", ".part.0", "@@V2", "@V1", ".lto_priv.3"};

	if (i % 100 == 0)
		snprintf(name, NAME_BYTES, "file%zu.c", i);
	else if (i % 7 == 3)
		snprintf(name, NAME_BYTES, "%s", names[i - 1] + 3);
	else
		snprintf(name, NAME_BYTES, "abcwork_%zu%s", i / 3 * 3, endings[i % 6]);
}

static void set_up(void)
{
	size_t at = 1;

	for (size_t i = 0; i < N_SYMBOLS; i++) {
		struct made_symbol *symbol = &symbols[i];

		make_name(i, names[i]);
		*symbol = (struct made_symbol){
			.name = names[i],
			.value = i % 100 ? 0x1000 + (i * 7919 % N_SYMBOLS) * 64 : 0,
			.size = i % 5 == 1 ? 0 : i % 50 == 2 ? 0x2000 : 48,
			.type = i % 100 ? STT_FUNC : STT_FILE,
			.binding = i % 3 ? STB_LOCAL : STB_GLOBAL,
		};
		if (i % 7 == 3 && i % 100)
			continue; /* shares the one before */
		offsets[i] = at;
		at += strlen(names[i]) + 1;
	}
	cr_assert_gt(at, 2 * PIECE);
	indexed = make_module(symbols, N_SYMBOLS);
}

static void tear_down(void)
{
	inj_modules_free(indexed);
}

TestSuite(large_table, .init = set_up, .fini = tear_down);

static const struct source *table_of(const struct inj_modules *modules)
{
	return &modules->items[0]->index->named;
}

static void compare(const struct inj_symbol *a, const struct inj_symbol *b)
{
	cr_assert_eq(a->address, b->address);
	cr_assert_eq(a->size, b->size);
	cr_assert_eq(a->type, b->type);
	cr_assert_str_eq(a->name, b->name);
	cr_assert_eq(!a->file, !b->file);
	cr_assert(!a->file || strcmp(a->file, b->file) == 0);
	cr_assert_eq(!a->version, !b->version);
	cr_assert(!a->version || strcmp(a->version, b->version) == 0);
}

static void ask_name(struct inj_modules *large, const char *name)
{
	struct candidates found, expected;

	cr_assert_eq(symtab_find(large, large->items[0], name, &found), 0);
	cr_assert_eq(symtab_find(indexed, indexed->items[0], name, &expected), 0);
	cr_assert_eq(found.n_all, expected.n_all, "%s: %zu, %zu", name, found.n_all,
		     expected.n_all);
	for (size_t i = 0; i < found.n; i++)
		compare(&found.items[i], &expected.items[i]);
}

static void ask_siblings(struct inj_modules *large, const char *name)
{
	INJ_FREE struct inj_symbol *found = NULL, *expected = NULL;
	struct candidates list;
	size_t n_found, n_expected;

	cr_assert_eq(symtab_find(large, large->items[0], name, &list), 0);
	if (list.n == 0)
		return;
	cr_assert_eq(inj_symbol_siblings(large, &list.items[0], &found, &n_found), 0);
	list.items[0].module = indexed->items[0];
	cr_assert_eq(inj_symbol_siblings(indexed, &list.items[0], &expected, &n_expected), 0);
	cr_assert_eq(n_found, n_expected);
	for (size_t i = 0; i < n_found; i++)
		compare(&found[i], &expected[i]);
}

static void ask_address(struct inj_modules *large, uint64_t value)
{
	struct inj_symbol found, expected;
	const bool known = inj_symbol_at(indexed, MADE_BIAS + value, &expected);

	cr_assert_eq(inj_symbol_at(large, MADE_BIAS + value, &found), known, "%#lx", value);
	if (known)
		compare(&found, &expected);
}

Test(large_table, names)
{
	for (size_t i = 0; i < N_SYMBOLS; i += 211) {
		INJ_CLEANUP(inj_modules_guard) struct inj_modules *large =
			make_large_module(symbols, N_SYMBOLS);

		ask_name(large, names[i]);
		ask_siblings(large, names[i]);
		ask_name(large, names[(i + 3) % N_SYMBOLS] + 3);
		ask_name(large, "absent");
		cr_assert_null(table_of(large)->table.symbols, "the table was loaded");
	}
}

/* Strings that begin in one piece and end in the next. */
Test(large_table, names_between_pieces)
{
	size_t n = 0;

	for (size_t i = 0; i < N_SYMBOLS; i++) {
		if (!offsets[i] || (offsets[i] + NAME_BYTES) % PIECE > 2 * NAME_BYTES)
			continue;
		INJ_CLEANUP(inj_modules_guard) struct inj_modules *large =
			make_large_module(symbols, N_SYMBOLS);

		ask_name(large, names[i]);
		cr_assert_null(table_of(large)->table.symbols);
		n++;
	}
	cr_assert_gt(n, 4);
}

Test(large_table, addresses)
{
	for (uint64_t value = 0xff0; value < 0x1000 + N_SYMBOLS * 64; value += 8093) {
		INJ_CLEANUP(inj_modules_guard) struct inj_modules *large =
			make_large_module(symbols, N_SYMBOLS);

		ask_address(large, value);
		ask_address(large, value + 5);
		ask_address(large, value + 4096);
		cr_assert_eq(large->items[0]->index->n_windows, 1);
		cr_assert_null(table_of(large)->table.symbols);
	}
}

/* More questions than a table is looked through for. */
Test(large_table, many_questions)
{
	INJ_CLEANUP(inj_modules_guard) struct inj_modules *large =
		make_large_module(symbols, N_SYMBOLS);

	for (size_t i = 0; i < N_SYMBOLS; i += 97) {
		ask_name(large, names[i]);
		ask_address(large, symbols[i].value + 3);
	}
	cr_assert_not_null(table_of(large)->heads);
	cr_assert_eq(large->items[0]->index->answers.end, UINT64_MAX);
}

/* A name that stands in too many strings, and one of too many symbols. */
Test(large_table, common_names)
{
	INJ_CLEANUP(inj_modules_guard) struct inj_modules *large = NULL;

	for (size_t i = 0; i < N_SYMBOLS; i++)
		snprintf(names[i], NAME_BYTES, "%s", i % 2 ? "same" : "x@V1");
	inj_modules_free(indexed);
	indexed = make_module(symbols, N_SYMBOLS);
	large = make_large_module(symbols, N_SYMBOLS);
	ask_name(large, "same");
	ask_name(large, "x");
}
