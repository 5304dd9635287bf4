/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For one version of a function of libversions, named by WHICH in MODULE. */
#include <dsu/patch.h>

#define REPLACE(module, old) DSU_REPLACE_NAMED(module, "", old, version_v2)

DSU_NEW static long version_v2(long x)
{
	return x + 1000;
}

DSU_PATCH("versions-v2", "1.0");
REPLACE(MODULE, WHICH);
