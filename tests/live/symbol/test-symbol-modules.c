/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which modules a running program consists of, for every kind of program. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/live/symbol/target.h"
#include "tests/support/need.h"

static const struct inj_module *find(const struct target *target, const char *name)
{
	const struct inj_module *module = inj_modules_named(target->modules, name);

	cr_assert_not_null(module, "no module %s", name);
	return module;
}

/* The build-id that other tools see. */
static void expect_build_id(const char *path, const char *expected)
{
	char command[4300], line[256] = "";

	snprintf(command, sizeof(command), "readelf -n '%s' | sed -n 's/.*Build ID: //p'", path);
	FILE *pipe = popen(command, "r");

	cr_assert_not_null(pipe);
	cr_assert_not_null(fgets(line, sizeof(line), pipe));
	pclose(pipe);
	line[strcspn(line, "\n")] = '\0';
	cr_expect_str_eq(line, expected);
}

static void expect_main(const struct target *target, const char *name)
{
	const struct inj_module *main = inj_modules_main(target->modules);
	INJ_FREE char *path = target_path(name);

	cr_expect_eq(main->kind, INJ_MODULE_MAIN);
	cr_expect_str_eq(main->name, name);
	cr_expect_str_eq(main->path, path);
	cr_expect_eq(find(target, name), main);
	cr_expect_eq(find(target, path), main);
	expect_build_id(path, main->build_id_hex);
}

static void expect_consistent(const struct target *target)
{
	const struct inj_modules *modules = target->modules;

	for (size_t i = 0; i < modules->n_items; i++) {
		const struct inj_module *module = modules->items[i];

		cr_expect_eq(inj_modules_at(modules, module->span.start), module);
		cr_expect_eq(inj_modules_at(modules, module->span.end - 1), module);
		cr_expect_neq(inj_modules_at(modules, module->span.end), module);
		cr_expect_eq(module->kind == INJ_MODULE_MAIN, i == 0);
	}
	cr_expect_null(inj_modules_at(modules, 0));
	cr_expect_null(inj_modules_at(modules, UINT64_MAX));
}

static void expect_dynamic(const char *name)
{
	TARGET target;

	target_start(&target, name, NULL);
	expect_main(&target, name);
	expect_consistent(&target);
	cr_expect_eq(find(&target, "ld-linux-x86-64.so.2")->kind, INJ_MODULE_INTERPRETER);
	cr_expect_eq(find(&target, "linux-vdso.so.1")->kind, INJ_MODULE_VDSO);
	const struct inj_module *library = find(&target, "libsymbols.so.1");

	cr_expect_eq(library->kind, INJ_MODULE_LIBRARY);
	cr_expect(inj_range_has(library->span,
				(inj_addr)target_told(&target, "library:hidden_helper")));
	/* Load order: the library was named before libc, and the loader itself comes last. */
	size_t at_library = 0, at_libc = 0;

	for (size_t i = 0; i < target.modules->n_items; i++) {
		at_library = target.modules->items[i] == library ? i : at_library;
		at_libc = strcmp(target.modules->items[i]->name, "libc.so.6") ? at_libc : i;
	}
	cr_expect(at_library > 0 && at_library < at_libc, "library %zu, libc %zu", at_library,
		  at_libc);
}

Test(modules, position_independent)
{
	expect_dynamic("symbols");
}

Test(modules, fixed_position)
{
	expect_dynamic("symbols-nopie");
}

static void expect_alone(const char *name, bool fixed)
{
	TARGET target;

	target_start(&target, name, NULL);
	expect_main(&target, name);
	expect_consistent(&target);
	cr_expect_eq(inj_modules_main(target.modules)->bias == 0, fixed);
	for (size_t i = 1; i < target.modules->n_items; i++)
		cr_expect_eq(target.modules->items[i]->kind, INJ_MODULE_VDSO, "also %s",
			     target.modules->items[i]->name);
}

Test(modules, static_fixed)
{
	expect_alone("symbols-static", true);
}

Test(modules, static_position_independent)
{
	expect_alone("symbols-static-pie", false);
}

Test(modules, started_through_the_loader)
{
	TARGET target;
	INJ_FREE char *path = target_path("symbols");
	char loader[] = "/lib64/ld-linux-x86-64.so.2";
	char *argv[] = {loader, path, NULL};

	need_file(loader, "libc6");
	target_run(&target, argv);
	expect_main(&target, "symbols");
	expect_consistent(&target);
	cr_expect_eq(find(&target, "ld-linux-x86-64.so.2")->kind, INJ_MODULE_INTERPRETER);
	expect_function(&target, NULL, NULL, "only_in_one", "one:only_in_one");
}

Test(modules, loaded_later)
{
	TARGET target;
	INJ_FREE char *plugin = target_path("libsymbols-plugin.so");

	target_start(&target, "symbols", plugin);
	const struct inj_module *module = find(&target, "libsymbols-plugin.so");

	cr_expect(inj_range_has(module->span, (inj_addr)target_told(&target, "plugin:everywhere")));
	/* Later than everything that the program was linked with. */
	for (size_t i = 0; i < target.modules->n_items; i++)
		if (target.modules->items[i] == module)
			cr_expect_geq(i, 4);
}

Test(modules, files_that_are_only_mapped_are_none)
{
	TARGET target;
	struct inj_why why = {0};
	INJ_FREE char *path = target_path("symbols");
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t n;

	/* This process as a target: it maps an ELF file for reading, and one of ours by name. */
	need_root();
	cr_assert_geq(fd, 0);
	cr_assert_neq(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0), MAP_FAILED);
	int ours = memfd_create("dsu:test", MFD_CLOEXEC);
	INJ_FREE char *copy = malloc(1 << 20);

	n = (size_t)read(fd, copy, 1 << 20);
	cr_assert_eq((size_t)write(ours, copy, n), n);
	cr_assert_neq(mmap(NULL, n, PROT_READ | PROT_EXEC, MAP_PRIVATE, ours, 0), MAP_FAILED);
	struct inj_process self = {
		.pid = getpid(),
		.pidfd = -1,
		.proc_fd = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC),
	};

	target = (struct target){0};
	cr_assert_eq(inj_maps_read(&self, &target.maps, &why), 0, "%s", why.text);
	cr_assert_eq(inj_modules_load(&self, target.maps, &target.modules, &why), 0, "%s",
		     why.text);
	cr_expect_null(inj_modules_named(target.modules, path));
	cr_expect_null(inj_modules_named(target.modules, "memfd:dsu:test"));
	cr_expect_not_null(inj_modules_named(target.modules, "libc.so.6"));
	expect_consistent(&target);
}

Test(modules, unknown_name_lists_what_there_is)
{
	TARGET target;

	target_start(&target, "symbols", NULL);
	expect_refused(&target, "libnone.so", NULL, "f", INJ_NO_SUCH_SYMBOL, "symbols, ");
}

Test(modules, spoilt_list_of_the_loader)
{
	static const char *const orders[] = {"cycle", "wild"};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(orders); i++) {
		TARGET target;

		target_start(&target, "symbols", NULL);
		size_t n = target.modules->n_items;

		target_told(&target, orders[i]);
		target_reload(&target);
		cr_expect_eq(target.modules->n_items, n);
		expect_main(&target, "symbols");
		expect_consistent(&target);
		expect_function(&target, NULL, NULL, "only_in_one", "one:only_in_one");
	}
}
