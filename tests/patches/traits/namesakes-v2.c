/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* VAGUE_FUNCTION and VAGUE_DATA leave open which of two namesakes is meant. */
#include <dsu/patch.h>

#ifdef VAGUE_DATA
extern long base;
#else
extern long base DSU_SYMBOL("namesakes-other.c", base);
#endif

DSU_NEW static long step_v2(long x)
{
	return x + 1000 + base;
}

DSU_PATCH("namesakes-v2", "1.0");
#ifdef VAGUE_FUNCTION
DSU_REPLACE(step, step_v2);
#else
DSU_REPLACE(DSU_SYMBOL("namesakes-other.c", step), step_v2);
#endif
