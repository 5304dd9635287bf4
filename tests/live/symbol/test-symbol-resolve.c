/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What names mean, compared with the addresses that the running program itself tells. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/live/symbol/target.h"

static void expect_functions(const char *program)
{
	TARGET target;

	target_start(&target, program, NULL);
	expect_function(&target, NULL, NULL, "only_in_one", "one:only_in_one");
	expect_function(&target, program, NULL, "only_in_one", "one:only_in_one");
	expect_function(&target, NULL, "symbols-one.c", "helper", "one:helper");
	expect_function(&target, NULL, "live/symbol/symbols-two.c", "helper", "two:helper");
	expect_function(&target, NULL, NULL, "weak_one", "two:weak_one");
	expect_function(&target, NULL, NULL, "alias_one", "two:weak_one");
	expect_function(&target, NULL, NULL, "everywhere", "one:everywhere");
	expect_function(&target, NULL, NULL, "untyped", "one:untyped");
	/* The static one has a file, the global one is the only one that has none. */
	expect_function(&target, NULL, "symbols-two.c", "mixed", "two:mixed");
	expect_function(&target, NULL, "symbols-one.c", "mixed", "one:mixed");
}

Test(resolve, functions_of_each_kind_of_program)
{
	static const char *const programs[] = {"symbols", "symbols-nopie", "symbols-static",
					       "symbols-static-pie"};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(programs); i++)
		expect_functions(programs[i]);
}

Test(resolve, ambiguous_names_list_their_files)
{
	TARGET target;

	target_start(&target, "symbols", NULL);
	expect_refused(&target, NULL, NULL, "helper", INJ_AMBIGUOUS_SYMBOL,
		       "symbols:symbols-one.c:helper@");
	expect_refused(&target, NULL, NULL, "helper", INJ_AMBIGUOUS_SYMBOL,
		       "symbols:symbols-two.c:helper@");
	expect_refused(&target, NULL, NULL, "helper", INJ_AMBIGUOUS_SYMBOL, "DSU_SYMBOL");
	expect_refused(&target, NULL, NULL, "mixed", INJ_AMBIGUOUS_SYMBOL, "2 symbols are named");
	expect_refused(&target, NULL, "three.c", "helper", INJ_NO_SUCH_SYMBOL, "check the file");
	expect_refused(&target, NULL, "ols-one.c", "helper", INJ_NO_SUCH_SYMBOL, "check the file");
}

Test(resolve, refusals_say_what_to_do)
{
	TARGET target;

	target_start(&target, "symbols", NULL);
	expect_refused(&target, NULL, NULL, "only_in_onr", INJ_NO_SUCH_SYMBOL,
		       "did you mean only_in_one");
	expect_refused(&target, NULL, NULL, "library_ony", INJ_NO_SUCH_SYMBOL,
		       "did you mean library_only of libsymbols.so.1");
	expect_refused(&target, NULL, NULL, "library_variable", INJ_NO_SUCH_SYMBOL,
		       "is not a function");
	expect_refused(&target, "symbols", NULL, "library_only", INJ_NO_SUCH_SYMBOL, "in symbols");
	expect_refused(&target, NULL, NULL, "", INJ_NO_SUCH_SYMBOL, "there is no function");
	/* A name that would fill the sentence many times over, and with control characters. */
	char name[4096];

	memset(name, '\n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	expect_refused(&target, NULL, NULL, name, INJ_NO_SUCH_SYMBOL, "?????");
}

Test(resolve, stripped_program_says_so)
{
	TARGET target;

	target_start(&target, "symbols-stripped", NULL);
	expect_refused(&target, NULL, NULL, "only_in_one", INJ_NO_SUCH_SYMBOL, "is stripped");
	expect_refused(&target, NULL, NULL, "only_in_one", INJ_NO_SUCH_SYMBOL,
		       "/usr/lib/debug/.build-id/");
	/* Exported names of its library are there all the same. */
	expect_function(&target, NULL, NULL, "library_only", "library:only");
}

Test(resolve, functions_of_libraries)
{
	TARGET target;
	INJ_FREE char *plugin = target_path("libsymbols-plugin.so");

	target_start(&target, "symbols", plugin);
	expect_function(&target, "libsymbols.so.1", NULL, "everywhere", "library:everywhere");
	expect_function(&target, "libsymbols-plugin.so", NULL, "everywhere", "plugin:everywhere");
	expect_function(&target, plugin, NULL, "everywhere", "plugin:everywhere");
	/* Private, and nobody else has it. */
	expect_function(&target, NULL, NULL, "hidden_helper", "library:hidden_helper");
	/* The default version is the one that is meant. */
	expect_function(&target, NULL, NULL, "sample", "library:sample_new");
}

Test(resolve, name_in_two_libraries_but_not_in_the_program)
{
	TARGET target;
	INJ_FREE char *plugin = target_path("libsymbols-plugin.so");

	target_start(&target, "symbols", plugin);
	expect_refused(&target, NULL, NULL, "twice", INJ_AMBIGUOUS_SYMBOL, "DSU_REPLACE_IN");
	expect_refused(&target, NULL, NULL, "twice", INJ_AMBIGUOUS_SYMBOL, "libsymbols-plugin.so:");
	expect_function(&target, "libsymbols.so.1", NULL, "twice", "library:twice");
	expect_function(&target, "libsymbols-plugin.so", NULL, "twice", "plugin:twice");
	/* The dynamic linker does choose for an undefined symbol: the first. */
	expect_external(&target, "symbols", NULL, "twice", NULL, "library:twice");
}

Test(resolve, externals_prefer_the_patched_module)
{
	TARGET target;
	INJ_FREE char *plugin = target_path("libsymbols-plugin.so");

	target_start(&target, "symbols", plugin);
	expect_external(&target, NULL, NULL, "everywhere", NULL, "one:everywhere");
	expect_external(&target, "symbols", NULL, "everywhere", NULL, "one:everywhere");
	expect_external(&target, "libsymbols.so.1", NULL, "everywhere", NULL, "library:everywhere");
	expect_external(&target, "libsymbols-plugin.so", NULL, "everywhere", NULL,
			"plugin:everywhere");
	expect_external(&target, "symbols", "symbols-one.c", "counter", NULL, "one:counter");
	expect_external(&target, "symbols", "symbols-two.c", "counter", NULL, "two:counter");
	expect_external(&target, "libsymbols.so.1", NULL, "hidden_helper", NULL,
			"library:hidden_helper");
	/* From the program's private names when the patched module has none. */
	expect_external(&target, "libsymbols.so.1", NULL, "only_in_one", NULL, "one:only_in_one");
	/* With a file, private symbols of other modules too. */
	expect_external(&target, "symbols", "symbols-library.c", "hidden_helper", NULL,
			"library:hidden_helper");
}

Test(resolve, externals_with_versions)
{
	TARGET target;
	struct inj_why why = {0};
	struct inj_symbol symbol;

	target_start(&target, "symbols", NULL);
	expect_external(&target, "symbols", NULL, "sample", NULL, "library:sample_new");
	expect_external(&target, "symbols", NULL, "sample", "V2", "library:sample_new");
	expect_external(&target, "symbols", NULL, "sample", "V1", "library:sample_old");
	expect_external(&target, "libsymbols.so.1", NULL, "sample", "V1", "library:sample_old");
	const struct inj_module *main = inj_modules_main(target.modules);
	int r = inj_resolve_external(target.modules, main, NULL, "sample", "V3", &symbol, &why);

	cr_expect_eq(r, INJ_NO_SUCH_SYMBOL);
	cr_expect(strstr(why.text, "sample@V3") != NULL, "%s", why.text);
	/* A private name of the patched module goes before an exported one of another version. */
	expect_external(&target, "symbols", NULL, "only_in_one", "V9", "one:only_in_one");
	r = inj_resolve_external(target.modules, main, NULL, "memcpy", "GLIBC_2.14", &symbol, &why);
	cr_assert_eq(r, 0, "%s", why.text);
	cr_expect_str_eq(symbol.version, "GLIBC_2.14");
	cr_expect_eq(symbol.type, STT_GNU_IFUNC);
}

Test(resolve, variable_that_the_program_copied)
{
	TARGET target;

	/* Not position independent: the library itself uses the program's copy. */
	target_start(&target, "symbols-nopie", NULL);
	expect_external(&target, "libsymbols.so.1", NULL, "library_variable", NULL,
			"library:variable");
	expect_external(&target, "symbols-nopie", NULL, "library_variable", NULL, "main:variable");
	cr_expect(inj_range_has(inj_modules_main(target.modules)->span,
				(inj_addr)target_told(&target, "main:variable")));
}

Test(resolve, ambiguous_external)
{
	TARGET target;
	struct inj_why why = {0};
	struct inj_symbol symbol;

	target_start(&target, "symbols", NULL);
	int r = inj_resolve_external(target.modules, inj_modules_main(target.modules), NULL,
				     "counter", NULL, &symbol, &why);

	cr_expect_eq(r, INJ_AMBIGUOUS_SYMBOL, "%d: %s", r, why.text);
	cr_expect(strstr(why.text, "symbols-two.c:counter@") != NULL, "%s", why.text);
}

static void expect_name_at(struct target *target, inj_addr address, const char *name,
			   const char *file)
{
	struct inj_symbol symbol;

	cr_assert(inj_symbol_at(target->modules, address, &symbol), "nothing at %#lx", address);
	cr_expect_str_eq(symbol.name, name);
	if (file)
		cr_expect_str_eq(symbol.file, file);
}

Test(resolve, names_of_addresses)
{
	TARGET target;
	struct inj_symbol symbol;

	target_start(&target, "symbols", NULL);
	inj_addr helper = (inj_addr)target_told(&target, "one:helper");
	inj_addr other = (inj_addr)target_told(&target, "two:helper");

	expect_name_at(&target, helper, "helper", "symbols-one.c");
	expect_name_at(&target, helper + 1, "helper", "symbols-one.c");
	expect_name_at(&target, other, "helper", "symbols-two.c");
	expect_name_at(&target, (inj_addr)target_told(&target, "library:sample_old"), "sample",
		       NULL);
	/* No size: reaches to the next symbol. */
	expect_name_at(&target, (inj_addr)target_told(&target, "one:untyped") + 2, "untyped", NULL);
	/* A global name goes before the weak one at the same place. */
	expect_name_at(&target, (inj_addr)target_told(&target, "two:weak_one"), "alias_one", NULL);
	cr_expect_not(inj_symbol_at(target.modules, 0x1000, &symbol));
	cr_expect_not(inj_symbol_at(target.modules, UINT64_MAX, &symbol));
}

Test(resolve, names_of_addresses_in_stripped_modules)
{
	TARGET target;
	struct inj_symbol symbol;

	target_start(&target, "symbols-stripped", NULL);
	cr_assert_eq(inj_resolve_function(target.modules, NULL, NULL, "puts", &symbol, NULL), 0);
	inj_addr puts = symbol.address;

	cr_assert(inj_symbol_at(target.modules, puts + 3, &symbol));
	cr_expect_eq(symbol.address, puts);
	/* Exported names of the program are all it has left; its private ones are unknown. */
	inj_addr helper = (inj_addr)target_told(&target, "one:helper");

	cr_expect(!inj_symbol_at(target.modules, helper, &symbol) ||
		  strcmp(symbol.name, "helper") != 0);
}

Test(resolve, siblings)
{
	TARGET target;
	struct inj_symbol symbol;
	INJ_FREE struct inj_symbol *siblings = NULL;
	size_t n = 0;

	target_start(&target, "symbols", NULL);
	cr_assert_eq(inj_resolve_function(target.modules, NULL, NULL, "weak_one", &symbol, NULL),
		     0);
	cr_assert_eq(inj_symbol_siblings(target.modules, &symbol, &siblings, &n), 0);
	cr_assert_eq(n, 1);
	cr_expect_str_eq(siblings[0].name, "alias_one");
}
