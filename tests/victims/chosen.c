/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * chosen: functions that a resolver chooses when they are bound (IFUNC), in the program and, with
 * LIBRARY, in a library of which nothing is bound before its first call. Questions:
 *   near      near_one(0) by name and by its address: "1 1"
 *   twins     two functions for which one implementation was chosen: "3 3"
 *   far       far_one(0) of the library: "2"
 *   quit
 */
#include "tests/victims/line.h"

long near_one(long x);
long twin_one(long x);
long twin_two(long x);

static long near_plain(long x)
{
	return x + 1;
}

static long near_fancy(long x)
{
	return x + 100;
}

static long twin(long x)
{
	return x + 3;
}

/* Runs before the program is relocated. */
static long (*choose_near(void))(long)
{
	__builtin_cpu_init();
	return __builtin_cpu_supports("sse2") ? near_plain : near_fancy;
}

static long (*choose_first(void))(long)
{
	return twin;
}

static long (*choose_second(void))(long)
{
	return twin;
}

long near_one(long x) __attribute__((ifunc("choose_near")));
long twin_one(long x) __attribute__((ifunc("choose_first")));
long twin_two(long x) __attribute__((ifunc("choose_second")));

#ifdef LIBRARY
long far_one(long x);
#endif

static long (*volatile call_near)(long) = near_one;

int main(void)
{
	const char *line;

	line_ready();
	while ((line = line_next())) {
		if (strcmp(line, "near") == 0)
			printf("%ld %ld\n", near_one(0), call_near(0));
		else if (strcmp(line, "twins") == 0)
			printf("%ld %ld\n", twin_one(0), twin_two(0));
#ifdef LIBRARY
		else if (strcmp(line, "far") == 0)
			printf("%ld\n", far_one(0));
#endif
		else
			puts("?");
	}
	return 0;
}
