/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* With OWN it brings a thread-local variable along, which cannot be provided. */
#include <dsu/patch.h>
#include <string.h>

extern __thread long ticks;
extern int ticked;

#ifdef OWN
__thread long own;
#define COUNT own++
#else
#define COUNT ticked++
#endif

DSU_NEW static long tick_v2(void)
{
	COUNT;
	ticks += 100;
	return ticks;
}

/* The copy is done by functions that the C library chooses for the processor. */
DSU_NEW static long measure_v2(char *to, const char *from)
{
	size_t n = strlen(from);

	memcpy(to, from, n + 1);
	memcpy(to + n, from, n + 1);
	return (long)strlen(to);
}

DSU_PATCH("local-v2", "1.0");
DSU_REPLACE(tick, tick_v2);
DSU_REPLACE(measure, measure_v2);
