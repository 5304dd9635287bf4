/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_LIVE_SYMBOL_SYMBOLS_H
#define TESTS_LIVE_SYMBOL_SYMBOLS_H

#include <string.h>

/* A function that stays one, under its own name. */
#ifdef __clang__
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE __attribute__((noinline, noclone))
#endif

/* What a part of the victim says about itself: a name that the tests use, and where it is. */
struct told {
	const char *name;
	const void *address;
};

static inline const void *find_told(const struct told *list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i].name, name) == 0)
			return list[i].address;
	return NULL;
}

const void *one_tell(const char *name);
const void *two_tell(const char *name);
const void *library_tell(const char *name);

/* Exported by the library: a variable that a program copies if it is not position independent. */
extern int library_variable;
extern __thread long library_tls;
int sample(void);
int library_only(int value);
int everywhere(void);

#endif
