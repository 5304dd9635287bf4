/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * New code that calls a library with two versions. With LINKED it is linked with the library and
 * asks for both, else it says nothing about versions. With RETIRED it calls what has no default
 * version.
 */
#include <dsu/patch.h>

long answer(long x);
long retired(long x);

#ifdef LINKED
long answer_old(long x);
__asm__(".symver answer_old, answer@V1");
#else
#define answer_old(x) 0
#endif

DSU_NEW static long ask_v2(long x)
{
#ifdef RETIRED
	return retired(x);
#endif
	return 100 * answer_old(x) + answer(x);
}

DSU_PATCH("versions-ask", "1.0");
DSU_REPLACE(ask, ask_v2);
