/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A library of the victim `kept`: NAME_next() counts the calls of a thread in a variable that
 * nobody else sees. */
#define JOIN(a, b) JOINED(a, b)
#define JOINED(a, b) a##b
#define NEXT JOIN(NAME, _next)

long NEXT(long x);

static __thread long held = 5;
__thread long JOIN(NAME, _sum) = 1000;

__attribute__((noinline)) long NEXT(long x)
{
	held++;
	return held + x;
}
