/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Linked twice with different names for the declaration, which a linker would refuse otherwise. */
#define dsu_patch_declared_here DECLARED_AS
#include <dsu/patch.h>

DSU_PATCH("declared", "1");

DSU_NEW static int hello_new(void)
{
	return 2;
}

DSU_REPLACE(hello, hello_new);
