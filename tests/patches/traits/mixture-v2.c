/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A bit of everything that compilers and linkers treat in ways of their own. Each piece that works
 * adds its decimal digit: compute_v2(0) is 11111111. The other half is in mixture-more.c.
 */
#include <dsu/patch.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))

/* Of the target: one that is private there, one that exists, two that do not. */
extern volatile long secret;
extern long helper(long x) __attribute__((weak));
extern long absent(long x) __attribute__((weak));
extern long absent_data __attribute__((weak));

/* Of the other half. */
extern long hidden_part(long x) __attribute__((visibility("hidden")));
extern long hidden_data __attribute__((visibility("hidden")));
extern long protected_part(long x) __attribute__((visibility("protected")));
extern long classify(unsigned kind, double value);

long compute_v2(long x);
long twofold(long x);

/* The target has a strong one of this name. */
NOINLINE __attribute__((weak)) long twofold(long x)
{
	return 2 * x;
}

static NOINLINE long one(long x)
{
	return x + 1;
}

static NOINLINE long none(long x)
{
	return x;
}

static long (*const table[])(long) = { none, one, hidden_part };
static long (*chosen)(long) = one;
static long calls; /* .bss */

static NOINLINE long use_libc(const char *name)
{
	char text[64], copy[64];

	snprintf(text, sizeof(text), "%s %.2f %d", name, 1.5, 42);
	memcpy(copy, text, strlen(text) + 1);
	return strcmp(copy, "mixture 1.50 42") == 0;
}

long compute_v2(long x)
{
	volatile long from = 1;

	calls++;
	x += helper && helper(0) == secret;
	x += 10 * (!absent && &absent_data == NULL);
	x += 100 * (twofold(from) == 2);
	x += 1000 * (hidden_part(from) == 3 && protected_part(from) == 4 && hidden_data == 5);
	x += 10000 * (table[from](0) == 1 && chosen(from) == 2 && table[from + 1](from) == 3);
	x += 100000 * (secret == 7);
	x += 1000000 * use_libc("mixture");
	x += 10000000 * (classify((unsigned)from + 3, 2.5) == 9 && calls > 0);
	return x;
}

DSU_PATCH("mixture-v2", "1.0");
DSU_REPLACE(compute, compute_v2);
