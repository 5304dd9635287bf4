/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mixture: compute(x) returns x + 1; beside it there are a private variable and two functions for
 *   new versions to use.
 * Questions:
 *   compute   compute(0): "1"
 *   secret    the private variable: "7"
 *   quit
 */
#include "tests/victims/line.h"

long compute(long x);
long helper(long x);
long twofold(long x);

static volatile long secret = 7;

__attribute__((noinline)) long helper(long x)
{
	return x + secret;
}

/* Not two: a new version that brings its own must not get this one. */
__attribute__((noinline)) long twofold(long x)
{
	return 3 * x + helper(x);
}

__attribute__((noinline)) long compute(long x)
{
	return x + 1;
}

static long (*volatile call_compute)(long x) = compute;
static long (*volatile call_twofold)(long x) = twofold;

int main(void)
{
	const char *line;

	call_twofold(1);
	line_ready();
	while ((line = line_next())) {
		if (strcmp(line, "compute") == 0)
			printf("%ld\n", call_compute(0));
		else if (strcmp(line, "secret") == 0)
			printf("%ld\n", secret);
		else
			puts("?");
	}
	return 0;
}
