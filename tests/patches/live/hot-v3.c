/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>
#include <time.h>

DSU_NEW static long nap_v3(long us)
{
	struct timespec pause = { .tv_nsec = us * 1000 };

	nanosleep(&pause, 0);
	return 3;
}

DSU_PATCH("hot-v3", "1.0");
DSU_REPLACE(nap, nap_v3);
