/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

const char *greeting_v2(void);

static int calls;

const char *greeting_v2(void)
{
	return ++calls > 0 ? "hello, new world" : "never";
}

DSU_PATCH("greeting-v2", "1.0");
DSU_REPLACE(greeting, greeting_v2);
