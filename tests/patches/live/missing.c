/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

extern int nobody_has_this;

DSU_NEW static const char *greeting_v2(void)
{
	return nobody_has_this ? "a" : "b";
}

DSU_PATCH("missing", "1.0");
DSU_REPLACE(greeting, greeting_v2);
