/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The library of the victim `distant`. Its thread-local variable is the library's own. */
long far_away(long x);
extern int counted;
extern __thread long kept;

int counted;
__thread long kept = 2;

long far_away(long x)
{
	counted++;
	return x + kept;
}
