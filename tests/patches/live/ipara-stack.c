/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A function with an argument on the stack: no frame may come between it and its callers. */
#include <dsu/patch.h>

DSU_NEW static long seven_v2(long a, long b, long c, long d, long e, long f, long g)
{
	return a + b + c + d + e + f + g * 7;
}

DSU_PATCH("ipara-stack", "1.0");
DSU_REPLACE(seven, seven_v2);
