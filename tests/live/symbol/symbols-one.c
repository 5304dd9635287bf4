/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shares names with symbols-two.c: helper and counter are static in both, mixed is global here. */
#include "tests/live/symbol/symbols.h"

int mixed(int value);
int everywhere(void);

static int counter = 1;
__thread long main_tls = 11;
static __thread char own_tls[40];

static NOINLINE int helper(int value)
{
	counter += value;
	return counter;
}

static NOINLINE int only_in_one(int value)
{
	own_tls[value & 31]++;
	return helper(value) + own_tls[0];
}

NOINLINE int mixed(int value)
{
	return only_in_one(value) + 1;
}

NOINLINE int everywhere(void)
{
	return 1;
}

/* A label in hand-written assembly that does not say that it is a function. */
__asm__(".text\n"
	".globl untyped\n"
	"untyped:\n"
	"	xorl %eax, %eax\n"
	"	ret\n");
extern int untyped(void);

const void *one_tell(const char *name)
{
	const struct told told[] = {
		{"one:counter", &counter},
		{"one:helper", (void *)helper},
		{"one:only_in_one", (void *)only_in_one},
		{"one:mixed", (void *)mixed},
		{"one:everywhere", (void *)everywhere},
		{"one:untyped", (void *)untyped},
		{"tls:main_tls", &main_tls},
		{"tls:own_tls", own_tls},
	};

	return find_told(told, sizeof(told) / sizeof(*told), name);
}
