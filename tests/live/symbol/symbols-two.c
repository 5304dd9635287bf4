/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/live/symbol/symbols.h"

int weak_one(void);
int alias_one(void);

static int counter = 2;

static NOINLINE int helper(int value)
{
	counter -= value;
	return counter;
}

static NOINLINE int mixed(int value)
{
	return helper(value) * 2;
}

__attribute__((weak)) NOINLINE int weak_one(void)
{
	return mixed(3);
}

/* Two names, one place. */
int alias_one(void) __attribute__((alias("weak_one")));

const void *two_tell(const char *name)
{
	const struct told told[] = {
		{"two:counter", &counter},
		{"two:helper", (void *)helper},
		{"two:mixed", (void *)mixed},
		{"two:weak_one", (void *)weak_one},
	};

	return find_told(told, sizeof(told) / sizeof(*told), name);
}
