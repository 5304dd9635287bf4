/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the way from codes to D-Bus errors. What a caller did wrong is InvalidArgs, everything else
 * bears a name of the contract. Sentences are printable: they may quote what the caller sent.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "dsud/bus/bus-error.h"
#include "dsud/contract.h"

const char *dsud_bus_error_name(int code, char *buffer, size_t size)
{
	snprintf(buffer, size, "%s%s", DSUD_ERROR_PREFIX, inj_code_bus_name(code));
	return buffer;
}

int dsud_bus_error(sd_bus_error *error, int r, const struct inj_why *why)
{
	char name[96];

	if (r == -EINVAL)
		return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS, why->text);
	return sd_bus_error_set(error, dsud_bus_error_name(why->code, name, sizeof(name)),
				why->text);
}

int dsud_bus_usage(sd_bus_error *error, const char *format, ...)
{
	char text[768];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	inj_printable(text);
	return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS, text);
}
