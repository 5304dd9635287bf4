/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One thread, blocked in a read most of the time. Questions: greet, add, count (calls of
 * greeting() so far), quit.
 */
#include "tests/victims/line.h"

#define NOINLINE __attribute__((noinline))

const char *greeting(void);
int add(int a, int b);

static long n_greetings;

NOINLINE const char *greeting(void)
{
	n_greetings++;
	return "hello";
}

NOINLINE int add(int a, int b)
{
	/* Keeps the compiler from knowing the result, and the body longer than any redirect. */
	__asm__ volatile("" : "+r"(a));
	return a + b;
}

int main(void)
{
	const char *line;

	line_ready();
	while ((line = line_next())) {
		if (strcmp(line, "greet") == 0)
			puts(greeting());
		else if (strcmp(line, "add") == 0)
			printf("%d\n", add(2, 3));
		else if (strcmp(line, "count") == 0)
			printf("%ld\n", n_greetings);
		else
			puts("?");
	}
	return 0;
}
