/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

DSU_PATCH("own-tls", "1");

static __thread int my_count;
__thread int my_total = 4;

DSU_NEW static int hello_new(void)
{
	return ++my_count + ++my_total;
}

DSU_REPLACE(hello, hello_new);
