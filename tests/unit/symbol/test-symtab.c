/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The index over names and addresses on made symbol tables, hostile and huge ones among them. */
#include <criterion/criterion.h>
#include <string.h>
#include <time.h>

#include "tests/unit/symbol/make-module.h"

#define MODULES(variable, table)                             \
	INJ_CLEANUP(inj_modules_guard)                       \
	struct inj_modules *variable = make_module(table, INJ_ARRAY_LENGTH(table))

static const struct made_symbol family[] = {
	{"a.c", 0, 0, STT_FILE, STB_LOCAL},
	{"work", 0x1000, 0x40, STT_FUNC, STB_LOCAL},
	{"work.cold", 0x100, 0x10, STT_FUNC, STB_LOCAL},
	{"work.part.0", 0x1040, 0x10, STT_FUNC, STB_LOCAL},
	{"work.constprop.1.isra.0", 0x1050, 0x10, STT_FUNC, STB_LOCAL},
	{"work.table", 0x3000, 0x10, STT_OBJECT, STB_LOCAL},
	{"work.more", 0x1060, 0x10, STT_FUNC, STB_LOCAL},
	{"worker", 0x1070, 0x10, STT_FUNC, STB_LOCAL},
	{"b.c", 0, 0, STT_FILE, STB_LOCAL},
	{"work", 0x2000, 0x40, STT_FUNC, STB_LOCAL},
	{"work.cold", 0x110, 0x10, STT_FUNC, STB_LOCAL},
	{"folded", 0x1000, 0x40, STT_FUNC, STB_GLOBAL},
	{"missing", 0, 0, STT_FUNC, STB_GLOBAL, true},
};

static size_t count_named(const struct inj_symbol *list, size_t n, const char *name)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += strcmp(list[i].name, name) == 0;
	return count;
}

Test(symtab, siblings_by_name_file_and_address)
{
	MODULES(modules, family);
	struct inj_symbol work;
	INJ_FREE struct inj_symbol *list = NULL;
	size_t n = 0;

	cr_assert_eq(inj_resolve_function(modules, NULL, "a.c", "work", &work, NULL), 0);
	cr_assert_eq(work.address, MADE_BIAS + 0x1000);
	cr_assert_eq(inj_symbol_siblings(modules, &work, &list, &n), 0);
	cr_expect_eq(n, 4, "%zu siblings", n);
	cr_expect_eq(count_named(list, n, "work.cold"), 1);
	cr_expect_eq(count_named(list, n, "work.part.0"), 1);
	cr_expect_eq(count_named(list, n, "work.constprop.1.isra.0"), 1);
	cr_expect_eq(count_named(list, n, "folded"), 1);
	for (size_t i = 0; i < n; i++)
		cr_expect_neq(list[i].address, MADE_BIAS + 0x110, "a part of b.c's function");
}

Test(symtab, undefined_names_are_not_there)
{
	MODULES(modules, family);
	struct inj_symbol symbol;

	cr_expect_eq(inj_modules_main(modules), modules->items[0]);
	struct candidates list;

	cr_assert_eq(symtab_find(modules, modules->items[0], "missing", &list), 0);
	cr_expect_eq(list.n_all, 0);
	cr_assert_eq(symtab_find(modules, modules->items[0], "", &list), 0);
	cr_expect_eq(list.n_all, 0);
	cr_expect_not(inj_symbol_at(modules, MADE_BIAS + 0x5000, &symbol));
}

static const struct made_symbol versioned[] = {
	{"copy@@V2", 0x1000, 0x10, STT_FUNC, STB_GLOBAL},
	{"copy@V1", 0x2000, 0x10, STT_FUNC, STB_GLOBAL},
	{"only_old@V1", 0x3000, 0x10, STT_FUNC, STB_GLOBAL},
	{"@strange", 0x4000, 0x10, STT_FUNC, STB_GLOBAL},
	{"renamed.lto_priv.7", 0x5000, 0x10, STT_FUNC, STB_LOCAL},
	{"exact.lto_priv.0", 0x6000, 0x10, STT_FUNC, STB_LOCAL},
	{"exact", 0x7000, 0x10, STT_FUNC, STB_LOCAL},
};

static void expect_found(const struct inj_modules *modules, const char *name, uint64_t value,
			 const char *shown, const char *version)
{
	struct candidates list;

	cr_assert_eq(symtab_find(modules, modules->items[0], name, &list), 0);
	cr_assert_eq(list.n_all, 1, "%zu of %s", list.n_all, name);
	cr_expect_eq(list.items[0].address, MADE_BIAS + value, "%s", name);
	cr_expect_str_eq(list.items[0].name, shown);
	cr_expect_eq(!list.items[0].version, !version);
	if (version)
		cr_expect_str_eq(list.items[0].version, version);
}

Test(symtab, names_with_versions_and_of_link_time_optimization)
{
	MODULES(modules, versioned);

	expect_found(modules, "copy", 0x1000, "copy", "V2");
	expect_found(modules, "only_old", 0x3000, "only_old", "V1");
	expect_found(modules, "@strange", 0x4000, "@strange", NULL);
	expect_found(modules, "renamed", 0x5000, "renamed.lto_priv.7", NULL);
	expect_found(modules, "exact", 0x7000, "exact", NULL);
}

static const struct made_symbol nested[] = {
	{"outer", 0x1000, 0x1000, STT_FUNC, STB_GLOBAL},
	{"inner", 0x1100, 0x10, STT_FUNC, STB_GLOBAL},
	{"label", 0x1200, 0, STT_NOTYPE, STB_GLOBAL},
	{"data", 0x3000, 0x100, STT_OBJECT, STB_GLOBAL},
	{"open", 0x4000, 0, STT_FUNC, STB_GLOBAL},
	{"next", 0x4100, 0x10, STT_FUNC, STB_GLOBAL},
	{"_under", 0x5000, 0x10, STT_FUNC, STB_GLOBAL},
	{"plain", 0x5000, 0x10, STT_FUNC, STB_GLOBAL},
	{"local", 0x5000, 0x10, STT_FUNC, STB_LOCAL},
	{"thread", 0x5000, 0x10, STT_TLS, STB_GLOBAL},
	{"endless", 0x6000, UINT64_MAX, STT_OBJECT, STB_GLOBAL},
};

static const struct {
	uint64_t value;
	const char *name; /* NULL: nothing */
} places[] = {
	{0x0fff, NULL},       {0x1000, "outer"},  {0x10ff, "outer"},   {0x1100, "inner"},
	{0x110f, "inner"},    {0x1110, "outer"},  {0x1200, "outer"},   {0x1fff, "outer"},
	{0x2000, NULL},       {0x3050, "data"},   {0x3100, NULL},      {0x4000, "open"},
	{0x40ff, "open"},     {0x4100, "next"},   {0x4110, NULL},      {0x5008, "plain"},
	{0x7000, "endless"},
};

Test(symtab, addresses_to_names)
{
	MODULES(modules, nested);

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(places); i++) {
		struct inj_symbol symbol = {0};
		bool found = inj_symbol_at(modules, MADE_BIAS + places[i].value, &symbol);

		cr_expect_eq(found, places[i].name != NULL, "%#lx: %s", places[i].value,
			     symbol.name);
		if (found && places[i].name)
			cr_expect_str_eq(symbol.name, places[i].name, "%#lx: %s", places[i].value,
					 symbol.name);
	}
}

static double cpu_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

#define MILLION 1000000

static struct made_symbol *make_million(bool same_name)
{
	/* One allocation, the names behind the symbols. */
	struct made_symbol *symbols = malloc(MILLION * (sizeof(*symbols) + 40));
	char *names = (char *)(symbols + MILLION);

	cr_assert_not_null(symbols);
	for (size_t i = 0; i < MILLION; i++) {
		char *name = names + i * 40;

		snprintf(name, 40, "_ZN7project%06zu9componentEv", same_name ? 0 : i);
		/* Scrambled, so that sorting has something to do. */
		symbols[i] = (struct made_symbol){name, 0x1000 + (i * 7919 % MILLION) * 16, 16,
						  STT_FUNC, STB_LOCAL};
	}
	return symbols;
}

Test(symtab, million_symbols, .timeout = 100)
{
	INJ_FREE struct made_symbol *symbols = make_million(false);
	INJ_CLEANUP(inj_modules_guard) struct inj_modules *modules = make_module(symbols, MILLION);
	struct inj_symbol symbol;
	struct candidates list;
	double start = cpu_ms();

	cr_assert_eq(symtab_find(modules, modules->items[0], symbols[0].name, &list), 0);
	double indexed = cpu_ms();

	cr_assert(inj_symbol_at(modules, MADE_BIAS + 0x1004, &symbol));
	double sorted = cpu_ms();

	for (size_t i = 0; i < MILLION; i += 997) {
		cr_assert_eq(symtab_find(modules, modules->items[0], symbols[i].name, &list), 0);
		cr_assert_eq(list.n_all, 1);
		cr_assert_eq(list.items[0].address, MADE_BIAS + symbols[i].value);
		cr_assert(inj_symbol_at(modules, MADE_BIAS + symbols[i].value + 3, &symbol));
		cr_assert_str_eq(symbol.name, symbols[i].name);
	}
	double asked = cpu_ms();

	cr_log_info("a million symbols: names %.1f ms, addresses %.1f ms, 2000 questions %.2f ms",
		    indexed - start, sorted - indexed, asked - sorted);
	/* Ten times what an optimized build takes on a slow machine; a quadratic step takes hours.
	 */
	cr_expect_lt(indexed - start, 1000);
	cr_expect_lt(sorted - indexed, 1000);
	cr_expect_lt(asked - sorted, 200);
}

Test(symtab, million_symbols_of_one_name, .timeout = 100)
{
	INJ_FREE struct made_symbol *symbols = make_million(true);
	INJ_CLEANUP(inj_modules_guard) struct inj_modules *modules = make_module(symbols, MILLION);
	struct inj_why why = {0};
	struct inj_symbol symbol;
	double start = cpu_ms();

	cr_expect_eq(inj_resolve_function(modules, NULL, NULL, symbols[0].name, &symbol, &why),
		     INJ_AMBIGUOUS_SYMBOL);
	cr_expect(strstr(why.text, "1000000 symbols") != NULL, "%s", why.text);
	cr_expect_lt(cpu_ms() - start, 5000);
}
