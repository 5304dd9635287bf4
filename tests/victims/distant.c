/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* distant: near() of the program adds 1, far_away() of its library adds 2 and counts. Questions:
 * both, counted, quit. */
#include "tests/victims/line.h"

long near(long x);
long far_away(long x);
extern int counted;
int asked;

static long (*volatile call_near)(long x) = near;

__attribute__((noinline)) long near(long x)
{
	return x + 1;
}

int main(void)
{
	const char *line;

	line_ready();
	while ((line = line_next())) {
		if (strcmp(line, "both") == 0)
			printf("%ld %ld\n", call_near(0), far_away(0));
		else if (strcmp(line, "counted") == 0)
			printf("%d %d\n", asked, counted);
		else
			puts("?");
	}
	return 0;
}
