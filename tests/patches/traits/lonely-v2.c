/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

DSU_NEW static long value_v2(long x)
{
	return x + 1000;
}

DSU_PATCH("lonely-v2", "1.0");
DSU_REPLACE(value, value_v2);
