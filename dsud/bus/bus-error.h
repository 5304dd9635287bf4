/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_BUS_BUS_ERROR_H
#define DSUD_BUS_BUS_ERROR_H

#include <systemd/sd-bus.h>

#include "injector/base/why.h"

/*
 * Turn a failure with its story into a D-Bus error: org.dsud1.Error.<name of the code>, or
 * InvalidArgs for -EINVAL.
 * r: what the failing function returned; why: its story.
 * Return: a negative value that a method handler may return.
 */
int dsud_bus_error(sd_bus_error *error, int r, const struct inj_why *why);

/* org.dsud1.Error.<name>. buffer: receives it; returned. */
const char *dsud_bus_error_name(int code, char *buffer, size_t size);

/* Wrong usage, told with a sentence. */
int dsud_bus_usage(sd_bus_error *error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
