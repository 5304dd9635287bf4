/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For every victim that has version() to be patched, and is about something else. */
#include <dsu/patch.h>

DSU_PATCH("version-v2", "1.0");
DSU_REPLACE(version, version_v2);

long version_v2(void)
{
	return 2;
}
