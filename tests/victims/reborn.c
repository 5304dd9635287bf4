/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reborn [fixed]: starts itself anew, keeping its pid; `fixed`: without address randomisation, so
 * that each life looks like
 * the one before. Questions:
 *   value   what value() returns
 *   stay    starts a thread that stays inside of value()
 *   again   answers "ready" in the next life
 *   loop    answers "ok" and starts itself anew for ever, living for up to 20 ms, until the next
 *           question
 *   lives   how often it was born
 *   quit
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/personality.h>
#include <time.h>
#include <unistd.h>

#include "tests/victims/line.h"

long value(long ms);

/* A call through a pointer: the caller knows nothing of the callee. */
static long (*volatile call_value)(long ms) = value;

static void nap(long ms)
{
	struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	while (nanosleep(&pause, &pause) < 0 && errno == EINTR)
		;
}

__attribute__((noinline)) long value(long ms)
{
	if (ms)
		nap(ms);
	return 1;
}

static void *stay(void *argument)
{
	call_value(1000000000);
	return argument;
}

static _Noreturn void begin_anew(long lives, const char *how)
{
	char number[24];

	snprintf(number, sizeof(number), "%ld", lives + 1);
	execl("/proc/self/exe", "reborn", "life", number, how, (char *)NULL);
	exit(3);
}

static bool is_asked(int ms)
{
	struct pollfd poller = {.fd = STDIN_FILENO, .events = POLLIN};

	return poll(&poller, 1, ms) > 0;
}

/* What it returns is neither the old nor the new version's: then the program is broken. */
static void live_a_little(long lives)
{
	long turns = lives * 7919 % 20;

	do
		for (int i = 0; i < 1000; i++) {
			long result = call_value(0);

			if (result != 1 && result != 1000)
				abort();
		}
	while (turns-- > 0 && !is_asked(1));
}

static void answer(const char *line, long lives)
{
	pthread_t thread;

	if (strcmp(line, "value") == 0) {
		printf("%ld\n", call_value(0));
	} else if (strcmp(line, "lives") == 0) {
		printf("%ld\n", lives);
	} else if (strcmp(line, "stay") == 0) {
		puts(pthread_create(&thread, NULL, stay, NULL) == 0 ? "ok" : "no");
	} else if (strcmp(line, "again") == 0) {
		begin_anew(lives, "tell");
	} else if (strcmp(line, "loop") == 0) {
		puts("ok");
		begin_anew(lives, "loop");
	} else {
		puts("?");
	}
}

int main(int argc, char **argv)
{
	bool first = argc < 4;
	long lives = first ? 1 : atol(argv[2]);
	const char *line;

	if (argc == 2 && strcmp(argv[1], "fixed") == 0) {
		personality(ADDR_NO_RANDOMIZE);
		begin_anew(0, "tell");
	}
	if (!first && strcmp(argv[3], "loop") == 0) {
		live_a_little(lives);
		if (!is_asked(0))
			begin_anew(lives, "loop");
		setvbuf(stdout, NULL, _IOLBF, 0);
	} else {
		line_ready();
	}
	while ((line = line_next()))
		answer(line, lives);
	return 0;
}
