/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

DSU_PATCH("twice", "1");

DSU_NEW static int hello_new(void)
{
	return 2;
}

DSU_NEW static int hello_newer(void)
{
	return 3;
}

DSU_REPLACE(hello, hello_new);
DSU_REPLACE_IN("libother.so", hello, hello_new);
DSU_REPLACE(hello, hello_newer);
