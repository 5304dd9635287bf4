/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

DSU_NEW static long first_v2(long x)
{
	return x + 200;
}

DSU_NEW static long second_v2(long x)
{
	return x + 2000;
}

DSU_PATCH("pair-v2", "1.0");
DSU_REPLACE(first, first_v2);
DSU_REPLACE(second, second_v2);
