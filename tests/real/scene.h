/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_REAL_SCENE_H
#define TESTS_REAL_SCENE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "injector/base/cleanup.h"
#include "tests/real/keeper.h"

/*
 * A temporary directory, readable by everybody, with a daemon of our own in it. The directory goes
 * away after everything that was started with its keep_fd, whatever happens to the test.
 */
struct scene {
	char directory[64];
	char socket_path[128];
	int keep_fd;
	pid_t tidy_pid;
	struct keeper *dsud;
	/* Of all updates. */
	unsigned n_threads; /* of all processes together, in the last one */
	unsigned n_updates;
	uint64_t longest_hold_ns;
	uint64_t longest_update_ns;
};

/* Skips the test unless we are root. Return: with a daemon that answers. */
struct scene *scene_new(void);
/* Stop the daemon, remove the directory. NULL is fine. */
void scene_free(struct scene *scene);
INJ_DEFINE_GUARD(struct scene *, scene_free, scene_guard)
#define SCENE INJ_CLEANUP(scene_guard) struct scene *

/* A path below the directory, in one of a few buffers of the test process that are used in turn. */
const char *scene_path(const struct scene *scene, const char *name);
/* Make a file below it; its time of change is always the same. */
void scene_write(const struct scene *scene, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Make a directory below it that belongs to the user (NULL: root). */
void scene_mkdir(const struct scene *scene, const char *name, const char *user);

/*
 * Run a program to its end. argv: ends with NULL, argv[0] is a path; ret_code: its exit code, NULL:
 * fail the test unless it is 0.
 * Return: its standard output, in a buffer of the test process.
 */
const char *scene_run(const struct scene *scene, const char *const *argv, int *ret_code);

/*
 * `dsuctl VERB WHAT --pid=...`; fails the test unless every process has this result.
 * what: path of a patch below the build directory, or the id of a patch.
 */
void scene_update(struct scene *scene, const char *verb, const char *what, const pid_t *pids,
		      size_t n_pids, const char *result);
/* Fails the test unless `dsuctl status` shows this patch, and nothing else, in each; NULL: none. */
void scene_expect_patch(struct scene *scene, const pid_t *pids, size_t n_pids, const char *id);

/*
 * Wait until somebody listens at the address.
 * may_end: false: fail the test when the keeper's program ends first. Return: somebody listens.
 */
bool scene_await_listener(struct keeper *keeper, const struct sockaddr *address, socklen_t length,
			  bool may_end);

#endif
