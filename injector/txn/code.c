/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exchanging code of a target. Every piece is compared with what the plan expects before it is
 * written and read back afterwards, all pieces at once, because threads wait meanwhile; a call
 * that fails undoes what it did, last piece first. The order of pieces is the caller's: earlier
 * ones must be harmless without the later ones.
 */
#include "injector/txn/code.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "injector/base/fault-point.h"
#include "injector/process/mem.h"
#include "injector/txn/mem-write-priv.h"

/* Bytes of a target where a piece is to be. */
struct piece {
	uint8_t bytes[7];
	bool written; /* by the call under way */
};

struct inj_writer {
	const struct inj_process *process;
	int fd;
	/* Room for an exchange, made before anything is held. */
	struct piece *pieces;
	struct inj_mem_part *parts;
	size_t room;
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
	free(writer->pieces);
	free(writer->parts);
	free(writer);
}

static int make_room(struct inj_writer *writer, size_t n)
{
	struct piece *pieces;
	struct inj_mem_part *parts;

	if (n <= writer->room)
		return 0;
	pieces = reallocarray(writer->pieces, n, sizeof(*pieces));
	if (!pieces)
		return -ENOMEM;
	writer->pieces = pieces;
	parts = reallocarray(writer->parts, n, sizeof(*parts));
	if (!parts)
		return -ENOMEM;
	writer->parts = parts;
	writer->room = n;
	return 0;
}

/* What stands at the pieces now, all of them in one go. There is room. */
static int read_pieces(struct inj_writer *writer, const struct inj_code_write *writes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		writer->parts[i] = (struct inj_mem_part){ writes[i].address,
							  writer->pieces[i].bytes, writes[i].n };
	return inj_mem_read_parts(writer->process, writer->parts, n);
}

/* The same byte again: the page becomes the target's own, its contents stay. */
static int touch(struct inj_writer *writer, inj_addr address, uint8_t byte, inj_addr *last_page)
{
	int r = 0;

	if (INJ_PAGE_DOWN(address) != *last_page)
		r = inj_mem_write(writer->fd, address, &byte, 1);
	*last_page = INJ_PAGE_DOWN(address);
	return r;
}

int inj_writer_prepare(struct inj_writer *writer, const struct inj_code_write *writes, size_t n,
		       bool install)
{
	inj_addr last_page = UINT64_MAX;
	int r = make_room(writer, n);

	if (r == 0)
		r = read_pieces(writer, writes, n);
	for (size_t i = 0; r == 0 && i < n; i++) {
		const uint8_t *found = writer->pieces[i].bytes;
		const size_t end = writes[i].n - 1u;
		const bool old = memcmp(found, writes[i].before, writes[i].n) == 0;

		if (install && !old)
			return -EBUSY;
		if (!old && memcmp(found, writes[i].after, writes[i].n) != 0)
			continue;
		r = touch(writer, writes[i].address, found[0], &last_page);
		if (r == 0)
			r = touch(writer, writes[i].address + end, found[end], &last_page);
	}
	return r;
}

static void hex(const uint8_t *bytes, size_t n, char *text, size_t size)
{
	size_t at = 0;

	text[0] = '\0';
	for (size_t i = 0; i < n && at + 4 < size; i++)
		at += (size_t)snprintf(text + at, size - at, i ? " %02x" : "%02x", bytes[i]);
}

static int refuse_foreign(const struct inj_writer *writer, inj_addr address, const uint8_t *found,
			  const uint8_t *expected, size_t n, struct inj_why *why)
{
	char is[3 * INJ_CODE_COPY_MAX + 1], was[3 * INJ_CODE_COPY_MAX + 1];

	hex(found, n, is, sizeof(is));
	hex(expected, n, was, sizeof(was));
	return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
			  "Somebody else changed the code at 0x%llx of process %d: it reads %s "
			  "where %s was expected. Remove the other tool's change first.",
			  (unsigned long long)address, writer->process->pid, is, was);
}

static int compare(const struct inj_writer *writer, const struct inj_code_copy *copies, size_t n,
		   uint8_t (*found)[INJ_CODE_COPY_MAX], struct inj_mem_part *parts,
		   struct inj_why *why)
{
	int r;

	for (size_t i = 0; i < n; i++)
		parts[i] = (struct inj_mem_part){ copies[i].address, found[i], copies[i].n };
	r = inj_mem_read_parts(writer->process, parts, n);
	if (r < 0)
		return inj_broke(why, r, "reading code of process %d", writer->process->pid);
	for (size_t i = 0; i < n; i++)
		if (memcmp(found[i], copies[i].bytes, copies[i].n) != 0)
			return refuse_foreign(writer, copies[i].address, found[i], copies[i].bytes,
					      copies[i].n, why);
	return 0;
}

int inj_writer_compare(const struct inj_writer *writer, const struct inj_code_copy *copies,
		       size_t n, struct inj_why *why)
{
	INJ_FREE uint8_t (*found)[INJ_CODE_COPY_MAX] = calloc(n ? n : 1, sizeof(*found));
	INJ_FREE struct inj_mem_part *parts = calloc(n ? n : 1, sizeof(*parts));

	if (!found || !parts)
		return inj_broke(why, -ENOMEM, "reading code of process %d", writer->process->pid);
	return compare(writer, copies, n, found, parts, why);
}

/* One exchange of many pieces, in either direction. */
struct exchange {
	struct inj_writer *writer;
	const struct inj_code_write *writes;
	size_t n;
	bool install;
	struct piece *pieces; /* the writer's */
};

static const uint8_t *old_bytes(const struct exchange *exchange, size_t i)
{
	return exchange->install ? exchange->writes[i].before : exchange->writes[i].after;
}

static const uint8_t *new_bytes(const struct exchange *exchange, size_t i)
{
	return exchange->install ? exchange->writes[i].after : exchange->writes[i].before;
}

static bool stands(const struct exchange *exchange, size_t i, const uint8_t *bytes)
{
	return memcmp(exchange->pieces[i].bytes, bytes, exchange->writes[i].n) == 0;
}

static int write_piece(struct exchange *exchange, size_t i, struct inj_why *why)
{
	const struct inj_code_write *write = &exchange->writes[i];
	int r = 0;

	if (stands(exchange, i, new_bytes(exchange, i)))
		return 0;
	if (!stands(exchange, i, old_bytes(exchange, i)))
		return refuse_foreign(exchange->writer, write->address, exchange->pieces[i].bytes,
				      old_bytes(exchange, i), write->n, why);
	exchange->pieces[i].written = true;
	r = inj_mem_write(exchange->writer->fd, write->address, new_bytes(exchange, i), write->n);
	if (r < 0)
		return inj_broke(why, r, "writing code at 0x%llx of process %d",
				 (unsigned long long)write->address,
				 exchange->writer->process->pid);
	return 0;
}

/* Installing ends at the first failure. Putting back goes as far as it can: every piece counts. */
static int write_pieces(struct exchange *exchange, struct inj_why *why)
{
	int first = 0;

	for (size_t k = 0; k < exchange->n && !(first != 0 && exchange->install); k++) {
		const size_t i = exchange->install ? k : exchange->n - 1 - k;
		const int r = write_piece(exchange, i, first == 0 ? why : NULL);

		first = first ? first : r;
		if (r == 0)
			inj_fault_point(exchange->install ? "site-written" : "site-restored");
	}
	return first;
}

static int read_now(struct exchange *exchange, struct inj_why *why)
{
	const int r = read_pieces(exchange->writer, exchange->writes, exchange->n);

	return r == 0 ? 0 :
			inj_broke(why, r, "reading code of process %d",
				  exchange->writer->process->pid);
}

static int read_back(struct exchange *exchange, struct inj_why *why)
{
	int r = read_now(exchange, why);

	for (size_t i = 0; r == 0 && i < exchange->n; i++)
		if (exchange->pieces[i].written && !stands(exchange, i, new_bytes(exchange, i)))
			r = inj_broke(why, -EIO, "writing code at 0x%llx of process %d",
				      (unsigned long long)exchange->writes[i].address,
				      exchange->writer->process->pid);
	return r;
}

/* What a failed installation did is taken back; bytes that cannot be taken back are told. */
static void take_back(struct exchange *exchange, struct inj_why *why)
{
	struct inj_why second = {};
	int r = 0;

	for (size_t i = exchange->n; i-- > 0;) {
		const struct inj_code_write *write = &exchange->writes[i];

		if (exchange->pieces[i].written &&
		    inj_mem_write(exchange->writer->fd, write->address, write->before,
				  write->n) < 0)
			r = -EIO;
	}
	if (r == 0)
		r = read_now(exchange, NULL);
	for (size_t i = 0; r == 0 && i < exchange->n; i++)
		if (exchange->pieces[i].written && !stands(exchange, i, old_bytes(exchange, i)))
			r = -EIO;
	if (r == 0)
		return;
	inj_broke(&second, r, "taking back what was written to process %d",
		  exchange->writer->process->pid);
	inj_why_append(why, &second);
}

static int run(struct inj_writer *writer, const struct inj_code_write *writes, size_t n,
	       bool install, struct inj_why *why)
{
	struct exchange exchange = { writer, writes, n, install, NULL };
	int r = make_room(writer, n);

	if (r < 0)
		return inj_broke(why, r, "changing code of process %d", writer->process->pid);
	exchange.pieces = writer->pieces;
	for (size_t i = 0; i < n; i++)
		exchange.pieces[i].written = false;
	r = read_now(&exchange, why);
	if (r != 0)
		return r;
	r = write_pieces(&exchange, why);
	if (r == 0 || !install) {
		const int second = read_back(&exchange, r == 0 ? why : NULL);

		r = r ? r : second;
	}
	if (r != 0 && install)
		take_back(&exchange, why);
	return r;
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
