/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A patch of two files: this one declares it, both replace.
 */
#include <dsu/patch.h>

DSU_PATCH("two_halves", "1");

int first(void);
int second(void);

int first(void)
{
	return second() + 1;
}

DSU_REPLACE(first, first);
