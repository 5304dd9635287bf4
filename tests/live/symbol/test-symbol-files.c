/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a module's file and its debug file are found: deleted, replaced, in another root, in
 * another mount namespace, stripped in the ways of distributions.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/live/symbol/target.h"
#include "tests/support/need.h"

/* A directory that goes away with the test, even with one that fails. */
struct place {
	char path[64];
};

static struct place to_remove;

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
	return remove(path);
}

static void place_end(struct place *place)
{
	nftw(place->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	to_remove.path[0] = '\0';
}

__attribute__((destructor)) static void end_place(void)
{
	if (to_remove.path[0])
		place_end(&to_remove);
}
#define PLACE INJ_CLEANUP(place_end) struct place

static void place_make(struct place *place)
{
	need_root();
	snprintf(place->path, sizeof(place->path), "/tmp/dsu-test-XXXXXX");
	cr_assert_not_null(mkdtemp(place->path));
	to_remove = *place;
	cr_assert_eq(chmod(place->path, 0755), 0);
}

static void run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void run(const char *format, ...)
{
	char command[8192];
	va_list arguments;

	va_start(arguments, format);
	int n = vsnprintf(command, sizeof(command), format, arguments);
	va_end(arguments);
	cr_assert_lt((size_t)n, sizeof(command));
	cr_assert_eq(system(command), 0, "%s", command);
}

/* Copy a program to PLACE/victim, its library beside it. Return: that path, malloc'ed. */
static char *bring(const struct place *place, const char *name)
{
	INJ_FREE char *from = target_path(name);
	INJ_FREE char *library = target_path("libsymbols.so.1");
	char *to;

	cr_assert_gt(asprintf(&to, "%s/victim", place->path), 0);
	run("cp '%s' '%s' && cp '%s' '%s'", from, to, library, place->path);
	return to;
}

Test(files, deleted_program)
{
	PLACE place;
	TARGET target;

	place_make(&place);
	INJ_FREE char *path = bring(&place, "symbols");
	char *argv[] = {path, NULL};

	target_run(&target, argv);
	cr_assert_eq(unlink(path), 0);
	target_reload(&target);
	cr_expect_str_eq(inj_modules_main(target.modules)->name, "victim");
	cr_expect(strstr(inj_modules_main(target.modules)->path, "(deleted)") != NULL);
	cr_expect_eq(inj_modules_named(target.modules, path), inj_modules_main(target.modules));
	expect_function(&target, NULL, NULL, "only_in_one", "one:only_in_one");
}

Test(files, replaced_program)
{
	PLACE place;
	TARGET target;

	/* Another program takes the path, as a package upgrade does. */
	place_make(&place);
	INJ_FREE char *path = bring(&place, "symbols");
	INJ_FREE char *other = target_path("symbols-nopie");
	char *argv[] = {path, NULL};

	target_run(&target, argv);
	char before[2 * INJ_BUILD_ID_MAX + 1];

	snprintf(before, sizeof(before), "%s", inj_modules_main(target.modules)->build_id_hex);
	run("cp '%s' '%s/new' && mv '%s/new' '%s'", other, place.path, place.path, path);
	target_reload(&target);
	cr_expect_str_eq(inj_modules_main(target.modules)->build_id_hex, before);
	expect_function(&target, NULL, NULL, "only_in_one", "one:only_in_one");
}

Test(files, library_overwritten_in_place)
{
	PLACE place;
	TARGET target;
	struct inj_why why = {0};
	struct inj_symbol symbol;

	/* Opening for writing is refused for programs, not for libraries: cp does this. */
	place_make(&place);
	INJ_FREE char *path = bring(&place, "symbols");
	char *argv[] = {path, NULL};
	char library[PATH_MAX];

	target_run(&target, argv);
	snprintf(library, sizeof(library), "%s/libsymbols.so.1", place.path);
	cr_assert_not_null(inj_modules_named(target.modules, library));
	/*
	 * The program lives on as long as it touches nothing of the library, not even its names to
	 * bind a function: the question makes it bind all that it needs to wait for the next one.
	 */
	target_told(&target, "one:helper");
	int fd = open(library, O_WRONLY);

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, 100), 0);
	close(fd);
	target_reload(&target);
	int r = inj_resolve_function(target.modules, "libsymbols.so.1", NULL, "everywhere", &symbol,
				     &why);

	cr_expect_eq(r, INJ_NO_SUCH_SYMBOL);
	cr_expect(strstr(why.text, "libsymbols.so.1") != NULL, "%s", why.text);
}

/* PLACE/usr/lib/debug/.build-id/xx/yyy.debug for a program */
static void bring_debug_file(const struct place *place, const char *build_id,
			     const char *debug_name)
{
	INJ_FREE char *debug = target_path(debug_name);

	run("mkdir -p '%s/usr/lib/debug/.build-id/%.2s' && "
	    "cp '%s' '%s/usr/lib/debug/.build-id/%.2s/%s.debug'",
	    place->path, build_id, debug, place->path, build_id, build_id + 2);
}

static void start_in_root(struct target *target, const struct place *place, const char *name)
{
	INJ_FREE char *path = bring(place, name);
	char chroot[] = "/usr/sbin/chroot", root[sizeof(place->path)], inside[] = "/victim";
	char *argv[] = {chroot, root, inside, NULL};

	snprintf(root, sizeof(root), "%s", place->path);
	need_file(chroot, "coreutils");
	target_run(target, argv);
}

Test(files, debug_file_by_build_id_in_the_targets_root)
{
	PLACE place;
	TARGET target;

	place_make(&place);
	start_in_root(&target, &place, "symbols-by-id");
	expect_refused(&target, NULL, NULL, "only_in_one", INJ_NO_SUCH_SYMBOL, "is stripped");
	bring_debug_file(&place, inj_modules_main(target.modules)->build_id_hex,
			 "symbols-by-id.debug");
	target_reload(&target);
	expect_function(&target, NULL, NULL, "only_in_one", "one:only_in_one");
	expect_function(&target, NULL, "symbols-two.c", "helper", "two:helper");
	cr_expect_not_null(inj_modules_main(target.modules)->debug_elf);
}

Test(files, debug_file_of_another_build_counts_as_absent)
{
	PLACE place;
	TARGET target;

	place_make(&place);
	start_in_root(&target, &place, "symbols-by-id");
	bring_debug_file(&place, inj_modules_main(target.modules)->build_id_hex, "symbols-static");
	target_reload(&target);
	expect_refused(&target, NULL, NULL, "only_in_one", INJ_NO_SUCH_SYMBOL, "is stripped");
}

Test(files, link_out_of_the_targets_root_stays_inside)
{
	PLACE place;
	TARGET target;
	INJ_FREE char *debug = target_path("symbols-by-id.debug");

	/* An absolute link to our file means nothing inside the target's root. */
	place_make(&place);
	start_in_root(&target, &place, "symbols-by-id");
	const char *build_id = inj_modules_main(target.modules)->build_id_hex;

	run("mkdir -p '%s/usr/lib/debug/.build-id/%.2s' && "
	    "ln -s '%s' '%s/usr/lib/debug/.build-id/%.2s/%s.debug'",
	    place.path, build_id, debug, place.path, build_id, build_id + 2);
	target_reload(&target);
	expect_refused(&target, NULL, NULL, "only_in_one", INJ_NO_SUCH_SYMBOL, "is stripped");
}

Test(files, debug_file_that_is_a_pipe_does_not_block)
{
	PLACE place;
	TARGET target;

	place_make(&place);
	start_in_root(&target, &place, "symbols-by-id");
	const char *build_id = inj_modules_main(target.modules)->build_id_hex;

	run("mkdir -p '%s/usr/lib/debug/.build-id/%.2s' && "
	    "mkfifo '%s/usr/lib/debug/.build-id/%.2s/%s.debug'",
	    place.path, build_id, place.path, build_id, build_id + 2);
	target_reload(&target);
	expect_refused(&target, NULL, NULL, "only_in_one", INJ_NO_SUCH_SYMBOL, "is stripped");
}

Test(files, debug_file_by_link_and_checksum)
{
	TARGET target;

	/* No build-id at all: the debug file lies beside the program. */
	target_start(&target, "symbols-by-link", NULL);
	cr_expect_eq(inj_modules_main(target.modules)->n_build_id, 0);
	expect_function(&target, NULL, NULL, "only_in_one", "one:only_in_one");
}

Test(files, debug_file_with_wrong_checksum_counts_as_absent)
{
	PLACE place;
	TARGET target;
	INJ_FREE char *debug = target_path("symbols-by-link.debug");

	place_make(&place);
	run("mkdir '%s/.debug' && cp '%s' '%s/.debug/'", place.path, debug, place.path);
	start_in_root(&target, &place, "symbols-by-link");
	expect_function(&target, NULL, NULL, "only_in_one", "one:only_in_one");
	run("printf x >> '%s/.debug/symbols-by-link.debug'", place.path);
	target_reload(&target);
	expect_refused(&target, NULL, NULL, "only_in_one", INJ_NO_SUCH_SYMBOL, "is stripped");
}

Test(files, names_in_gnu_debugdata)
{
	TARGET target;
	struct inj_symbol symbol;

	target_start(&target, "symbols-mini", NULL);
	expect_function(&target, NULL, NULL, "only_in_one", "one:only_in_one");
	/* What is not in it stays unknown. */
	expect_refused(&target, NULL, NULL, "mixed", INJ_NO_SUCH_SYMBOL, "there is no function");
	inj_addr address = (inj_addr)target_told(&target, "one:only_in_one");

	cr_assert(inj_symbol_at(target.modules, address, &symbol));
	cr_expect_str_eq(symbol.name, "only_in_one");
}

Test(files, other_mount_namespace)
{
	PLACE place;
	TARGET target;
	INJ_FREE char *from = target_path("symbols");
	INJ_FREE char *library = target_path("libsymbols.so.1");
	char script[4 * PATH_MAX];

	/* The victim's file exists only where the victim looks. */
	place_make(&place);
	snprintf(script, sizeof(script),
		 "mount -t tmpfs none '%s' && cp '%s' '%s/inside' && cp '%s' '%s' && exec "
		 "'%s/inside'",
		 place.path, from, place.path, library, place.path, place.path);
	char unshare[] = "/usr/bin/unshare", mount[] = "--mount", shell[] = "/bin/sh", c[] = "-c";
	char *argv[] = {unshare, mount, shell, c, script, NULL};

	need_file(unshare, "util-linux");
	target_run(&target, argv);
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/inside", place.path);
	cr_assert_neq(access(path, F_OK), 0);
	cr_expect_str_eq(inj_modules_main(target.modules)->name, "inside");
	expect_function(&target, NULL, NULL, "only_in_one", "one:only_in_one");
	expect_function(&target, "libsymbols.so.1", NULL, "everywhere", "library:everywhere");
}
