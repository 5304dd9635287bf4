/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* New versions of the first 1, 3 or 1000 functions of `many`: -DMANY=n. */
#include <dsu/patch.h>

#include "tests/victims/many.h"

#define REPLACE(a, b, c)                                                                 \
	DSU_NEW static long f##a##b##c##_v2(long x)                                      \
	{                                                                                \
		return x + MANY_NUMBER(a, b, c) + MANY_NEW;                              \
	}                                                                                \
	DSU_REPLACE(f##a##b##c, f##a##b##c##_v2);

DSU_PATCH("many", "2.0");

#if MANY == 1
REPLACE(0, 0, 0)
#elif MANY == 3
REPLACE(0, 0, 0)
REPLACE(5, 0, 7)
REPLACE(9, 9, 9)
#else
MANY_THOUSAND(REPLACE)
#endif
