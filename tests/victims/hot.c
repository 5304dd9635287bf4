/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hot [N [US]]: N threads (default 1) that do nothing but call nap(), which sleeps US microseconds
 * (default 20000) and
 * returns 1 in the first version: the function is on a stack nearly all the time. `version` answers
 * what nap() returned last in every thread, `rounds` how often the slowest thread came round,
 * `stuck` starts a thread that stays in nap() for ever, quit.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "tests/victims/line.h"

#define MAX_THREADS 64

long nap(long us);

static _Atomic long last[MAX_THREADS];
static _Atomic long rounds[MAX_THREADS];
static long n_threads = 1;
static long nap_us = 20000;
static volatile long version = 1;

/* A call through a pointer: the caller knows nothing of the callee, as with any function of another
 * file. */
static long (*volatile call_nap)(long us) = nap;

__attribute__((noinline)) long nap(long us)
{
	struct timespec pause = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

	nanosleep(&pause, NULL);
	return version;
}

static void *run(void *argument)
{
	long i = (long)argument;

	for (;;) {
		last[i] = call_nap(nap_us);
		rounds[i]++;
	}
	return NULL;
}

static void *stay(void *argument)
{
	call_nap(1000000000000);
	return argument;
}

static void start(void *(*function)(void *), long i)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, function, (void *)i) != 0)
		exit(1);
}

static void answer(const char *line)
{
	if (strcmp(line, "version") == 0) {
		for (long i = 0; i < n_threads; i++)
			printf("%ld%s", (long)last[i], i + 1 < n_threads ? " " : "\n");
	} else if (strcmp(line, "rounds") == 0) {
		long least = rounds[0];

		for (long i = 1; i < n_threads; i++)
			least = rounds[i] < least ? rounds[i] : least;
		printf("%ld\n", least);
	} else if (strcmp(line, "stuck") == 0) {
		start(stay, 0);
		puts("ok");
	} else {
		puts("?");
	}
}

int main(int argc, char **argv)
{
	const char *line;

	n_threads = argc > 1 ? atol(argv[1]) : n_threads;
	nap_us = argc > 2 ? atol(argv[2]) : nap_us;
	for (long i = 0; i < n_threads; i++)
		start(run, i);
	line_ready();
	while ((line = line_next()))
		answer(line);
	return 0;
}
