/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

DSU_PATCH("aligned", "1");

static __attribute__((aligned(8192))) char huge_pages[8192] = {1};

DSU_NEW static int hello_new(int x)
{
	return huge_pages[x];
}

DSU_REPLACE(hello, hello_new);
