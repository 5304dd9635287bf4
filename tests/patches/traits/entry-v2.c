/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For one function of the victim `entries`, named by ENTRY. */
#include <dsu/patch.h>

#define REPLACE(old) DSU_REPLACE(old, entry_v2)

DSU_NEW static long entry_v2(long x)
{
	return x + 1000;
}

DSU_PATCH("entry-v2", "1.0");
REPLACE(ENTRY);
