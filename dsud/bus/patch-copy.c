/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the copy of a caller's patch. It is taken before the call is answered and sealed, so the
 * bytes that are checked are the bytes that are applied. Only regular files are read: anything else
 * could keep the daemon waiting.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "dsud/bus/patch-copy.h"
#include "dsud/contract.h"
#include "injector/base/cleanup.h"

static int check_file(int fd, const char *name, struct inj_why *why)
{
	struct stat status;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, &status) < 0)
		return inj_broke(why, -errno, "Cannot look at the patch %s", name);
	if (!S_ISREG(status.st_mode))
		return inj_refuse(
			why, INJ_BAD_PATCH,
			"The patch %s is not a regular file. Name the shared object itself.", name);
	if ((flags & O_PATH) || (flags & O_ACCMODE) == O_WRONLY)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "The patch %s was not opened for reading. Open it with O_RDONLY.",
				  name);
	if (status.st_size == 0)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "The patch %s is empty. Build it anew.", name);
	if (status.st_size > (off_t)DSUD_MAX_PATCH_BYTES)
		return inj_refuse(
			why, INJ_BAD_PATCH,
			"The patch %s is larger than %u MiB. Strip its debug information.", name,
			DSUD_MAX_PATCH_BYTES >> 20);
	return 0;
}

static int copy_bytes(int from, int to, const char *name, struct inj_why *why)
{
	off_t offset = 0;

	/* The file may shrink or grow meanwhile: what counts is what was read. */
	while (offset <= (off_t)DSUD_MAX_PATCH_BYTES) {
		ssize_t n = sendfile(to, from, &offset, 4u << 20);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return inj_broke(why, -errno, "Cannot read the patch %s", name);
		if (n == 0)
			break;
	}
	if (offset == 0 || offset > (off_t)DSUD_MAX_PATCH_BYTES)
		return inj_refuse(
			why, INJ_BAD_PATCH,
			"The patch %s changes while it is read. Try again when it is ready.", name);
	return 0;
}

int dsud_patch_copy(int fd, const char *name, int *ret_fd, struct inj_why *why)
{
	INJ_CLOSE int copy = -1;
	int r = check_file(fd, name, why);

	if (r != 0)
		return r;
	copy = memfd_create("dsud-patch", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (copy < 0)
		return inj_broke(why, -errno, "Cannot make memory for the patch %s", name);
	r = copy_bytes(fd, copy, name, why);
	if (r != 0)
		return r;
	if (fcntl(copy, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return inj_broke(why, -errno, "Cannot seal the copy of the patch %s", name);
	*ret_fd = inj_take_fd(&copy);
	return 0;
}
