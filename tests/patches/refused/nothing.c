/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dsu/patch.h>

#ifdef WITH_DECLARATION
DSU_PATCH("nothing", "1");
#endif

static int unused = 3;
int *exported_pointer = &unused;
