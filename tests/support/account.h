/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_SUPPORT_ACCOUNT_H
#define TESTS_SUPPORT_ACCOUNT_H

#include <stddef.h>

/* Differences as they are found: all are counted, as many as fit are written down. */
struct account {
	size_t n;
	char *text; /* size bytes, the caller's */
	size_t size;
	size_t used;
};

/* One more. */
void account_note(struct account *account, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
