/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

long work_v2(long i);

long work_v2(long i)
{
	return i;
}

DSU_PATCH("work-v2", "1.0");
DSU_REPLACE(work, work_v2);
