/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The library of the victim `versions`: answer() in two versions, of which V2 is the default, and
 * retired() in two versions, none of which is.
 */
long answer_old(long x);
long answer_now(long x);
long retired_old(long x);
long retired_older(long x);

__asm__(".symver answer_old, answer@V1");
__asm__(".symver answer_now, answer@@V2");
__asm__(".symver retired_older, retired@V1");
__asm__(".symver retired_old, retired@V2");

long answer_old(long x)
{
	return x + 1;
}

long answer_now(long x)
{
	return x + 2;
}

long retired_older(long x)
{
	return x + 10;
}

long retired_old(long x)
{
	return x + 20;
}
