/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing target memory. A piece that lies within one page is copied by the kernel in one go that
 * no signal interrupts: it is written wholly or not at all, whatever happens to us. Callers that
 * need this property for more than a page do not exist.
 */
#include "injector/txn/mem-write-priv.h"

#include <unistd.h>

#include "injector/base/fault-point.h"

int inj_mem_write(int fd, inj_addr address, const void *bytes, size_t length)
{
	const uint8_t *from = bytes;

	while (length > 0) {
		ssize_t n = pwrite(fd, from, length, (off_t)address);

		inj_fault_point("memory-written");
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ESRCH;
		from += n;
		address += (size_t)n;
		length -= (size_t)n;
	}
	return 0;
}
