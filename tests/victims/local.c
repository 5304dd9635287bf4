/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * local: counts calls of tick() per thread, in a thread-local variable of the program, and measures
 *   strings. Questions:
 *   tick      call tick() in the main thread: its count
 *   other     call tick() twice in a new thread: its count, 2 in the first version
 *   mine      the main thread's variable
 *   measure   a copied string and its length, by measure()
 *   quit
 */
#include <pthread.h>

#include "tests/victims/line.h"

long tick(void);
long measure(char *to, const char *from);
extern __thread long ticks;
extern int ticked;

__thread long ticks;
int ticked;

static long (*volatile call_tick)(void) = tick;
static long (*volatile call_measure)(char *to, const char *from) = measure;

__attribute__((noinline)) long tick(void)
{
	ticked++;
	return ++ticks;
}

__attribute__((noinline)) long measure(char *to, const char *from)
{
	size_t n = strlen(from);

	memcpy(to, from, n + 1);
	return (long)n;
}

static void *tick_twice(void *argument)
{
	call_tick();
	*(long *)argument = call_tick();
	return NULL;
}

static long tick_elsewhere(void)
{
	pthread_t thread;
	long count = -1;

	if (pthread_create(&thread, NULL, tick_twice, &count) == 0)
		pthread_join(thread, NULL);
	return count;
}

int main(void)
{
	char copy[64] = "";
	const char *line;
	long n;

	line_ready();
	while ((line = line_next())) {
		if (strcmp(line, "tick") == 0) {
			printf("%ld\n", call_tick());
		} else if (strcmp(line, "other") == 0) {
			printf("%ld\n", tick_elsewhere());
		} else if (strcmp(line, "mine") == 0) {
			printf("%ld %d\n", ticks, ticked);
		} else if (strcmp(line, "measure") == 0) {
			n = call_measure(copy, "a string");
			printf("%s %ld\n", copy, n);
		} else {
			puts("?");
		}
	}
	return 0;
}
