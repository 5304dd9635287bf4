/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

DSU_PATCH("blocking-v2", "1.0");
DSU_REPLACE(version, version_v2);

long version_v2(void)
{
	return 2;
}
