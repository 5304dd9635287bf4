/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Records between worker and daemon: what one side sends the other understands, and nothing else
 * gets through.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dsud/worker/wire.h"
#include "injector/base/cleanup.h"

#define MAGIC 0x31575344u
#define READER INJ_CLEANUP(dsud_wire_reader_deinit) struct dsud_wire_reader

struct record {
	uint32_t magic;
	uint16_t type;
	uint16_t reserved;
	uint32_t length;
	unsigned char body[600];
};

static void make_pair(int pair[2])
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static int pass_on(int fd, struct dsud_wire_reader *reader, enum dsud_wire_event *event)
{
	static char buffer[DSUD_WIRE_RECORD_BYTES + 1];
	ssize_t n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);

	cr_assert(n > 0, "there is no record");
	return dsud_wire_read(reader, buffer, (size_t)n, event);
}

static int feed(struct dsud_wire_reader *reader, uint16_t type, const void *body, size_t length)
{
	struct record record = {.magic = MAGIC, .type = type, .length = (uint32_t)length};
	enum dsud_wire_event event;

	memcpy(record.body, body, length);
	return dsud_wire_read(reader, &record, 12 + length, &event);
}

static int feed_chunk(struct dsud_wire_reader *reader, uint32_t stream, uint32_t total,
		      uint32_t offset, size_t n_bytes)
{
	unsigned char body[256] = {0};

	memcpy(body, &stream, 4);
	memcpy(body + 4, &total, 4);
	memcpy(body + 8, &offset, 4);
	return feed(reader, 2, body, 12 + n_bytes);
}

Test(wire, progress_arrives_printable)
{
	READER reader = {0};
	enum dsud_wire_event event;
	struct upd_progress progress = {
		.phase = "wait", .pid = 42, .attempt = 3, .remaining_ns = 77, .text = "a\nb",
	};
	int pair[2];

	make_pair(pair);
	dsud_wire_send_progress(pair[0], &progress);
	cr_assert_eq(pass_on(pair[1], &reader, &event), 0);
	cr_assert_eq(event, DSUD_WIRE_PROGRESS);
	cr_assert_eq(reader.progress.pid, 42);
	cr_assert_eq(reader.progress.attempt, 3);
	cr_assert_eq(reader.progress.remaining_ns, 77);
	cr_assert_str_eq(reader.progress.phase, "wait");
	cr_assert_str_eq(reader.progress.text, "a?b");
}

Test(wire, progress_without_end_becomes_a_string)
{
	READER reader = {0};
	unsigned char body[496];

	memset(body, 'x', sizeof(body));
	memset(body, 0, 16);
	cr_assert_eq(feed(&reader, 1, body, sizeof(body)), 0);
	cr_assert_eq(strlen(reader.progress.phase), sizeof(reader.progress.phase) - 1);
	cr_assert_eq(strlen(reader.progress.text), sizeof(reader.progress.text) - 1);
}

Test(wire, progress_never_blocks)
{
	struct upd_progress progress = {.phase = "wait"};
	int pair[2];

	make_pair(pair);
	/* Nobody reads: the socket is full long before this ends. */
	for (int i = 0; i < 100000; i++)
		dsud_wire_send_progress(pair[0], &progress);
	close(pair[1]);
	dsud_wire_send_progress(pair[0], &progress);
}

static void fill_report(struct upd_report *report, size_t n_notes)
{
	struct upd_target *target = upd_report_add(report, 42);

	cr_assert_not_null(target);
	target->result = UPD_APPLIED;
	target->notes = calloc(n_notes, sizeof(*target->notes));
	target->n_notes = n_notes;
	for (size_t i = 0; i < n_notes; i++) {
		target->notes[i] = malloc(1001);
		memset(target->notes[i], 'n', 1000);
		target->notes[i][1000] = '\0';
	}
}

Test(wire, a_report_of_many_records_arrives_whole)
{
	UPD_REPORT_CLEAN struct upd_report report = {0};
	READER reader = {0};
	enum dsud_wire_event event = DSUD_WIRE_NOTHING;
	int n_records = 0;
	int pair[2];
	pid_t sender;

	make_pair(pair);
	fill_report(&report, 1000);
	sender = fork();
	if (sender == 0)
		_exit(dsud_wire_send_report(pair[0], DSUD_WIRE_OUTCOME, &report) ||
		      dsud_wire_send_done(pair[0], -EIO));
	while (event != DSUD_WIRE_DONE) {
		static char buffer[DSUD_WIRE_RECORD_BYTES + 1];
		ssize_t n = recv(pair[1], buffer, sizeof(buffer), 0);

		cr_assert(n > 0);
		cr_assert_eq(dsud_wire_read(&reader, buffer, (size_t)n, &event), 0);
		n_records++;
	}
	cr_assert_gt(n_records, 10);
	cr_assert(reader.has_report[DSUD_WIRE_OUTCOME]);
	cr_assert_not(reader.has_report[DSUD_WIRE_LEDGERS]);
	cr_assert_eq(reader.reports[DSUD_WIRE_OUTCOME].targets[0].n_notes, 1000);
	cr_assert(reader.done);
	cr_assert_eq(reader.result, -EIO);
}

Test(wire, nothing_follows_the_end)
{
	READER reader = {0};
	int32_t result = 0;

	cr_assert_eq(feed(&reader, 3, &result, 4), 0);
	cr_assert_eq(feed(&reader, 3, &result, 4), -EBADMSG);
	cr_assert_eq(feed_chunk(&reader, 0, 100, 0, 50), -EBADMSG);
}

Test(wire, unlawful_ends_are_refused)
{
	static const int32_t results[] = {1, 4096, -4096, INT32_MIN};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(results); i++) {
		READER reader = {0};

		cr_assert_eq(feed(&reader, 3, &results[i], 4), -EBADMSG, "%d", results[i]);
		cr_assert_not(reader.done);
	}
}

static const struct {
	uint32_t stream;
	uint32_t total;
	uint32_t offset;
	size_t n_bytes;
} bad_chunks[] = {
	{DSUD_WIRE_STREAMS, 100, 0, 50}, {UINT32_MAX, 100, 0, 50},
	{0, 0, 0, 0},                    {0, 0, 0, 1},
	{0, 100, 0, 0},                  {0, 100, 1, 50},
	{0, 100, 0, 101},                {0, UPD_REPORT_MAX_BYTES + 1, 0, 50},
	{0, UINT32_MAX, 0, 50},          {0, 100, UINT32_MAX, 50},
};

Test(wire, unlawful_chunks_are_refused)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(bad_chunks); i++) {
		READER reader = {0};

		cr_assert_eq(feed_chunk(&reader, bad_chunks[i].stream, bad_chunks[i].total,
					bad_chunks[i].offset, bad_chunks[i].n_bytes),
			     -EBADMSG, "chunk %zu", i);
	}
}

Test(wire, chunks_come_in_order_and_once)
{
	READER reader = {0};

	cr_assert_eq(feed_chunk(&reader, 0, 100, 0, 50), 0);
	cr_assert_eq(feed_chunk(&reader, 0, 100, 0, 50), -EBADMSG);
	cr_assert_eq(feed_chunk(&reader, 0, 99, 50, 49), -EBADMSG);
	cr_assert_eq(feed_chunk(&reader, 0, 100, 50, 51), -EBADMSG);
	/* Whole, but no report: refused, and so is a second try. */
	cr_assert_eq(feed_chunk(&reader, 0, 100, 50, 50), -EBADMSG);
	cr_assert_not(reader.has_report[0]);
}

Test(wire, unlawful_headers_are_refused)
{
	struct record good = {.magic = MAGIC, .type = 3, .length = 4};
	enum dsud_wire_event event;
	struct record bad;

	for (size_t length = 0; length < 16; length++) {
		READER reader = {0};

		cr_assert_eq(dsud_wire_read(&reader, &good, length, &event), -EBADMSG);
	}
	for (int i = 0; i < 4; i++) {
		READER reader = {0};

		bad = good;
		bad.magic ^= i == 0;
		bad.type = i == 1 ? 0 : i == 2 ? 4 : bad.type;
		bad.length += i == 3;
		cr_assert_eq(dsud_wire_read(&reader, &bad, 16, &event), -EBADMSG, "%d", i);
	}

	READER reader = {0};

	cr_assert_eq(dsud_wire_read(&reader, &good, 16, &event), 0);
	cr_assert_eq(event, DSUD_WIRE_DONE);
}
