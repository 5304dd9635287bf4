/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Replaces the function OLD of the victim; with MISSING it needs a symbol that is nowhere. */
#include <dsu/patch.h>

DSU_PATCH(ID, "1");

#ifdef MISSING
extern int no_such_symbol;
#else
static int no_such_symbol;
#endif

DSU_NEW static int replacement(void)
{
	return 43 + no_such_symbol;
}

/* One step in between, so that OLD is expanded before it becomes a name. */
#define REPLACE(old, replacement) DSU_REPLACE(old, replacement)
REPLACE(OLD, replacement);
