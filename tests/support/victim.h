/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_SUPPORT_VICTIM_H
#define TESTS_SUPPORT_VICTIM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "injector/base/cleanup.h"

/*
 * A running program under test, on two pipes. Everything that goes wrong here (the program does
 * not start, does not answer in time, ends unasked) fails the test at once with a sentence.
 * Whatever happens to the test, the victim ends with it: victim_free(), else the end of the test
 * process kills it with its process group.
 */
struct victim {
	pid_t pid;
	int to;	    /* its standard input, -1 when closed */
	int from;   /* its standard output */
	int status; /* of waitpid(2), once reaped */
	bool reaped;
	char name[64];
	char line[4096]; /* the last line read, without its line feed */
	char pending[4096];
	size_t n_pending;
};

/*
 * Start a program of tests/victims/ and wait for its first line, "ready".
 * name: as in tests/victims/meson.build, with the suffix of a variant; further arguments end
 * with NULL: victim_start("threads-static", "8", NULL). Errors of ours fail the test; a variant
 * that this build could not make skips it.
 */
struct victim *victim_start(const char *name, ...) __attribute__((sentinel));

/*
 * Start any program, waiting for nothing.
 * argv: ends with NULL, argv[0] is the path (no search in $PATH).
 */
struct victim *victim_spawn(char *const argv[]);

/* Kill with the whole process group, reap, free. NULL is fine. */
void victim_free(struct victim *victim);
INJ_DEFINE_GUARD(struct victim *, victim_free, victim_guard)
#define VICTIM INJ_CLEANUP(victim_guard) struct victim *

/* Send one line; the line feed is added. */
void victim_tell(struct victim *victim, const char *line);
/* The next line it prints. Valid until the next call. Fails the test after the deadline. */
const char *victim_hear(struct victim *victim);
/* Tell, then hear. */
const char *victim_ask(struct victim *victim, const char *line);
/* Ask and compare; the test fails unless the answer is this one. */
void victim_expect(struct victim *victim, const char *line, const char *answer);
/* Ask for a number. */
long long victim_ask_number(struct victim *victim, const char *line);
/*
 * Ask for a number again and again until it is above `than`: proof that the program goes on.
 * Return: the number.
 */
long long victim_expect_above(struct victim *victim, const char *line, long long than);

/* Wait until it ends by itself. Return: status of waitpid(2). Fails the test after the deadline. */
int victim_wait(struct victim *victim);
/* Close its input, the polite way to end; then as victim_wait(). */
int victim_quit(struct victim *victim);
/* Has it ended? Reaps. */
bool victim_ended(struct victim *victim);

/* Path of a file below the build directory, in a buffer of the test process. */
const char *build_path(const char *name);
/* Path of a file of the source tree. */
const char *source_path(const char *name);

/* How long anything may take before a test fails; generous, for slow machines. */
#define VICTIM_DEADLINE_MS 30000

#endif
