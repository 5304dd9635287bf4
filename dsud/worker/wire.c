/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the records between a worker and the daemon, both directions of the format in one place.
 * Always holds: a report is handed out only when all its bytes came in order and decoded; memory
 * for it is bounded by UPD_REPORT_MAX_BYTES a stream; text is printable.
 * Refuses: unknown types, wrong lengths, chunks out of order, a second report of one stream,
 * anything after the end.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "dsud/worker/wire.h"
#include "injector/base/cleanup.h"

#define WIRE_MAGIC 0x31575344u /* "DSW1" */

enum record_type {
	RECORD_PROGRESS = 1,
	RECORD_CHUNK = 2,
	RECORD_DONE = 3,
};

struct record_header {
	uint32_t magic;
	uint16_t type;
	uint16_t reserved;
	uint32_t length;
};

struct record_progress {
	uint32_t pid;
	uint32_t attempt;
	uint64_t remaining_ns;
	char phase[32];
	char text[448];
};

struct record_chunk {
	uint32_t stream;
	uint32_t total;
	uint32_t offset;
};

struct record_done {
	int32_t result;
};

_Static_assert(sizeof(struct record_header) == 12, "no padding");
_Static_assert(sizeof(struct record_progress) == 496, "no padding");
_Static_assert(sizeof(struct record_chunk) == 12, "no padding");

/* --- reading ------------------------------------------------------------------------------ */

/* A fixed field of text becomes a string, whatever the other side put there. */
static void take_text(char *to, const char *from, size_t size)
{
	memcpy(to, from, size);
	to[size - 1] = '\0';
	inj_printable(to);
}

static int read_progress(struct dsud_wire_reader *reader, const char *body, size_t length)
{
	struct record_progress record;

	if (length != sizeof(record))
		return -EBADMSG;
	memcpy(&record, body, sizeof(record));
	if (record.pid > INT32_MAX)
		return -EBADMSG;
	reader->progress.pid = (pid_t)record.pid;
	reader->progress.attempt = record.attempt;
	reader->progress.remaining_ns = record.remaining_ns;
	take_text(reader->progress.phase, record.phase, sizeof(record.phase));
	take_text(reader->progress.text, record.text, sizeof(record.text));
	return 0;
}

static int start_stream(struct dsud_wire_reader *reader, const struct record_chunk *chunk)
{
	if (chunk->total == 0 || chunk->total > UPD_REPORT_MAX_BYTES)
		return -EBADMSG;
	reader->assembly[chunk->stream].bytes = malloc(chunk->total);
	if (!reader->assembly[chunk->stream].bytes)
		return -ENOMEM;
	reader->assembly[chunk->stream].total = chunk->total;
	return 0;
}

static int finish_stream(struct dsud_wire_reader *reader, uint32_t stream)
{
	int r = upd_report_decode(reader->assembly[stream].bytes, reader->assembly[stream].total,
				  &reader->reports[stream]);

	free(INJ_TAKE(reader->assembly[stream].bytes));
	if (r < 0)
		return r;
	reader->has_report[stream] = true;
	return 0;
}

static int read_chunk(struct dsud_wire_reader *reader, const char *body, size_t length,
		      enum dsud_wire_event *ret_event)
{
	struct record_chunk chunk;
	int r;

	if (length <= sizeof(chunk))
		return -EBADMSG;
	memcpy(&chunk, body, sizeof(chunk));
	length -= sizeof(chunk);
	if (chunk.stream >= DSUD_WIRE_STREAMS || reader->has_report[chunk.stream])
		return -EBADMSG;
	if (!reader->assembly[chunk.stream].bytes) {
		r = start_stream(reader, &chunk);
		if (r < 0)
			return r;
	}

	size_t used = reader->assembly[chunk.stream].used;

	if (chunk.total != reader->assembly[chunk.stream].total || chunk.offset != used ||
	    length > chunk.total - used)
		return -EBADMSG;
	memcpy(reader->assembly[chunk.stream].bytes + used, body + sizeof(chunk), length);
	reader->assembly[chunk.stream].used += length;
	if (reader->assembly[chunk.stream].used < chunk.total)
		return 0;
	*ret_event = DSUD_WIRE_REPORT;
	return finish_stream(reader, chunk.stream);
}

static int read_done(struct dsud_wire_reader *reader, const char *body, size_t length)
{
	struct record_done record;

	if (length != sizeof(record))
		return -EBADMSG;
	memcpy(&record, body, sizeof(record));
	if (record.result > 0 || record.result < -4095)
		return -EBADMSG;
	reader->result = record.result;
	reader->done = true;
	return 0;
}

int dsud_wire_read(struct dsud_wire_reader *reader, const void *bytes, size_t length,
		   enum dsud_wire_event *ret_event)
{
	struct record_header header;
	const char *body = (const char *)bytes + sizeof(header);

	if (reader->done || length < sizeof(header) || length > DSUD_WIRE_RECORD_BYTES)
		return -EBADMSG;
	memcpy(&header, bytes, sizeof(header));
	length -= sizeof(header);
	if (header.magic != WIRE_MAGIC || header.length != length)
		return -EBADMSG;
	*ret_event = DSUD_WIRE_NOTHING;
	switch (header.type) {
	case RECORD_PROGRESS:
		*ret_event = DSUD_WIRE_PROGRESS;
		return read_progress(reader, body, length);
	case RECORD_CHUNK:
		return read_chunk(reader, body, length, ret_event);
	case RECORD_DONE:
		*ret_event = DSUD_WIRE_DONE;
		return read_done(reader, body, length);
	default:
		return -EBADMSG;
	}
}

void dsud_wire_reader_deinit(struct dsud_wire_reader *reader)
{
	if (!reader)
		return;
	for (int i = 0; i < DSUD_WIRE_STREAMS; i++) {
		free(reader->assembly[i].bytes);
		upd_report_deinit(&reader->reports[i]);
	}
	*reader = (struct dsud_wire_reader){0};
}

/* --- writing ------------------------------------------------------------------------------ */

static int send_record(int fd, enum record_type type, const void *fixed, size_t n_fixed,
		       const void *bytes, size_t n_bytes, int flags)
{
	struct record_header header = {
		.magic = WIRE_MAGIC,
		.type = (uint16_t)type,
		.length = (uint32_t)(n_fixed + n_bytes),
	};
	struct iovec parts[] = {
		{&header, sizeof(header)},
		{(void *)fixed, n_fixed},
		{(void *)bytes, n_bytes},
	};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = n_bytes ? 3 : 2};

	for (;;) {
		if (sendmsg(fd, &message, flags | MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
}

void dsud_wire_send_progress(int fd, const struct upd_progress *progress)
{
	struct record_progress record = {
		.pid = (uint32_t)progress->pid,
		.attempt = progress->attempt,
		.remaining_ns = progress->remaining_ns,
	};

	snprintf(record.phase, sizeof(record.phase), "%s", progress->phase ? progress->phase : "");
	snprintf(record.text, sizeof(record.text), "%s", progress->text ? progress->text : "");
	send_record(fd, RECORD_PROGRESS, &record, sizeof(record), NULL, 0, MSG_DONTWAIT);
}

int dsud_wire_send_report(int fd, enum dsud_wire_stream stream, const struct upd_report *report)
{
	INJ_FREE void *bytes = NULL;
	size_t length;
	int r = upd_report_encode(report, &bytes, &length);

	if (r < 0)
		return r;
	for (size_t offset = 0; offset < length; offset += DSUD_WIRE_CHUNK_BYTES) {
		struct record_chunk chunk = {
			.stream = stream,
			.total = (uint32_t)length,
			.offset = (uint32_t)offset,
		};
		size_t part = length - offset;

		if (part > DSUD_WIRE_CHUNK_BYTES)
			part = DSUD_WIRE_CHUNK_BYTES;
		r = send_record(fd, RECORD_CHUNK, &chunk, sizeof(chunk), (char *)bytes + offset,
				part, 0);
		if (r < 0)
			return r;
	}
	return 0;
}

int dsud_wire_send_done(int fd, int result)
{
	struct record_done record = {.result = result};

	return send_record(fd, RECORD_DONE, &record, sizeof(record), NULL, 0, 0);
}
