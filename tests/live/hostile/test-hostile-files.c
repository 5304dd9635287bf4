/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A target in a root directory of its own, where whoever is root there has put something else in
 * the place of debug files, or crafted them. We answer in time, and read only what the target may
 * read itself.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "injector/symbol/module.h"
#include "tests/support/need.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define PATCH	"tests/live/hostile/hostile-only-in-one.so"
#define PROGRAM "tests/live/symbol/symbols-by-id"
/* Bombs of this test are larger when they have gone off. */
#define MAX_KB (256L << 10)
#define UPDATE INJ_CLEANUP(update_done) struct update

TestSuite(hostile_files, .timeout = 120);

struct scene {
	char root[64];
	char debug[256]; /* the place of the debug file */
	struct victim *victim;
};

static void run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void run(const char *format, ...)
{
	char command[4096];
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(command, sizeof(command), format, arguments);
	va_end(arguments);
	cr_assert_lt((size_t)n, sizeof(command));
	cr_assert_eq(system(command), 0, "%s", command);
}

static void find_debug_place(struct scene *scene)
{
	struct inj_process *process = NULL;
	struct inj_modules *modules = NULL;
	struct inj_maps *maps = NULL;
	const char *id;

	cr_assert_eq(inj_process_open(scene->victim->pid, &process, NULL), 0);
	cr_assert_eq(inj_maps_read(process, &maps, NULL), 0);
	cr_assert_eq(inj_modules_load(process, maps, &modules, NULL), 0);
	id = inj_modules_main(modules)->build_id_hex;
	run("mkdir -p '%s/usr/lib/debug/.build-id/%.2s'", scene->root, id);
	snprintf(scene->debug, sizeof(scene->debug), "%s/usr/lib/debug/.build-id/%.2s/%s.debug",
		 scene->root, id, id + 2);
	inj_modules_free(modules);
	inj_maps_free(maps);
	inj_process_close(process);
}

/* program: becomes /victim in the root, run there by nobody. */
static void scene_begin(struct scene *scene, const char *program)
{
	char chroot[] = "/usr/sbin/chroot", user[] = "--userspec=65534:65534", path[] = "/victim";
	char *argv[] = {chroot, user, scene->root, path, NULL};

	need_root();
	need_file(chroot, "coreutils");
	strcpy(scene->root, "/tmp/dsud-hostile-XXXXXX");
	cr_assert_not_null(mkdtemp(scene->root));
	cr_assert_eq(chmod(scene->root, 0755), 0);
	run("mkdir -p '%s/proc' '%s/tracing' && cp '%s' '%s/victim'", scene->root, scene->root,
	    program, scene->root);
	scene->victim = victim_spawn(argv);
	cr_assert_str_eq(victim_hear(scene->victim), "ready");
	find_debug_place(scene);
}

static void scene_end(struct scene *scene)
{
	victim_free(scene->victim);
	run("umount '%s/tracing' '%s/proc' 2>/dev/null; rm -rf --one-file-system '%s'", scene->root,
	    scene->root, scene->root);
}

/* Does the function's name come out of the debug file? */
static bool is_found(const struct scene *scene)
{
	UPDATE update = {};
	const struct upd_target *target = update_check(&update, PATCH, scene->victim->pid);

	bool missing = target->code == INJ_NO_SUCH_SYMBOL;

	cr_assert(target->code != INJ_INTERNAL && target->code != INJ_BAD_PATCH, "%s (%s): %s",
		  upd_result_word(target->result), inj_code_bus_name(target->code),
		  target->message);
	cr_assert(!missing || strstr(target->message, "is stripped"), "%s", target->message);
	return !missing;
}

Test(hostile_files, what_is_no_file_is_not_opened)
{
	static const char *const makings[] = {
		"mkfifo '%s'",
		"mknod '%s' c 1 5",
		"mknod '%s' c 1 11",
		"mkdir '%s'",
		"ln -s '%1$s' '%1$s'",
		"ln -s /proc/kmsg '%s'",
		"ln -s /proc/self/mem '%s'",
		"ln -s /tracing/trace_pipe '%s'",
		"ln -s /proc/self/root/proc/1/root/etc/shadow '%s'",
		"truncate -s 7T '%s'",
	};
	INJ_CLEANUP(scene_end) struct scene scene = {};

	scene_begin(&scene, build_path(PROGRAM));
	run("mount -t proc proc '%s/proc' && mount -t tracefs tracefs '%s/tracing' || true",
	    scene.root, scene.root);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(makings); i++) {
		char command[1024];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(command, sizeof(command), makings[i], scene.debug, scene.debug);
#pragma GCC diagnostic pop
		run("%s", command);
		cr_assert_not(is_found(&scene), "%s", makings[i]);
		run("rm -rf '%s'", scene.debug);
	}
}

/* A link can lead to what we may read and the target may not: its reader must not have it. */
Test(hostile_files, what_the_target_may_not_read_is_not_read_for_it)
{
	INJ_CLEANUP(scene_end) struct scene scene = {};
	const char *debug;

	scene_begin(&scene, build_path(PROGRAM));
	debug = build_path(PROGRAM ".debug");
	run("cp '%s' '%s/secret' && ln -s /secret '%s'", debug, scene.root, scene.debug);
	cr_assert(is_found(&scene));
	run("chmod 0600 '%s/secret'", scene.root);
	cr_assert_not(is_found(&scene));
	run("chown 65534 '%s/secret'", scene.root);
	cr_assert(is_found(&scene));
	/* A core has the memory of somebody: e_type becomes ET_CORE. */
	run("printf '\\4' | dd of='%s/secret' bs=1 seek=16 conv=notrunc status=none", scene.root);
	cr_assert_not(is_found(&scene));
}

/* In a process of its own, which has no other children than those that read. */
static void expect_small_search(const struct scene *scene)
{
	pid_t pid = fork();
	int status;

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		struct rusage usage;
		bool found = is_found(scene);

		getrusage(RUSAGE_CHILDREN, &usage);
		_exit(found ? 2 : usage.ru_maxrss >= MAX_KB);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
#ifndef __SANITIZE_ADDRESS__
	cr_assert_eq(WEXITSTATUS(status), 0, "%s",
		     WEXITSTATUS(status) == 1 ? "the reader grew too large" : "it was found");
#endif
}

/* Small files that unpack to hundreds of megabytes. */
Test(hostile_files, bombs_do_not_go_off)
{
	INJ_CLEANUP(scene_end) struct scene scene = {};
	char bomb[64] = "/tmp/dsud-bomb-XXXXXX";
	const char *program = build_path(PROGRAM);

	need_root();
	cr_assert_not_null(mkdtemp(bomb));
	run("cd %s && head -c 400M /dev/zero | xz -0 > xz && head -c 400M /dev/zero > zeros && "
	    "cp '%s' small && objcopy --add-section .gnu_debugdata=xz small bombed && "
	    "objcopy --add-section .debug_info=zeros --add-section .debug_abbrev=xz "
	    "--compress-debug-sections=zlib bombed && rm zeros",
	    bomb, program);
	snprintf(bomb + strlen(bomb), sizeof(bomb) - strlen(bomb), "/bombed");
	scene_begin(&scene, bomb);
	expect_small_search(&scene);
	*strrchr(bomb, '/') = '\0';
	run("rm -rf %s", bomb);
}
