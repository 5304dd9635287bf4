/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exchanging code of a target. Every piece is compared with what the plan expects before it is written and read back
 * afterwards; a call that fails undoes what it did, last piece first. The order of pieces is the caller's: earlier ones
 * must be harmless without the later ones.
 */
#include "injector/txn/code.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "injector/base/fault-point.h"
#include "injector/process/mem.h"
#include "injector/txn/mem-write-priv.h"

struct inj_writer {
	const struct inj_process *process;
	int fd;
};

int inj_writer_new(const struct inj_process *process, struct inj_writer **ret, struct inj_why *why)
{
	struct inj_writer *writer;
	int fd = inj_process_openat(process, "mem", O_RDWR);

	if (fd < 0)
		return inj_broke(why, fd, "opening the memory of process %d for writing",
				 process->pid);
	writer = malloc(sizeof(*writer));
	if (!writer) {
		close(fd);
		return inj_broke(why, -ENOMEM, "preparing to write to process %d", process->pid);
	}
	*writer = (struct inj_writer){ .process = process, .fd = fd };
	*ret = writer;
	return 0;
}

void inj_writer_free(struct inj_writer *writer)
{
	if (!writer)
		return;
	close(writer->fd);
	free(writer);
}

static int read_piece(const struct inj_writer *writer, const struct inj_code_write *write,
		      uint8_t found[7])
{
	ssize_t n = pread(writer->fd, found, write->n, (off_t)write->address);

	if (n < 0)
		return -errno;
	/* Nothing at all: the address space is gone, by exit or by exec. */
	if (n == 0)
		return -ESRCH;
	return n == write->n ? 0 : -EFAULT;
}

int inj_writer_prefault(struct inj_writer *writer, const struct inj_code_write *writes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t found[7];
		int r = read_piece(writer, &writes[i], found);

		if (r < 0)
			return r;
		if (memcmp(found, writes[i].before, writes[i].n) != 0)
			return -EBUSY;
		/* The same byte again: the page becomes the target's own, its contents stay. */
		r = inj_mem_write(writer->fd, writes[i].address, found, 1);
		if (r == 0 && inj_code_tears(&writes[i]))
			r = inj_mem_write(writer->fd, writes[i].address + writes[i].n - 1,
					  &found[writes[i].n - 1], 1);
		if (r < 0)
			return r;
	}
	return 0;
}

static void hex(const uint8_t *bytes, size_t n, char *text, size_t size)
{
	size_t at = 0;

	text[0] = '\0';
	for (size_t i = 0; i < n && at + 4 < size; i++)
		at += (size_t)snprintf(text + at, size - at, i ? " %02x" : "%02x", bytes[i]);
}

static int refuse_foreign(const struct inj_writer *writer, const struct inj_code_write *write,
			  const uint8_t *found, struct inj_why *why)
{
	char is[32], was[32];

	hex(found, write->n, is, sizeof(is));
	hex(write->before, write->n, was, sizeof(was));
	return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
			  "Somebody else changed the code at 0x%llx of process %d: it reads %s "
			  "where %s was expected. Remove the other tool's change first.",
			  (unsigned long long)write->address, writer->process->pid, is, was);
}

/* One piece from `from` to `to`. ret_written: false when it stood there already. */
static int exchange(struct inj_writer *writer, const struct inj_code_write *write,
		    const uint8_t *from, const uint8_t *to, bool *ret_written, struct inj_why *why)
{
	uint8_t found[7];
	int r = read_piece(writer, write, found);

	if (r < 0)
		return inj_broke(why, r, "reading code at 0x%llx of process %d",
				 (unsigned long long)write->address, writer->process->pid);
	if (memcmp(found, to, write->n) == 0)
		return 0;
	if (memcmp(found, from, write->n) != 0)
		return refuse_foreign(writer, write, found, why);
	r = inj_mem_write(writer->fd, write->address, to, write->n);
	if (r == 0)
		r = read_piece(writer, write, found);
	if (r == 0 && memcmp(found, to, write->n) != 0)
		r = -EIO;
	if (r < 0)
		return inj_broke(why, r, "writing code at 0x%llx of process %d",
				 (unsigned long long)write->address, writer->process->pid);
	*ret_written = true;
	return 0;
}

/* What a failed call did is taken back; bytes that cannot be taken back are told. */
static void take_back(struct inj_writer *writer, const struct inj_code_write *writes, size_t n,
		      const bool *written, struct inj_why *why)
{
	for (size_t i = n; i-- > 0;) {
		struct inj_why second = {};
		bool done;

		if (written[i] && exchange(writer, &writes[i], writes[i].after, writes[i].before, &done,
					   &second) != 0)
			inj_why_append(why, &second);
	}
}

static int run(struct inj_writer *writer, const struct inj_code_write *writes, size_t n,
	       bool install, struct inj_why *why)
{
	INJ_FREE bool *written = calloc(n ? n : 1, sizeof(*written));
	int first = 0;

	if (!written)
		return inj_broke(why, -ENOMEM, "changing code of process %d", writer->process->pid);
	for (size_t k = 0; k < n; k++) {
		size_t i = install ? k : n - 1 - k;
		const struct inj_code_write *write = &writes[i];
		const uint8_t *from = install ? write->before : write->after;
		const uint8_t *to = install ? write->after : write->before;
		int r = exchange(writer, write, from, to, &written[i], why);

		if (r != 0 && install) {
			take_back(writer, writes, n, written, why);
			return r;
		}
		/* Putting back goes as far as it can: every piece that is back is better than none. */
		first = first ? first : r;
		inj_fault_point(install ? "site-written" : "site-restored");
	}
	return first;
}

int inj_writer_install(struct inj_writer *writer, const struct inj_code_write *writes, size_t n,
		       struct inj_why *why)
{
	return run(writer, writes, n, true, why);
}

int inj_writer_restore(struct inj_writer *writer, const struct inj_code_write *writes, size_t n,
		       struct inj_why *why)
{
	return run(writer, writes, n, false, why);
}

int inj_writer_store(struct inj_writer *writer, inj_addr address, uint64_t value)
{
	if (address % sizeof(value) != 0)
		return -EINVAL;
	return inj_mem_write(writer->fd, address, &value, sizeof(value));
}

int inj_writer_fill(struct inj_writer *writer, inj_addr address, const void *bytes, size_t length)
{
	return inj_mem_write(writer->fd, address, bytes, length);
}
