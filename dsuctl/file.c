/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Patch files as the operator names them. dsuctl opens them with the operator's own rights and
 * hands the descriptor on, so the daemon never opens a path on somebody's behalf. What is handed on
 * is a copy in memory: the file may lie where reading waits for another host, and that wait is
 * ours, not the daemon's. Refuses what is no regular file: reading a pipe or a device could block
 * for ever.
 */
#include "dsuctl/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dsuctl/outcome.h"
#include "dsuctl/print.h"
#include "dsud/contract.h"
#include "injector/base/why.h"

static int fail(const struct ctl_options *options, const char *list, const char *path, int err)
{
	if (err == EACCES || err == EPERM)
		return ctl_fail(options, list, CTL_ERROR_NOT_ALLOWED,
				"May not read the patch %s: %s.", path, strerror(err));
	return ctl_fail(options, list, CTL_ERROR_NO_FILE, "Cannot open the patch %s: %s.", path,
			strerror(err));
}

/* Return: 0, or a negative errno after which the file itself serves: the daemon copies it, too. */
static int copy_to_memory(int *fd)
{
	INJ_CLOSE int copy = memfd_create("dsuctl-patch", MFD_CLOEXEC);
	off_t offset = 0;
	ssize_t n = 1;

	if (copy < 0)
		return -errno;
	while (n > 0) {
		/* What is too large is for the daemon to refuse. */
		if (offset > (off_t)DSUD_MAX_PATCH_BYTES)
			return -EFBIG;
		n = sendfile(copy, *fd, &offset, 4u << 20);
		if (n < 0 && errno == EINTR)
			n = 1;
	}
	if (n < 0)
		return -errno;
	inj_close_guard(fd);
	*fd = inj_take_fd(&copy);
	return 0;
}

int ctl_file_open(const struct ctl_options *options, const char *list, const char *path,
		  int *ret_fd)
{
	/* Both ends may be sockets and agree to pass descriptors; ssh in between drops them. */
	if (options->host)
		return ctl_fail(options, list, CTL_ERROR_UNSUPPORTED,
				"A patch file cannot be handed to another host; copy it there and "
				"run dsuctl on that host.");

	struct stat status;
	/* Non-blocking, or a fifo without a writer would hang the open itself. */
	INJ_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &status) < 0)
		return fail(options, list, path, errno);
	if (!S_ISREG(status.st_mode))
		return ctl_fail(options, list, DSUD_ERROR_BAD_PATCH,
				"%s is not a regular file, so it cannot be a patch.", path);
	copy_to_memory(&fd);
	*ret_fd = inj_take_fd(&fd);
	return 0;
}

const char *ctl_file_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

int ctl_file_new_call(const struct ctl_client *client, const char *method, int fd,
		      sd_bus_message **ret)
{
	CTL_MESSAGE sd_bus_message *call = NULL;
	INJ_FREE char *name = strdup(ctl_file_name(client->options->arguments[0]));
	int r;

	if (!name)
		return ctl_fail_errno(client->options, client->list, -ENOMEM);
	/* D-Bus strings are UTF-8, file names are any bytes. */
	inj_printable(name);
	r = ctl_client_new_call(client, method, &call);
	if (r >= 0)
		r = sd_bus_message_append(call, "hs", fd, name);
	if (r >= 0)
		r = ctl_client_append_targets(call, client->options);
	if (r >= 0)
		r = ctl_client_append_options(call, client->options, true, -1);
	if (r < 0)
		return ctl_client_fail(client, NULL, r);
	*ret = INJ_TAKE(call);
	return 0;
}
