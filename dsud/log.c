/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the daemon's words on standard error. One call is one write, so lines of the daemon and of
 * its workers never mix. Foreign text cannot forge lines: control characters become '?'.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dsud/log.h"
#include "injector/base/why.h"

/* systemd names the stream that is connected to the journal by device and inode. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	struct stat status;
	unsigned long long device, inode;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device &&
	       status.st_ino == inode;
}

static void emit(int priority, const char *text, const char *reason)
{
	char line[1280];
	const char *separator = reason ? ": " : "";
	int length;

	reason = reason ? reason : "";
	if (stderr_is_journal())
		length = snprintf(line, sizeof(line) - 1, "<%d>%s%s%s", priority, text, separator,
				  reason);
	else
		length = snprintf(line, sizeof(line) - 1, "dsud: %s%s%s", text, separator, reason);
	if (length < 0)
		return;
	inj_printable(line);
	length = (int)strlen(line);
	line[length] = '\n';
	/* A lost line is no reason to fail. */
	if (write(STDERR_FILENO, line, (size_t)length + 1) < 0)
		return;
}

void dsud_log(int priority, const char *format, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	emit(priority, text, NULL);
}

int dsud_log_errno(int priority, int negative_errno, const char *format, ...)
{
	char text[1024];
	va_list arguments;
	const char *reason = strerrordesc_np(-negative_errno);

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	emit(priority, text, reason ? reason : "unknown error");
	return negative_errno;
}
