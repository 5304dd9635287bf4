/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes differences down, as many as fit. */
#include "tests/support/account.h"

#include <stdarg.h>
#include <stdio.h>

void account_note(struct account *account, const char *format, ...)
{
	va_list arguments;
	int length;

	account->n++;
	if (account->used >= account->size)
		return;
	va_start(arguments, format);
	length = vsnprintf(account->text + account->used, account->size - account->used, format,
			   arguments);
	va_end(arguments);
	account->used += length > 0 ? (size_t)length : 0;
}
