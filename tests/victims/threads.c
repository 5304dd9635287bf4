/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * threads [N [PAUSE_US]]: N threads (default 4) that call work(i) for ever, with PAUSE_US
 * microseconds of sleep in between (default 100; 0 spins). Questions: count (calls of work() so
 * far, all threads), slowest (calls by the thread that has made fewest), greet, quit.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "tests/victims/line.h"

#define NOINLINE    __attribute__((noinline))
#define MAX_THREADS 4096

long work(long i);
const char *greeting(void);

static _Atomic long counters[MAX_THREADS];
static long n_threads = 4;
static long pause_us = 100;

NOINLINE long work(long i)
{
	return atomic_fetch_add_explicit(&counters[i], 1, memory_order_relaxed) + 1;
}

NOINLINE const char *greeting(void)
{
	return "hello";
}

static void *run(void *argument)
{
	long i = (long)argument;
	struct timespec pause = {.tv_nsec = pause_us * 1000};

	for (;;) {
		work(i);
		if (pause_us > 0)
			nanosleep(&pause, NULL);
	}
	return NULL;
}

static void start_threads(void)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	/* Small stacks, so that thousands of threads fit. */
	pthread_attr_setstacksize(&attributes, 64 * 1024);
	for (long i = 0; i < n_threads; i++) {
		if (pthread_create(&thread, &attributes, run, (void *)i) != 0) {
			puts("cannot start that many threads");
			exit(1);
		}
	}
}

static long sum(void)
{
	long total = 0;

	for (long i = 0; i < n_threads; i++)
		total += counters[i];
	return total;
}

static long slowest(void)
{
	long least = counters[0];

	for (long i = 1; i < n_threads; i++)
		least = counters[i] < least ? counters[i] : least;
	return least;
}

int main(int argc, char **argv)
{
	const char *line;

	if (argc > 1)
		n_threads = atol(argv[1]);
	if (argc > 2)
		pause_us = atol(argv[2]);
	if (n_threads < 1 || n_threads > MAX_THREADS || pause_us < 0 || pause_us > 999999) {
		puts("threads: bad arguments");
		return 2;
	}
	start_threads();
	line_ready();
	while ((line = line_next())) {
		if (strcmp(line, "count") == 0)
			printf("%ld\n", sum());
		else if (strcmp(line, "slowest") == 0)
			printf("%ld\n", slowest());
		else if (strcmp(line, "greet") == 0)
			puts(greeting());
		else
			puts("?");
	}
	return 0;
}
