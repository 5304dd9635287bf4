/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * versions: a program with old and new users of a library that has two versions of its functions.
 *   Questions:
 *   answer    answer(0) of V1 and of V2: "1 2"
 *   retired   retired(0) of V1 and of V2: "10 20"
 *   ask       ask(0), a function of the program: "0"
 *   quit
 */
#include "tests/victims/line.h"

long ask(long x);
long answer_old(long x);
long answer(long x);
long retired_older(long x);
long retired_old(long x);

__asm__(".symver answer_old, answer@V1");
__asm__(".symver retired_older, retired@V1");
__asm__(".symver retired_old, retired@V2");

static long (*volatile call_ask)(long x) = ask;

__attribute__((noinline)) long ask(long x)
{
	return x * 1000003;
}

int main(void)
{
	const char *line;

	line_ready();
	while ((line = line_next())) {
		if (strcmp(line, "answer") == 0)
			printf("%ld %ld\n", answer_old(0), answer(0));
		else if (strcmp(line, "retired") == 0)
			printf("%ld %ld\n", retired_older(0), retired_old(0));
		else if (strcmp(line, "ask") == 0)
			printf("%ld\n", call_ask(0));
		else
			puts("?");
	}
	return 0;
}
