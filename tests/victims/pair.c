/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pair: first() adds 2, second() adds 20. Questions: both, quit. */
#include "tests/victims/line.h"

long first(long x);
long second(long x);

/* Calls through pointers, as between files: the callers know nothing of what they call. */
static long (*volatile call_first)(long x) = first;
static long (*volatile call_second)(long x) = second;

__attribute__((noinline)) long first(long x)
{
	return x + 2;
}

__attribute__((noinline)) long second(long x)
{
	return x + 20;
}

int main(void)
{
	const char *line;

	line_ready();
	while ((line = line_next())) {
		if (strcmp(line, "both") == 0)
			printf("%ld %ld\n", call_first(0), call_second(0));
		else
			puts("?");
	}
	return 0;
}
