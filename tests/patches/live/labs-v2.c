/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

DSU_NEW static long labs_v2(long number)
{
	return number < 0 ? -number : number;
}

DSU_PATCH("labs-v2", "1.0");
DSU_REPLACE_IN("libc.so.6", labs, labs_v2);
