/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_FILE_H
#define CTL_FILE_H

#include "dsuctl/client.h"

/*
 * Open a patch file named on the command line.
 * list: as in ctl_fail; path: as typed.
 * ret_fd: the caller's, close-on-exec, a regular file.
 * Return: 0, or an exit code after the failure was told: a file that cannot be opened is wrong
 * usage, one that may not be read is not allowed, one that is no regular file is a bad patch.
 */
int ctl_file_open(const struct ctl_options *options, const char *list, const char *path,
		  int *ret_fd);

/*
 * A call that takes a patch (Apply, Check), complete with name, targets and options.
 * fd: of the patch named on the command line, borrowed.
 * ret: the caller's reference. Return: 0, or an exit code after the failure was told.
 */
int ctl_file_new_call(const struct ctl_client *client, const char *method, int fd,
		      sd_bus_message **ret);

/* The last component of a path, for messages and for the id of a patch without manifest. */
const char *ctl_file_name(const char *path);

#endif
