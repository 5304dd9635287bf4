/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Links what compilers and linkers really make and runs it in this process: only code that was
 * relocated rightly gives the right answers.
 */
#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "tests/unit/image/loaded.h"

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN
#endif
#endif

/* What the patches find in their "target". */
static int greeted = 10;
static int counter = 20;
static int resolver_runs;
static __thread int turns = 3;
static __thread long history[4] = {0, 11, 0, 0};
static __thread char note = 1;

static int scale(int x)
{
	return x * 50;
}

struct object {
	char path[512];
};

static struct criterion_test_params objects_named(const char *pattern)
{
	glob_t found = {0};

	if (glob(patch_path(pattern), 0, NULL, &found) != 0)
		return cr_make_param_array(struct object, NULL, 0);

	struct object *objects = cr_malloc(found.gl_pathc * sizeof(*objects));
	size_t n = found.gl_pathc;

	for (size_t i = 0; i < n; i++)
		snprintf(objects[i].path, sizeof(objects[i].path), "%s", found.gl_pathv[i]);
	globfree(&found);
	return cr_make_param_array(struct object, objects, n);
}

static void load_here(const char *path, struct loaded *ret)
{
	const struct own_symbol own[] = {
		{NULL, "greeted", &greeted, false},
		{NULL, "resolver_runs", &resolver_runs, false},
		{"dir/b-1.c", "counter", &counter, false},
		{"dir/b-1.c", "scale", (void *)scale, false},
		{NULL, "turns", &turns, true},
		{NULL, "history", history, true},
		{"b+c.c", "note", &note, true},
	};

	load(path, own, INJ_ARRAY_LENGTH(own), ret);
}

ParameterizedTestParameters(link, all)
{
	return objects_named("link/link-all-*.so");
}

ParameterizedTest(struct object *object, link, all)
{
	struct loaded loaded;
	char text[100];

	load_here(object->path, &loaded);

	int (*data)(int) = (int (*)(int))entry_of(&loaded, "data");
	int (*by_table)(int, int) = (int (*)(int, int))entry_of(&loaded, "by_table");
	const char *(*by_switch)(int) = (const char *(*)(int))entry_of(&loaded, "by_switch");
	int (*libc)(char *, size_t, int) =
		(int (*)(char *, size_t, int))entry_of(&loaded, "libc.part.0");
	long (*tls)(int) = (long (*)(int))entry_of(&loaded, "tls");
	void *(*tls_address)(void) = (void *(*)(void))entry_of(&loaded, "tls_address");

	cr_expect_eq(data(2), 5 + 12 + 8 + 1);
	cr_expect_eq(data(0), 5 + 12 + 9 + 2);
	cr_expect_eq(greeted, 12);
	cr_expect_eq(counter, 22);
	cr_expect_eq(by_table(0, 21), 42);
	cr_expect_eq(by_table(1, 21), 63);
	cr_expect_eq(by_table(2, 2), 100);
	cr_expect_eq(by_table(3, -9), 9);
	cr_expect_str_eq(by_switch(0), "zero");
	cr_expect_str_eq(by_switch(2), "two");
	cr_expect_str_eq(by_switch(7), "sieben");
	cr_expect_str_eq(by_switch(8), "many");
	cr_expect_eq(libc(text, sizeof(text), 77), (int)strlen(text));
	cr_expect_str_eq(text, "copied 1 9 77/13");
	cr_expect_eq(tls(4), 11 + 7 + 2);
	cr_expect_eq(turns, 7);
	cr_expect_eq(history[2], 7);
	cr_expect_eq(note, 2);
	cr_expect_eq(tls_address(), &history[3]);
	unload(&loaded);
}

ParameterizedTestParameters(link, indirect)
{
	return objects_named("link/link-indirect-*.so");
}

ParameterizedTest(struct object *object, link, indirect)
{
	struct loaded loaded;

	load_here(object->path, &loaded);
	cr_expect_geq(resolver_runs, 2);
	cr_expect_eq(resolver_runs, loaded.n_resolvers_run);

	int (*indirect)(int) = (int (*)(int))entry_of(&loaded, "indirect");

	cr_expect_eq(indirect(1), 101 + 201 + 201);
	unload(&loaded);
}

/* The frame of the "target" between two frames of the patch. */
static int (*thrower)(int);

static int call_thrower(int x)
{
	return thrower(x) + 1000;
}

ParameterizedTestParameters(link, exceptions)
{
	return objects_named("link/link-throw-*.so");
}

ParameterizedTest(struct object *object, link, exceptions)
{
	struct loaded loaded;

#ifdef UNDER_ASAN
	cr_skip_test(
		"the sanitizer's own __cxa_throw stands in the way of a libstdc++ loaded late");
#endif
	cr_assert(dlopen("libstdc++.so.6", RTLD_NOW | RTLD_GLOBAL), "%s", dlerror());
	cr_assert(dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_GLOBAL), "%s", dlerror());
	load_here(object->path, &loaded);
	thrower = (int (*)(int))entry_of(&loaded, "thrower");

	int (*catcher)(int (*)(int), int) =
		(int (*)(int (*)(int), int))entry_of(&loaded, "_ZN6target7catcherEPFiiEi");

	cr_expect_eq(catcher(call_thrower, 5), 1005);
	cr_expect_eq(catcher(call_thrower, 7), (int)strlen("more than five: 7"));
	cr_expect_eq(catcher(call_thrower, 30), -30);
	cr_expect_eq(greeted, 13, "destructors did not run");
	cr_expect_str_eq(loaded.patch->version, "2.0-rc1+b~2:1");
	unload(&loaded);
}

Test(link, two_files_make_one_patch)
{
	struct loaded loaded;

	load_here(patch_path("link/halves.so"), &loaded);
	cr_assert_eq(loaded.patch->n_replacements, 2);
	cr_assert_str_eq(loaded.patch->id, "two_halves");

	int (*first)(void) = (int (*)(void))entry_of(&loaded, "first");
	int (*second)(void) = (int (*)(void))entry_of(&loaded, "second");

	cr_assert_eq(first(), 42);
	cr_assert_eq(second(), 41);
	unload(&loaded);
}
