/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

DSU_NEW static void watched_v2(void (*go)(void))
{
	go();
}

DSU_PATCH("watched-v2", "1.0");
DSU_REPLACE(watched, watched_v2);
