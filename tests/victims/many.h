/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_VICTIMS_MANY_H
#define TESTS_VICTIMS_MANY_H

/* A thousand names, 000 to 999, one digit an argument: one(a, b, c) for each. */
#define MANY_TEN(one, a, b)                                                                   \
	one(a, b, 0) one(a, b, 1) one(a, b, 2) one(a, b, 3) one(a, b, 4)                      \
	one(a, b, 5) one(a, b, 6) one(a, b, 7) one(a, b, 8) one(a, b, 9)
#define MANY_HUNDRED(one, a)                                                                  \
	MANY_TEN(one, a, 0) MANY_TEN(one, a, 1) MANY_TEN(one, a, 2) MANY_TEN(one, a, 3)       \
	MANY_TEN(one, a, 4) MANY_TEN(one, a, 5) MANY_TEN(one, a, 6) MANY_TEN(one, a, 7)       \
	MANY_TEN(one, a, 8) MANY_TEN(one, a, 9)
#define MANY_THOUSAND(one)                                                                    \
	MANY_HUNDRED(one, 0) MANY_HUNDRED(one, 1) MANY_HUNDRED(one, 2) MANY_HUNDRED(one, 3)   \
	MANY_HUNDRED(one, 4) MANY_HUNDRED(one, 5) MANY_HUNDRED(one, 6) MANY_HUNDRED(one, 7)   \
	MANY_HUNDRED(one, 8) MANY_HUNDRED(one, 9)

/* 007 would be octal. */
#define MANY_NUMBER(a, b, c) (1##a##b##c - 1000)
#define MANY_NEW 100000

#endif
