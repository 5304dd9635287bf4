/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For one library of the victim `kept`, called NAME; uses a variable that is private there and one
 * that is not. */
#include <dsu/patch.h>

#define TEXT(a) TEXT_(a)
#define TEXT_(a) #a
#define JOIN(a, b) JOINED(a, b)
#define JOINED(a, b) a##b
#define REPLACE(module, name) DSU_REPLACE_NAMED(module, "", name, next_v2)

extern __thread long held;
extern __thread long JOIN(NAME, _sum);

DSU_NEW static long next_v2(long x)
{
	held += 100;
	JOIN(NAME, _sum) += held;
	return held + x;
}

DSU_PATCH("kept-v2", "1.0");
REPLACE("libkept-" TEXT(NAME) ".so", TEXT(NAME) "_next");
