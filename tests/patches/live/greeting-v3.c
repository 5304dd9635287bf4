/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

DSU_NEW static const char *greeting_v3(void)
{
	return "hello, third world";
}

DSU_PATCH("greeting-v3", "2.0");
DSU_REPLACE(greeting, greeting_v3);
