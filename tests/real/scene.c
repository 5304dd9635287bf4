/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the temporary directory, the daemon, and the calls of dsuctl. Always holds: the directory is
 * removed by a process of its own when the last holder of keep_fd is gone, which is the test or a
 * keeper. Everything goes through the real daemon and the real client, as an operator would do it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "injector/base/clock.h"
#include "injector/base/io.h"
#include "injector/base/types.h"
#include "tests/real/scene.h"
#include "tests/support/need.h"
#include "tests/support/victim.h"

#define N_PATHS	  8
#define MAX_PIDS  64
#define LISTEN_NS UINT64_C(60000000000)
#define LOOK_MS	  10
#define MAX_TEXT  (4u << 20)
/* 2024-01-01 00:00:00 UTC */
#define FILE_TIME 1704067200

/* --- the directory ---------------------------------------------------------------------------- */

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	return remove(path);
}

/* Starts before there is any thread in the test, so it may use all of libc. */
static void start_tidy(struct scene *scene)
{
	int life[2];
	char end;

	cr_assert_eq(pipe2(life, O_CLOEXEC), 0);
	scene->tidy_pid = fork();
	cr_assert_geq(scene->tidy_pid, 0);
	if (scene->tidy_pid == 0) {
		setsid();
		dup2(life[0], STDIN_FILENO);
		close_range(STDOUT_FILENO, ~0u, 0);
		while (read(STDIN_FILENO, &end, 1) < 0 && errno == EINTR)
			;
		nftw(scene->directory, remove_entry, 32, FTW_DEPTH | FTW_PHYS);
		_exit(0);
	}
	close(life[0]);
	scene->keep_fd = life[1];
}

const char *scene_path(const struct scene *scene, const char *name)
{
	static char paths[N_PATHS][160];
	static unsigned next;
	char *path = paths[next++ % N_PATHS];

	snprintf(path, sizeof(paths[0]), "%s/%s", scene->directory, name);
	return path;
}

void scene_write(const struct scene *scene, const char *name, const char *format, ...)
{
	const struct timespec times[2] = {{FILE_TIME, 0}, {FILE_TIME, 0}};
	FILE *file = fopen(scene_path(scene, name), "we");
	va_list arguments;

	cr_assert_not_null(file, "%s: %s", name, strerror(errno));
	va_start(arguments, format);
	vfprintf(file, format, arguments);
	va_end(arguments);
	cr_assert_eq(fflush(file), 0);
	cr_assert_eq(fchmod(fileno(file), 0644), 0);
	cr_assert_eq(futimens(fileno(file), times), 0);
	cr_assert_eq(fclose(file), 0);
}

void scene_mkdir(const struct scene *scene, const char *name, const char *user)
{
	const char *path = scene_path(scene, name);
	const struct passwd *entry = user ? getpwnam(user) : NULL;

	cr_assert(!user || entry, "there is no user %s", user);
	cr_assert_eq(mkdir(path, 0700), 0, "%s: %s", path, strerror(errno));
	cr_assert_eq(chmod(path, 0755), 0);
	if (entry)
		cr_assert_eq(chown(path, entry->pw_uid, entry->pw_gid), 0);
}

/* --- programs --------------------------------------------------------------------------------- */

static char *read_memory(int fd)
{
	char *text = NULL;
	size_t length = 0;

	lseek(fd, 0, SEEK_SET);
	cr_assert_eq(inj_read_whole(fd, MAX_TEXT, &text, &length), 0);
	return text;
}

const char *scene_run(const struct scene *scene, const char *const *argv, int *ret_code)
{
	static char *text;
	INJ_CLOSE int output = memfd_create("output", MFD_CLOEXEC);
	INJ_CLOSE int errors = memfd_create("errors", MFD_CLOEXEC);
	posix_spawn_file_actions_t actions;
	int status = 0;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, output, 1);
	posix_spawn_file_actions_adddup2(&actions, errors, 2);

	int r = posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);

	posix_spawn_file_actions_destroy(&actions);
	cr_assert_eq(r, 0, "%s: %s", argv[0], strerror(r));
	while (waitpid(pid, &status, 0) < 0)
		cr_assert_eq(errno, EINTR);
	cr_assert(WIFEXITED(status), "%s was killed by signal %d", argv[0], WTERMSIG(status));
	if (ret_code)
		*ret_code = WEXITSTATUS(status);
	else
		cr_assert_eq(status, 0, "%s ended with %d: %s%s", argv[0], WEXITSTATUS(status),
			     read_memory(errors), keeper_output(scene->dsud));
	free(text);
	text = read_memory(output);
	return text;
}

bool scene_await_listener(struct keeper *keeper, const struct sockaddr *address, socklen_t length,
			  bool may_end)
{
	uint64_t deadline_ns = inj_now_ns() + LISTEN_NS;

	for (;;) {
		INJ_CLOSE int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connect(fd, address, length) == 0)
			return true;
		/* Nothing tells that somebody listens; its end is what can be waited for. */
		if (keeper_await_end(keeper, LOOK_MS)) {
			cr_assert(may_end, "it ended instead of listening: %s",
				  keeper_output(keeper));
			return false;
		}
		cr_assert_gt(inj_remaining_ns(deadline_ns), 0, "it does not listen: %s",
			     keeper_output(keeper));
	}
}

/* --- the daemon ------------------------------------------------------------------------------- */

static void start_daemon(struct scene *scene)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char program[512], socket_option[160], state_option[160];
	const char *argv[] = {program, socket_option, state_option, "--no-system-bus", NULL};

	snprintf(program, sizeof(program), "%s", build_path("dsud/dsud"));
	snprintf(scene->socket_path, sizeof(scene->socket_path), "%s/dsud.socket",
		 scene->directory);
	snprintf(socket_option, sizeof(socket_option), "--socket=%s", scene->socket_path);
	snprintf(state_option, sizeof(state_option), "--state-dir=%s", scene_path(scene, "state"));
	scene->dsud = keeper_start(&(struct keeper_order){
		.argv = argv, .directory = scene->directory, .stop_signal = SIGTERM,
		.output = scene_path(scene, "dsud.log"), .keep_fd = scene->keep_fd});
	snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", scene->socket_path);
	scene_await_listener(scene->dsud, (struct sockaddr *)&address, sizeof(address), false);
}

struct scene *scene_new(void)
{
	struct scene *scene = calloc(1, sizeof(*scene));

	need_root();
	cr_assert_not_null(scene);
	strcpy(scene->directory, "/tmp/dsu-real-XXXXXX");
	cr_assert_not_null(mkdtemp(scene->directory));
	start_tidy(scene);
	cr_assert_eq(chmod(scene->directory, 0755), 0);
	start_daemon(scene);
	return scene;
}

void scene_free(struct scene *scene)
{
	if (!scene)
		return;
	keeper_stop(scene->dsud);
	cr_assert_eq(scene->dsud->status, 0, "dsud ended with status 0x%x: %s",
		     (unsigned)scene->dsud->status, keeper_output(scene->dsud));
	keeper_free(scene->dsud);
	inj_close_guard(&scene->keep_fd);
	while (waitpid(scene->tidy_pid, NULL, 0) < 0 && errno == EINTR)
		;
	cr_assert_neq(access(scene->directory, F_OK), 0, "%s is still there", scene->directory);
	free(scene);
}

/* --- dsuctl ----------------------------------------------------------------------------------- */

static json_t *run_dsuctl(struct scene *scene, const char *verb, const char *what,
			  const pid_t *pids, size_t n_pids)
{
	char program[512], socket_option[160], pid_option[16 * MAX_PIDS];
	const char *argv[] = {program, socket_option, "--json=short", verb, pid_option, what,
			      NULL};
	size_t used = (size_t)sprintf(pid_option, "--pid=");
	json_error_t error;

	cr_assert_leq(n_pids, MAX_PIDS);
	for (size_t i = 0; i < n_pids; i++)
		used += (size_t)sprintf(pid_option + used, "%s%d", i ? "," : "", (int)pids[i]);
	snprintf(program, sizeof(program), "%s", build_path("dsuctl/dsuctl"));
	snprintf(socket_option, sizeof(socket_option), "--socket=%s", scene->socket_path);

	json_t *root = json_loads(scene_run(scene, argv, NULL), 0, &error);

	cr_assert_not_null(root, "dsuctl %s prints no JSON: %s", verb, error.text);
	return root;
}

static uint64_t get_number(const json_t *object, const char *key)
{
	const json_t *number = json_object_get(object, key);

	cr_assert(json_is_integer(number), "%s is missing", key);
	return (uint64_t)json_integer_value(number);
}

static const char *get_string(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	cr_assert_not_null(text, "%s is missing", key);
	return text;
}

static void free_json(json_t **root)
{
	json_decref(*root);
}

static void note_longest(uint64_t *longest, uint64_t value)
{
	if (value > *longest)
		*longest = value;
}

void scene_update(struct scene *scene, const char *verb, const char *what, const pid_t *pids,
		      size_t n_pids, const char *result)
{
	char path[512];
	bool changes = strcmp(verb, "check") != 0;

	snprintf(path, sizeof(path), "%s", strchr(what, '/') ? build_path(what) : what);

	INJ_CLEANUP(free_json) json_t *root = run_dsuctl(scene, verb, path, pids, n_pids);
	const json_t *targets = json_object_get(root, "targets");

	cr_assert_eq(json_array_size(targets), n_pids);
	scene->n_threads = 0;
	for (size_t i = 0; i < n_pids; i++) {
		const json_t *target = json_array_get(targets, i);

		cr_assert_eq(get_number(target, "pid"), (uint64_t)pids[i]);
		cr_assert_str_eq(get_string(target, "result"), result);
		scene->n_threads += (unsigned)get_number(target, "n_threads");
		cr_assert_gt(get_number(target, "held_ns"), 0);
		if (changes) {
			note_longest(&scene->longest_hold_ns, get_number(target, "held_ns"));
			note_longest(&scene->longest_update_ns, get_number(target, "total_ns"));
		}
	}
	scene->n_updates += changes;
}

void scene_expect_patch(struct scene *scene, const pid_t *pids, size_t n_pids, const char *id)
{
	INJ_CLEANUP(free_json) json_t *root = run_dsuctl(scene, "status", NULL, pids, n_pids);
	const json_t *processes = json_object_get(root, "processes");

	cr_assert_eq(json_array_size(processes), n_pids);
	for (size_t i = 0; i < n_pids; i++) {
		const json_t *patches = json_object_get(json_array_get(processes, i), "patches");

		cr_assert_eq(json_array_size(patches), id ? 1 : 0);
		if (id) {
			const json_t *patch = json_array_get(patches, 0);

			cr_assert_str_eq(get_string(patch, "id"), id);
			cr_assert_str_eq(get_string(patch, "state"), "active");
		}
	}
}
