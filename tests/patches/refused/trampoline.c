/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

DSU_PATCH("trampoline", "1");

extern int call(int (*function)(int), int x);

DSU_NEW static int hello_new(int x)
{
	int inner(int y)
	{
		return x + y;
	}

	return call(inner, 1);
}

DSU_REPLACE(hello, hello_new);
