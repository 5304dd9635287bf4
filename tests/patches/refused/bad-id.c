/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

DSU_PATCH(BAD_ID, BAD_VERSION);

DSU_NEW static int hello_new(void)
{
	return 2;
}

DSU_REPLACE(hello, hello_new);
