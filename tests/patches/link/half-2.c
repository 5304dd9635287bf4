/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

int second(void);

int second(void)
{
	return 41;
}

DSU_REPLACE(second, second);
