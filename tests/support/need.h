/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_SUPPORT_NEED_H
#define TESTS_SUPPORT_NEED_H

/*
 * What a test cannot do without. Each of these skips the calling test, with the reason, when the
 * thing is not there; a missing privilege is never a silent pass.
 */

/* Effective root. */
void need_root(void);
/* A file or program that can be read, e.g. "/usr/bin/redis-server"; package: who brings it. */
void need_file(const char *path, const char *package);
/* A program somewhere in $PATH. Return: its absolute path, in a buffer of the test process. */
const char *need_program(const char *name, const char *package);
/* Anything else: `need(found, "no kernel threads are visible here")`. */
#define need(condition, ...)                                                                       \
	do {                                                                                       \
		if (!(condition))                                                                  \
			cr_skip_test(__VA_ARGS__);                                                 \
	} while (0)

#endif
