/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

DSU_PATCH("indirect-new", "1");

static int chosen(void)
{
	return 2;
}

static int (*resolve(void))(void)
{
	return chosen;
}

#ifdef EXPORTED
int hello_new(void) __attribute__((ifunc("resolve")));
#else
DSU_NEW static int hello_new(void) __attribute__((ifunc("resolve")));
#endif

DSU_REPLACE(hello, hello_new);
