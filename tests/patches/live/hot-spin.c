/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

/* A helper that no record of the update mentions. */
DSU_NEW __attribute__((noinline)) static long spin_helper(long n)
{
	for (long i = 0; i < n; i++)
		__asm__ volatile("" : "+r"(n));
	return n;
}

DSU_NEW static long nap_spin(long us)
{
	for (long i = 0; i < 20000000; i++)
		__asm__ volatile("" : "+r"(us));
	return spin_helper(20000000) / 5000000;
}

DSU_PATCH("hot-spin", "1.0");
DSU_REPLACE(nap, nap_spin);
