/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The functions come with all of their callers, which were compiled for them. */
#include <dsu/patch.h>

DSU_NEW static __attribute__((noinline)) long along_v2(long x)
{
	__asm__ volatile("mov $-1,%%rcx; mov %%rcx,%%rdx; mov %%rcx,%%rsi"
			 :
			 :
			 : "rcx", "rdx", "rsi");
	return x ^ 21;
}

DSU_NEW static long call_along_v2(long x)
{
	return along_v2(x) + 49 * x;
}

DSU_NEW static __attribute__((noinline)) long seven_v2(long a, long b, long c, long d, long e,
						       long f, long g)
{
	return a + b + c + d + e + f + g * 7;
}

DSU_NEW static long call_seven_v2(long x)
{
	return seven_v2(x, x, x, x, x, x, x + 1) - 1;
}

DSU_PATCH("ipara-along", "1.0");
DSU_REPLACE(along, along_v2);
DSU_REPLACE(call_along, call_along_v2);
DSU_REPLACE(seven, seven_v2);
DSU_REPLACE(call_seven, call_seven_v2);
