/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The library of the victim `chosen`: its implementations are its own affair. */
long far_one(long x);

static long far_plain(long x)
{
	return x + 2;
}

/* Calls between functions of one file are those that a compiler may tamper with, so there are
 * none. */
static long (*choose_far(void))(long)
{
	return far_plain;
}

long far_one(long x) __attribute__((ifunc("choose_far")));
