/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns reading of target memory. Always holds: all bytes or an error, and never the bytes of a
 * stranger: process_vm_readv(2) knows only the pid, so the pidfd is asked afterwards whether the
 * number still was ours. Refuses addresses beyond what a file offset can express, where user
 * space has no readable memory anyway.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>

#include "injector/process/mem.h"

/* The place in a list of parts up to which everything was read. */
struct progress {
	size_t index;
	size_t done; /* bytes of parts[index] */
};

static void advance(struct progress *progress, const struct inj_mem_part *parts, size_t n_parts,
		    size_t bytes)
{
	while (progress->index < n_parts) {
		size_t left = parts[progress->index].length - progress->done;

		if (bytes < left) {
			progress->done += bytes;
			return;
		}
		bytes -= left;
		progress->index++;
		progress->done = 0;
	}
}

static ssize_t read_batch(const struct inj_process *process, const struct inj_mem_part *parts,
			  size_t n_parts, struct progress progress)
{
	struct iovec local[IOV_MAX];
	struct iovec remote[IOV_MAX];
	size_t n = 0;

	for (size_t i = progress.index; i < n_parts && n < IOV_MAX; i++, n++) {
		size_t skip = i == progress.index ? progress.done : 0;

		local[n].iov_base = (char *)parts[i].buffer + skip;
		remote[n].iov_base = (void *)(uintptr_t)(parts[i].address + skip);
		local[n].iov_len = remote[n].iov_len = parts[i].length - skip;
	}

	ssize_t got = process_vm_readv(process->pid, local, n, remote, n, 0);

	return got < 0 ? -errno : got;
}

/* Reads what is left of one part; the kernel lets a tracer through any page protection here. */
static int read_slowly(int mem_fd, const struct inj_mem_part *part, size_t done)
{
	while (done < part->length) {
		ssize_t n = pread(mem_fd, (char *)part->buffer + done, part->length - done,
				  (off_t)(part->address + done));

		if (n < 0 && errno == EINTR)
			continue;
		/* mem_rw() of the kernel says EIO for an address where nothing is mapped. */
		if (n < 0)
			return errno == EIO ? -EFAULT : -errno;
		/* End of file: the address space has been torn down. */
		if (n == 0)
			return -ESRCH;
		done += (size_t)n;
	}
	return 0;
}

static int finish_part(const struct inj_process *process, int *mem_fd,
		       const struct inj_mem_part *part, struct progress *progress)
{
	if (*mem_fd < 0)
		*mem_fd = inj_process_openat(process, "mem", O_RDONLY);
	if (*mem_fd < 0)
		return *mem_fd;

	int r = read_slowly(*mem_fd, part, progress->done);

	if (r < 0)
		return r;
	progress->index++;
	progress->done = 0;
	return 0;
}

static bool has_exited(const struct inj_process *process)
{
	struct pollfd poller = {.fd = process->pidfd, .events = POLLIN};

	return poll(&poller, 1, 0) > 0;
}

static int check_addresses(const struct inj_mem_part *parts, size_t n_parts)
{
	for (size_t i = 0; i < n_parts; i++) {
		uint64_t end;

		if (__builtin_add_overflow(parts[i].address, parts[i].length, &end) ||
		    end > INT64_MAX)
			return -EFAULT;
	}
	return 0;
}

/* All parts, in batches; the part at which a batch stops is read the slow way. */
static int read_all(const struct inj_process *process, const struct inj_mem_part *parts,
		    size_t n_parts)
{
	INJ_CLOSE int mem_fd = -1;
	struct progress progress = {0};

	advance(&progress, parts, n_parts, 0);
	while (progress.index < n_parts) {
		ssize_t got = read_batch(process, parts, n_parts, progress);

		if (got == -ESRCH)
			return -ESRCH;
		advance(&progress, parts, n_parts, got > 0 ? (size_t)got : 0);
		if (got > 0)
			continue;

		int r = finish_part(process, &mem_fd, &parts[progress.index], &progress);

		if (r < 0)
			return r;
		advance(&progress, parts, n_parts, 0);
	}
	return 0;
}

static int read_through_door(const struct inj_process *process, const struct inj_mem_part *parts,
			     size_t n_parts)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n_parts; i++)
		r = read_slowly(process->door->mem_fd, &parts[i], 0);
	return r;
}

int inj_mem_read_parts(const struct inj_process *process, const struct inj_mem_part *parts,
		       size_t n_parts)
{
	int r = check_addresses(parts, n_parts);

	/* The descriptor belongs to one address space, whoever has the pid by now. */
	if (process->door)
		return r == 0 ? read_through_door(process, parts, n_parts) : r;

	if (r == 0)
		r = read_all(process, parts, n_parts);
	return has_exited(process) ? -ESRCH : r;
}

int inj_mem_read(const struct inj_process *process, inj_addr address, void *buffer, size_t length)
{
	struct inj_mem_part part = {address, buffer, length};

	return inj_mem_read_parts(process, &part, 1);
}

int inj_mem_read_string(const struct inj_process *process, inj_addr address, char *buffer,
			size_t size)
{
	size_t done = 0;

	/* Page by page: the page behind the one with the NUL may not exist. */
	while (done < size) {
		inj_addr from = address + done;
		size_t piece = INJ_PAGE_BYTES - (from & (INJ_PAGE_BYTES - 1));

		if (piece > size - done)
			piece = size - done;

		int r = inj_mem_read(process, from, buffer + done, piece);

		if (r < 0)
			return r;
		if (memchr(buffer + done, '\0', piece))
			return 0;
		done += piece;
	}
	return -ENAMETOOLONG;
}
