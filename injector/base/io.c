/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns reading and writing in full: short transfers and EINTR end here, callers see all or an
 * error. Refuses to grow beyond the limit that the caller sets.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "injector/base/cleanup.h"
#include "injector/base/io.h"

#define FIRST_BYTES 4096

int inj_read_full(int fd, void *buffer, size_t length, size_t *ret_done)
{
	size_t done = 0;

	while (done < length) {
		ssize_t n = read(fd, (char *)buffer + done, length - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	*ret_done = done;
	return 0;
}

int inj_pread_full(int fd, void *buffer, size_t length, off_t offset)
{
	for (size_t done = 0; done < length;) {
		ssize_t n = pread(fd, (char *)buffer + done, length - done, offset + (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		done += (size_t)n;
	}
	return 0;
}

int inj_write_full(int fd, const void *data, size_t length)
{
	for (size_t done = 0; done < length;) {
		ssize_t n = write(fd, (const char *)data + done, length - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

int inj_read_whole(int fd, size_t max_bytes, char **ret_text, size_t *ret_length)
{
	INJ_FREE char *text = NULL;
	size_t length = 0;
	size_t size = max_bytes < FIRST_BYTES ? max_bytes : FIRST_BYTES;

	for (;;) {
		/* One byte more than may be there: it tells "exactly full" from "too much". */
		char *grown = realloc(text, size + 2);

		if (!grown)
			return -ENOMEM;
		text = grown;

		size_t n = 0;
		int r = inj_read_full(fd, text + length, size + 1 - length, &n);

		if (r < 0)
			return r;
		length += n;
		if (length <= size)
			break;
		if (size == max_bytes)
			return -EFBIG;
		size = size > max_bytes / 2 ? max_bytes : size * 2;
	}
	text[length] = '\0';
	*ret_text = INJ_TAKE(text);
	if (ret_length)
		*ret_length = length;
	return 0;
}
