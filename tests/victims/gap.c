/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * gap N: N threads; one spins and notes the largest gap between two looks at the clock, the others
 * sleep in short pauses; a single thread spins between questions. Questions: gap (nanoseconds, the
 * largest since the last question), cost (nanoseconds a million calls of answer() take), answer
 * (what answer() returns), quit.
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "tests/victims/line.h"

long answer(long x);

static _Atomic uint64_t largest;
static long (*volatile call_answer)(long x) = answer;

__attribute__((noinline)) long answer(long x)
{
	return x + 1;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t look(uint64_t last)
{
	const uint64_t now = now_ns();

	if (now - last > largest)
		largest = now - last;
	return now;
}

static void *spin(void *argument)
{
	for (uint64_t last = now_ns();;)
		last = look(last);
	return argument;
}

static void spin_until_asked(void)
{
	struct pollfd input = {.fd = 0, .events = POLLIN};
	uint64_t last = now_ns();

	while (poll(&input, 1, 0) == 0)
		for (int i = 0; i < 1000; i++)
			last = look(last);
}

static void *sleeper(void *argument)
{
	const struct timespec pause = {.tv_nsec = 50000000};

	for (;;)
		nanosleep(&pause, NULL);
	return argument;
}

static uint64_t cost(void)
{
	uint64_t best = UINT64_MAX;

	for (int round = 0; round < 20; round++) {
		uint64_t begin = now_ns();
		long x = 0;

		for (int i = 0; i < 1000000; i++)
			x = call_answer(x);
		if (now_ns() - begin < best)
			best = now_ns() - begin;
	}
	return best;
}

static const char *next_question(bool alone)
{
	if (alone)
		spin_until_asked();
	return line_next();
}

int main(int argc, char **argv)
{
	const long n = argc > 1 ? atol(argv[1]) : 1;
	pthread_attr_t attributes;
	pthread_t thread;
	const char *line;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 64 * 1024);
	for (long i = 1; i < n; i++)
		if (pthread_create(&thread, &attributes, i == 1 ? spin : sleeper, NULL) != 0)
			return 1;
	line_ready();
	while ((line = next_question(n == 1))) {
		if (strcmp(line, "gap") == 0)
			printf("%llu\n", (unsigned long long)atomic_exchange(&largest, 0));
		else if (strcmp(line, "cost") == 0)
			printf("%llu\n", (unsigned long long)cost());
		else if (strcmp(line, "answer") == 0)
			printf("%ld\n", call_answer(0));
		else
			puts("?");
	}
	return 0;
}
