// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * tries [N [US]]: N threads (default 1) that do nothing but call nap() in a block that catches what
 * it throws. nap() sleeps US microseconds (default 20000) and returns or, every second time, throws
 * its version: the function is on a stack nearly all the time, below a frame with a handler.
 *   Questions:
 *   version   what nap() said last in every thread
 *   rounds    how often the slowest thread came round
 *   caught    how many exceptions were caught
 *   stuck     start a thread that stays in nap() for ever
 *   quit
 */
#include <atomic>
#include <cstdlib>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "tests/victims/line.h"

#define MAX_THREADS 64

struct tired {
	long version;
};

extern "C" {
long nap(long us, long round);
}

static std::atomic<long> last[MAX_THREADS], rounds[MAX_THREADS], caught;
static long n_threads = 1;
static long nap_us = 20000;
static volatile long version = 1;
static long (*volatile call_nap)(long us, long round) = nap;

__attribute__((noinline)) long nap(long us, long round)
{
	struct timespec pause = {us / 1000000, us % 1000000 * 1000};

	nanosleep(&pause, nullptr);
	if (round % 2)
		throw tired{version};
	return version;
}

static void *run(void *argument)
{
	auto i = reinterpret_cast<long>(argument);

	for (;;) {
		try {
			last[i] = call_nap(nap_us, rounds[i]);
		} catch (const tired &thrown) {
			last[i] = thrown.version;
			caught++;
		}
		rounds[i]++;
	}
	return nullptr;
}

static void *stay(void *argument)
{
	try {
		call_nap(1000000000000, 0);
	} catch (const tired &) {
	}
	return argument;
}

static void start(void *(*function)(void *), long i)
{
	pthread_t thread;

	if (pthread_create(&thread, nullptr, function, reinterpret_cast<void *>(i)) != 0)
		exit(1);
}

static void answer(const char *line)
{
	long least = rounds[0];

	for (long i = 1; i < n_threads; i++)
		least = rounds[i] < least ? rounds[i].load() : least;
	if (strcmp(line, "version") == 0) {
		for (long i = 0; i < n_threads; i++)
			printf("%ld%s", last[i].load(), i + 1 < n_threads ? " " : "\n");
	} else if (strcmp(line, "rounds") == 0) {
		printf("%ld\n", least);
	} else if (strcmp(line, "caught") == 0) {
		printf("%ld\n", caught.load());
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
	/* The threads still use what exit() would destroy. */
	fflush(stdout);
	_exit(0);
}
