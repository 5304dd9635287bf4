/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The other file of the victim `namesakes`. */
long from_other(long x);

static long base = 100;

static __attribute__((noinline, noclone)) long step(long x)
{
	__asm__ volatile("" : "+r"(x));
	return x + base;
}

static long (*volatile call_step)(long x) = step;

long from_other(long x)
{
	base++;
	return call_step(x);
}
