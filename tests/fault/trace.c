/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Owns the list of fault points that somebody passed, see trace.h. */
#include "tests/fault/trace.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "injector/base/cleanup.h"
#include "injector/base/types.h"

void trace_begin(char path[TRACE_PATH_BYTES])
{
	int fd;

	snprintf(path, TRACE_PATH_BYTES, "/tmp/dsud-trace-XXXXXX");
	fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	close(fd);
}

static void count_pass(struct passed_points *points, const char *name)
{
	for (size_t i = 0; i < points->n; i++)
		if (strcmp(points->items[i].name, name) == 0) {
			points->items[i].n_passes++;
			return;
		}
	cr_assert_lt(points->n, INJ_ARRAY_LENGTH(points->items));

	struct passed_point *next = &points->items[points->n++];

	cr_assert_lt(strlen(name), sizeof(next->name));
	strcpy(next->name, name);
	next->n_passes = 1;
}

void trace_end(const char *path, struct passed_points *ret)
{
	INJ_CLEANUP(inj_file_guard) FILE *file = fopen(path, "re");
	char name[64];

	cr_assert_not_null(file);
	*ret = (struct passed_points){ .n = 0 };
	while (fscanf(file, "%63s", name) == 1)
		count_pass(ret, name);
	unlink(path);
	cr_assert_gt(ret->n, 0, "no fault point is passed");
}

size_t choose_pass(size_t n_passes, size_t limit, size_t turn)
{
	size_t n = n_passes < limit ? n_passes : limit;

	if (turn >= n)
		return 0;
	return n == 1 ? 1 : 1 + turn * (n_passes - 1) / (n - 1);
}

size_t deaths_limit(size_t limit)
{
	const char *soak = getenv("DSU_SOAK");

	return soak && strcmp(soak, "yes") == 0 ? SIZE_MAX : limit;
}
