/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_LOG_H
#define DSUD_LOG_H

#include <syslog.h>

/*
 * Write one line to standard error: for the journal with its priority prefix, for a person at a
 * terminal with the program's name.
 * priority: LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO; format: printf-like, one sentence.
 * State: any. The message is made printable.
 */
void dsud_log(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same with ": <reason>" for a negative errno; returns it, so that callers can pass it on. */
int dsud_log_errno(int priority, int negative_errno, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
