/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For one function of the victim `chosen`, named by WHICH in MODULE. */
#include <dsu/patch.h>

#define REPLACE(module, old) DSU_REPLACE_NAMED(module, "", old, chosen_v2)

DSU_NEW static long chosen_v2(long x)
{
	return x + 1000;
}

DSU_PATCH("chosen-v2", "1.0");
REPLACE(MODULE, WHICH);
