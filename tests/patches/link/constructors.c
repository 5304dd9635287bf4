/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two constructors and a destructor, which are counted and not run.
 */
#include <dsu/patch.h>

DSU_PATCH("constructors", "1");

extern int greeted;

__attribute__((constructor)) static void start(void)
{
	greeted = 1;
}

__attribute__((constructor(200))) static void start_early(void)
{
	greeted = 2;
}

__attribute__((destructor)) static void stop(void)
{
	greeted = 3;
}

DSU_NEW static int hello_new(void)
{
	return greeted;
}

DSU_REPLACE(hello, hello_new);
