/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* namesakes: two files, each with a static step() and a static base. Questions: both, quit. */
#include "tests/victims/line.h"

long from_other(long x);
long from_here(long x);

static long base = 10;

static __attribute__((noinline, noclone)) long step(long x)
{
	__asm__ volatile("" : "+r"(x));
	return x + base;
}

static long (*volatile call_step)(long x) = step;

long from_here(long x)
{
	base++;
	return call_step(x);
}

int main(void)
{
	const char *line;

	line_ready();
	while ((line = line_next())) {
		if (strcmp(line, "both") == 0) {
			long here = from_here(0);
			long other = from_other(0);

			printf("%ld %ld\n", here, other);
		} else {
			puts("?");
		}
	}
	return 0;
}
