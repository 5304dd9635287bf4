/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the identity of the processes that callers name: pid and start time, read from
 * /proc/PID/stat. Nothing here opens, stops or changes a process.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dsud/worker/subject.h"
#include "injector/base/cleanup.h"

int dsud_proc_read(pid_t pid, const char *name, char *buffer, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	INJ_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;

	ssize_t n = read(fd, buffer, size - 1);

	if (n < 0)
		return -errno;
	buffer[n] = '\0';
	if (n > 0 && buffer[n - 1] == '\n')
		buffer[n - 1] = '\0';
	return 0;
}

uint64_t dsud_subject_parse_stat(const char *text)
{
	/* comm ends at the last parenthesis; field 3 follows it. */
	const char *at = strrchr(text, ')');

	for (int field = 2; at && field < 22; field++) {
		at = strchr(at, ' ');
		at = at ? at + 1 : NULL;
	}
	if (!at || *at < '0' || *at > '9')
		return 0;
	errno = 0;

	unsigned long long ticks = strtoull(at, NULL, 10);

	return errno ? 0 : ticks;
}

struct dsud_subject dsud_subject_look(pid_t pid)
{
	struct dsud_subject subject = {.pid = pid};
	char text[1024];

	if (dsud_proc_read(pid, "stat", text, sizeof(text)) == 0)
		subject.start_ticks = dsud_subject_parse_stat(text);
	return subject;
}

bool dsud_subject_is_same(const struct dsud_subject *subject)
{
	return dsud_subject_look(subject->pid).start_ticks == subject->start_ticks;
}
