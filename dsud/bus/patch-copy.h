/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_BUS_PATCH_COPY_H
#define DSUD_BUS_PATCH_COPY_H

#include "injector/base/why.h"

/*
 * Copy a patch into a sealed memfd, so that nothing a caller does to its file later matters.
 * fd: the caller's, read from its start whatever its position; name: for sentences; ret_fd: the
 * caller's, sealed against every change.
 * State: any. Its contents are not looked at.
 * Return: 0.
 * Errors: INJ_BAD_PATCH (no regular file, not readable, empty, larger than DSUD_MAX_PATCH_BYTES);
 *   negative errno.
 * Source: memfd_create(2), sendfile(2), fcntl(2) F_ADD_SEALS.
 */
int dsud_patch_copy(int fd, const char *name, int *ret_fd, struct inj_why *why);

#endif
