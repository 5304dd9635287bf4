/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Thread-local offsets and IFUNC choices, compared with what the running program sees. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/live/symbol/target.h"

/* The variable's offset in its block plus the block's offset from the thread pointer. */
static void expect_tls(struct target *target, const char *module_name, const char *name,
		       const char *told)
{
	const struct inj_module *module = module_name
						  ? inj_modules_named(target->modules, module_name)
						  : inj_modules_main(target->modules);
	struct inj_why why = {0};
	struct inj_symbol symbol;
	uint64_t id = 0;
	int64_t offset = 0;

	cr_assert_not_null(module);
	int r = inj_resolve_external(target->modules, module, NULL, name, NULL, &symbol, &why);

	cr_assert_eq(r, 0, "%s: %s", name, why.text);
	cr_expect_eq(symbol.type, STT_TLS);
	r = inj_module_tls(target->modules, symbol.module, &id, &offset, &why);
	cr_assert_eq(r, 0, "%s: %s", name, why.text);
	cr_expect_lt(offset, 0);
	cr_expect_eq(offset + (int64_t)symbol.address, target_told(target, told),
		     "%s: block at %ld, variable at %lu in it, the victim says %ld", name,
		     (long)offset, symbol.address, (long)target_told(target, told));
	cr_expect_geq(id, 1);
	if (module == inj_modules_main(target->modules))
		cr_expect_eq(id, 1);
}

Test(values, tls_of_the_program)
{
	static const char *const programs[] = {"symbols", "symbols-nopie", "symbols-static",
					       "symbols-static-pie"};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(programs); i++) {
		TARGET target;

		target_start(&target, programs[i], NULL);
		expect_tls(&target, NULL, "main_tls", "tls:main_tls");
		expect_tls(&target, NULL, "own_tls", "tls:own_tls");
	}
}

Test(values, tls_of_a_library)
{
	TARGET target;

	target_start(&target, "symbols", NULL);
	expect_tls(&target, "libsymbols.so.1", "library_tls", "tls:library_tls");
}

Test(values, tls_without_a_fixed_place)
{
	TARGET target;
	INJ_FREE char *plugin = target_path("libsymbols-plugin.so");
	struct inj_why why = {0};
	uint64_t id = 0;
	int64_t offset;

	target_start(&target, "symbols", plugin);
	const struct inj_module *module =
		inj_modules_named(target.modules, "libsymbols-plugin.so");

	cr_assert_not_null(module);
	cr_expect_eq(inj_module_tls(target.modules, module, &id, &offset, &why),
		     INJ_UNSUPPORTED_TLS);
	cr_expect(strstr(why.text, "thread by thread") != NULL, "%s", why.text);
	/* The id alone is enough for __tls_get_addr(). */
	cr_expect_eq(inj_module_tls(target.modules, module, &id, NULL, &why), 0, "%s", why.text);
	cr_expect_gt(id, 1);
}

Test(values, no_tls_at_all)
{
	TARGET target;
	struct inj_why why = {0};
	uint64_t id;

	target_start(&target, "symbols", NULL);
	const struct inj_module *loader =
		inj_modules_named(target.modules, "ld-linux-x86-64.so.2");

	cr_assert_not_null(loader);
	cr_expect_eq(inj_module_tls(target.modules, loader, &id, NULL, &why), INJ_UNSUPPORTED_TLS);
	cr_expect(strstr(why.text, "no thread-local") != NULL, "%s", why.text);
}

static void expect_ifunc(struct target *target, const char *module, const char *name,
			 const char *version, const char *told)
{
	const struct inj_module *prefer = inj_modules_named(target->modules, module);
	struct inj_why why = {0};
	struct inj_symbol symbol;
	inj_addr address = 0;

	int r = inj_resolve_external(target->modules, prefer, NULL, name, version, &symbol, &why);

	cr_assert_eq(r, 0, "%s", why.text);
	cr_expect_eq(symbol.type, STT_GNU_IFUNC);
	cr_assert_eq(inj_resolve_ifunc_bound(target->modules, &symbol, &address), 0, "%s", name);
	cr_expect_eq(address, (inj_addr)target_told(target, told), "%s is %#lx", name, address);
}

Test(values, ifunc_of_libc_as_the_target_uses_it)
{
	static const char *const programs[] = {"symbols", "symbols-nopie", "symbols-lazy",
					       "symbols-stripped"};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(programs); i++) {
		TARGET target;

		target_start(&target, programs[i], NULL);
		expect_ifunc(&target, programs[i], "memcpy", "GLIBC_2.14", "library:memcpy");
	}
}

Test(values, ifunc_of_a_library)
{
	TARGET target;

	target_start(&target, "symbols", NULL);
	/* Bound by the call that this question makes. */
	target_told(&target, "library:chosen_a");
	expect_ifunc(&target, "libsymbols.so.1", "chosen", NULL, "library:chosen_a");
}

Test(values, ifunc_in_a_static_program)
{
	TARGET target;
	struct inj_symbol symbol, implementation;
	inj_addr address = 0;

	target_start(&target, "symbols-static", NULL);
	cr_assert_eq(inj_resolve_function(target.modules, NULL, NULL, "strcmp", &symbol, NULL), 0);
	cr_expect_eq(symbol.type, STT_GNU_IFUNC);
	cr_assert_eq(inj_resolve_ifunc_bound(target.modules, &symbol, &address), 0);
	/* One of libc's own variants, not the resolver. */
	cr_expect_neq(address, symbol.address);
	cr_assert(inj_symbol_at(target.modules, address, &implementation));
	cr_expect_eq(strncmp(implementation.name, "__strcmp_", 9), 0, "%s", implementation.name);
}

Test(values, ifunc_that_nobody_bound)
{
	TARGET target;
	struct inj_symbol symbol;
	inj_addr address = 77;

	target_start(&target, "symbols", NULL);
	cr_assert_eq(inj_resolve_function(target.modules, NULL, NULL, "wcsnlen", &symbol, NULL), 0);
	symbol.name = "not_called_like_anything";
	symbol.address += 1;
	cr_expect_eq(inj_resolve_ifunc_bound(target.modules, &symbol, &address), -ENOENT);
	cr_expect_eq(address, 77);
}
