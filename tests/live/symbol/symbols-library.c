/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libsymbols.so.1: two versions of sample(), a variable and a thread-local one, a static function,
 * an IFUNC of its own that it calls itself.
 */
#include <string.h>

#include "tests/live/symbol/symbols.h"

#define EXPORT   __attribute__((visibility("default")))

EXPORT int library_variable = 5;
EXPORT __thread long library_tls = 7;

int sample_old(void);
int sample_new(void);
EXPORT int chosen(void);
int twice(void);

NOINLINE int sample_old(void)
{
	return 1;
}

NOINLINE int sample_new(void)
{
	return 2;
}

__asm__(".symver sample_old, sample@V1");
__asm__(".symver sample_new, sample@@V2");

static NOINLINE int hidden_helper(int value)
{
	return value + library_variable;
}

EXPORT NOINLINE int library_only(int value)
{
	return hidden_helper(value);
}

EXPORT NOINLINE int everywhere(void)
{
	return 3;
}

EXPORT NOINLINE int twice(void)
{
	return 5;
}

/* The exported names may mean somebody else's function here; these cannot. */
extern int own_everywhere(void) __attribute__((alias("everywhere"), visibility("hidden")));
extern int own_twice(void) __attribute__((alias("twice"), visibility("hidden")));

static NOINLINE int chosen_a(void)
{
	return 10;
}

__attribute__((used)) static int (*choose(void))(void)
{
	return chosen_a;
}

int chosen(void) __attribute__((ifunc("choose")));

EXPORT const void *library_tell(const char *name)
{
	/* Calls, so that there are slots for both. */
	void *(*volatile copy)(void *, const void *, size_t) = memcpy;
	char to[8];

	copy(to, name, 1);
	const struct told told[] = {
		{"library:sample_old", (void *)sample_old},
		{"library:sample_new", (void *)sample_new},
		{"library:only", (void *)library_only},
		{"library:hidden_helper", (void *)hidden_helper},
		{"library:variable", &library_variable},
		{"library:everywhere", (void *)own_everywhere},
		{"library:twice", (void *)own_twice},
		{"library:chosen_a", (void *)(chosen() == 10 ? chosen_a : NULL)},
		{"library:memcpy", (void *)copy},
		{"tls:library_tls", &library_tls},
	};

	return find_told(told, sizeof(told) / sizeof(*told), name);
}
