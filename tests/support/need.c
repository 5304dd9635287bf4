/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Owns the reasons for which tests are skipped. Always holds: the reason names what to install. */
#include <criterion/criterion.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/need.h"

void need_root(void)
{
	if (geteuid() != 0)
		cr_skip_test("needs root: run `sudo tests/run`");
}

void need_file(const char *path, const char *package)
{
	if (access(path, R_OK) != 0)
		cr_skip_test("%s is missing: install the package %s", path, package);
}

const char *need_program(const char *name, const char *package)
{
	static char path[PATH_MAX];
	/* Daemons live in sbin, which is not in everybody's $PATH. */
	const char *from = getenv("PATH");
	char places[8192];

	snprintf(places, sizeof(places), "%s:/usr/sbin:/usr/bin:/sbin:/bin", from ? from : "");
	for (char *rest = places, *place; (place = strsep(&rest, ":"));) {
		snprintf(path, sizeof(path), "%s/%s", place, name);
		if (*place == '/' && access(path, X_OK) == 0)
			return path;
	}
	cr_skip_test("no program %s: install the package %s", name, package);
	return NULL;
}
