/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>
#include <time.h>

DSU_NEW static long nap_v2(long us)
{
	struct timespec pause = { .tv_nsec = us * 1000 };

	nanosleep(&pause, 0);
	return 2;
}

DSU_PATCH("hot-v2", "1.0");
DSU_REPLACE(nap, nap_v2);
