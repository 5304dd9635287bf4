/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Victims of these tests, and questions whose answers the victim knows best. */
#include "tests/live/symbol/target.h"

#include <criterion/criterion.h>
#include <string.h>

#include "tests/support/need.h"

char *target_path(const char *name)
{
	char relative[256];

	snprintf(relative, sizeof(relative), "tests/live/symbol/%s", name);
	char *path = strdup(build_path(relative));

	cr_assert_not_null(path);
	return path;
}

void target_reload(struct target *target)
{
	struct inj_why why = {0};

	inj_modules_free(target->modules);
	inj_maps_free(target->maps);
	inj_process_close(target->process);
	*target = (struct target){.victim = target->victim};
	int r = inj_process_open(target->victim->pid, &target->process, &why);

	if (r == 0)
		r = inj_maps_read(target->process, &target->maps, &why);
	if (r == 0)
		r = inj_modules_load(target->process, target->maps, &target->modules, &why);
	cr_assert_eq(r, 0, "%d: %s", r, why.text);
}

void target_run(struct target *target, char *const argv[])
{
	need_root();
	/* Meson sets it; a copied victim is to find the copied library. */
	unsetenv("LD_LIBRARY_PATH");
	*target = (struct target){.victim = victim_spawn(argv)};
	cr_assert_str_eq(victim_hear(target->victim), "ready");
	target_reload(target);
}

void target_start(struct target *target, const char *name, const char *argument)
{
	INJ_FREE char *path = target_path(name);
	INJ_FREE char *copy = argument ? strdup(argument) : NULL;
	char *argv[] = {path, copy, NULL};

	target_run(target, argv);
}

void target_end(struct target *target)
{
	inj_modules_free(target->modules);
	inj_maps_free(target->maps);
	inj_process_close(target->process);
	victim_free(target->victim);
}

int64_t target_told(struct target *target, const char *name)
{
	int64_t value = victim_ask_number(target->victim, name);

	cr_assert_neq(value, 0, "the victim does not know %s", name);
	return value;
}

void expect_function(struct target *target, const char *module, const char *file, const char *name,
		     const char *told)
{
	struct inj_why why = {0};
	struct inj_symbol symbol;
	int r = inj_resolve_function(target->modules, module, file, name, &symbol, &why);

	cr_assert_eq(r, 0, "%s: %d: %s", name, r, why.text);
	cr_expect_eq(symbol.address, (inj_addr)target_told(target, told),
		     "%s is at %#lx, the victim says %#lx (%s)", name, symbol.address,
		     (long)target_told(target, told), told);
	cr_expect_str_eq(symbol.name, name);
}

void expect_refused(struct target *target, const char *module, const char *file, const char *name,
		    int code, const char *text)
{
	struct inj_why why = {0};
	struct inj_symbol symbol;
	int r = inj_resolve_function(target->modules, module, file, name, &symbol, &why);

	cr_expect_eq(r, code, "%s: %d: %s", name, r, why.text);
	cr_expect_eq(why.code, code);
	cr_expect(strstr(why.text, text) != NULL, "%s: \"%s\" lacks \"%s\"", name, why.text, text);
}

void expect_external(struct target *target, const char *prefer, const char *file, const char *name,
		     const char *version, const char *told)
{
	const struct inj_module *module =
		prefer ? inj_modules_named(target->modules, prefer) : NULL;
	struct inj_why why = {0};
	struct inj_symbol symbol;

	cr_assert(!prefer || module, "no module %s", prefer);
	int r = inj_resolve_external(target->modules, module, file, name, version, &symbol, &why);

	cr_assert_eq(r, 0, "%s: %d: %s", name, r, why.text);
	cr_expect_eq(symbol.address, (inj_addr)target_told(target, told),
		     "%s is at %#lx in %s, the victim says %#lx (%s)", name, symbol.address,
		     symbol.module->name, (long)target_told(target, told), told);
}
