/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_LIVE_HOLD_HOLDING_H
#define TESTS_LIVE_HOLD_HOLDING_H

/* What every test of holding needs: a process, a tracer, and a random pause. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "injector/base/clock.h"
#include "injector/stop/tracer.h"
#include "tests/support/need.h"
#include "tests/support/victim.h"

#define PROCESS INJ_CLEANUP(inj_process_guard) struct inj_process *
#define TRACER	INJ_CLEANUP(inj_tracer_guard) struct inj_tracer *
#define MS	1000000ull
#define SECOND	(1000 * MS)

static inline struct inj_process *open_victim(pid_t pid)
{
	struct inj_process *process = NULL;
	struct inj_why why = {0};

	cr_assert_eq(inj_process_open(pid, &process, &why), 0, "%s", why.text);
	return process;
}

static inline struct inj_tracer *new_tracer(void)
{
	struct inj_tracer *tracer = NULL;
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	cr_assert_eq(inj_tracer_new(&tracer), 0);
	return tracer;
}

/* Fails the test unless everything is held. */
static inline struct inj_hold *hold_process(struct inj_tracer *tracer,
					    const struct inj_process *process)
{
	struct inj_hold *holds = NULL;
	struct inj_why why = {0};
	int r = inj_tracer_hold(tracer, &process, 1, inj_now_ns() + 20 * SECOND, 10 * SECOND,
				&holds, &why);

	cr_assert_eq(r, 0, "%d: %s", r, why.text);
	return holds;
}

static inline void pause_ns(uint64_t ns)
{
	struct timespec time = {(time_t)(ns / SECOND), (long)(ns % SECOND)};

	nanosleep(&time, NULL);
}

/* The same sequence in every run, so that a failure can be repeated. */
static inline uint64_t random_below(uint64_t *state, uint64_t limit)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state % limit;
}

/* One field of /proc/PID/task/TID/status, e.g. "TracerPid"; -1 when there is no such thread. */
static inline long long status_field(pid_t pid, pid_t tid, const char *key, int base)
{
	char path[64], line[256];
	size_t length = strlen(key);
	long long value = -1;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", (int)pid, (int)tid);

	INJ_CLEANUP(inj_file_guard) FILE *file = fopen(path, "re");

	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, key, length) == 0 && line[length] == ':')
			value = (long long)strtoull(line + length + 1, NULL, base);
	return value;
}

/* First letter of the state, or 0 when there is no such thread. */
static inline char thread_state(pid_t pid, pid_t tid)
{
	char path[64], line[256];
	char state = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/status", (int)pid, (int)tid);

	INJ_CLEANUP(inj_file_guard) FILE *file = fopen(path, "re");

	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, "State:\t", 7) == 0)
			state = line[7];
	return state;
}

#endif
