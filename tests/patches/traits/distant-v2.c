/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One patch for a program and its library, which lie further apart than a jump reaches; each uses
 * the other's data. */
#include <dsu/patch.h>

extern int asked;
extern int counted;
extern __thread long kept;

DSU_NEW static long near_v2(long x)
{
	counted += 10;
	return x + 1000;
}

DSU_NEW static long far_v2(long x)
{
	asked++;
	return x + 2000 + kept;
}

DSU_PATCH("distant-v2", "1.0");
DSU_REPLACE(near, near_v2);
DSU_REPLACE_IN("libdistant.so", far_away, far_v2);
