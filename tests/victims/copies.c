/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * copies: functions of which the compiler, or the linker, makes more or less than one. Questions:
 *   inner     as called through a pointer and as inlined into two hosts
 *   scaled    called with a constant (its clone for that) and without
 *   shrunk    called with what a structure holds instead of the structure
 *   parted    its whole and its part that is entered past the inlined head
 *   merged    two static functions with the same code
 *   folded    two global functions with the same code, each in a section of its own
 *   aliased   one function with two names
 *   chilled   a function with a part for what rarely happens
 *   quit
 * Each answer lists what the calls returned; old versions return less than 1000.
 */
#include <stdlib.h>

#include "tests/victims/line.h"

#define NOINLINE __attribute__((noinline, noclone, noipa))
#define CLONED __attribute__((noinline))

static volatile long one = 1;

/* Inlined into both hosts; its own code is there for the pointer. */
static inline __attribute__((always_inline)) long inner_body(long x)
{
	return x * one + one;
}

static long inner(long x)
{
	return inner_body(x);
}

static long (*volatile inner_pointer)(long) = inner;

NOINLINE long host_one(long x);
NOINLINE long host_two(long x);

long host_one(long x)
{
	return inner(x) + one - 1;
}

long host_two(long x)
{
	return inner(x) * one;
}

/* Called with a constant by one and by another without. */
static CLONED long scaled(long x, long factor)
{
	long sum = 0;

	for (long i = 0; i < factor; i++)
		sum += x * one * i;
	for (long i = 0; i < factor; i++)
		sum -= x * one * i;
	return sum + one;
}

NOINLINE long scale_by_three(long x);
NOINLINE long scale_by(long x, long factor);

long scale_by_three(long x)
{
	return scaled(x, 3) * one;
}

long scale_by(long x, long factor)
{
	return scaled(x, factor) + one - 1;
}

struct large {
	long used, unused[7];
};

/* Of its argument just one number is handed over. */
static CLONED long shrunk(const struct large *large)
{
	return large->used * one + one - large->used;
}

NOINLINE long call_shrunk(long x);

long call_shrunk(long x)
{
	const struct large large = {.used = x};

	return shrunk(&large) * one;
}

static volatile long sink;

/* The test in front is inlined into the callers, the rest is not. */
static long parted(long x)
{
	if (__builtin_expect(x == 0, 1))
		return 1;
	for (long i = 0; i < x; i++)
		sink += i * one;
	for (long i = 0; i < x; i++)
		sink -= i * one;
	for (long i = 0; i < x; i++)
		sink ^= i * one;
	return one;
}

static long (*volatile parted_pointer)(long) = parted;

NOINLINE long call_parted(long x);
NOINLINE long call_parted_again(long x);

long call_parted(long x)
{
	return parted(x) * one;
}

long call_parted_again(long x)
{
	return parted(x) + one - 1;
}

static __attribute__((noinline, noclone)) long merged_one(long x)
{
	return one * one + x - x;
}

static __attribute__((noinline, noclone)) long merged_two(long x)
{
	return one * one + x - x;
}

NOINLINE long folded_one(long x);
NOINLINE long folded_two(long x);

long folded_one(long x)
{
	return x * 7 + one - x * 7;
}

long folded_two(long x)
{
	return x * 7 + one - x * 7;
}

NOINLINE long aliased(long x);
long also_aliased(long x) __attribute__((alias("aliased")));

long aliased(long x)
{
	return x + one;
}

/* Waits for a line in its cold part. */
__attribute__((cold, noinline, noclone)) static long wait_in_the_cold(void)
{
	puts("waiting");
	return line_next() ? one : 0;
}

NOINLINE long chilled(long x);

long chilled(long x)
{
	long before = one;

	if (__builtin_expect(x == 12345, 0))
		before = wait_in_the_cold() * before + wait_in_the_cold() * before - before;
	return before + x * one - x;
}

static long (*volatile also_pointer)(long) = also_aliased;

static void answer(const char *line)
{
	if (strcmp(line, "inner") == 0)
		printf("%ld %ld %ld\n", inner_pointer(0), host_one(0), host_two(0));
	else if (strcmp(line, "scaled") == 0)
		printf("%ld %ld\n", scale_by_three(5), scale_by(5, 3 * one));
	else if (strcmp(line, "shrunk") == 0)
		printf("%ld\n", call_shrunk(4));
	else if (strcmp(line, "parted") == 0)
		printf("%ld %ld %ld %ld\n", parted_pointer(0), parted_pointer(3), call_parted(3),
		       call_parted_again(3));
	else if (strcmp(line, "merged") == 0)
		printf("%ld %ld\n", merged_one(one), merged_two(one));
	else if (strcmp(line, "folded") == 0)
		printf("%ld %ld\n", folded_one(one), folded_two(one));
	else if (strcmp(line, "aliased") == 0)
		printf("%ld %ld\n", aliased(0), also_pointer(0));
	else if (strcmp(line, "chilled") == 0)
		printf("%ld\n", chilled(0));
	else if (strcmp(line, "cold") == 0)
		printf("%ld\n", chilled(12345));
	else
		puts("?");
}

int main(void)
{
	const char *line;

	line_ready();
	while ((line = line_next()))
		answer(line);
	return 0;
}
