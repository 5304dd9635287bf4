/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_WORKER_WIRE_H
#define DSUD_WORKER_WIRE_H

#include <stdint.h>

#include "protocols/report.h"
#include "protocols/update.h"

/*
 * What a worker tells the daemon, as records on a SOCK_SEQPACKET pair. The worker handles hostile
 * targets and files, so the daemon believes no record.
 *
 *   header   | magic u32 | type u16 | reserved u16 | length of the rest u32 |
 *   progress | pid u32 | attempt u32 | remaining_ns u64 | phase[32] | text[448] |
 *   chunk    | stream u32 | total u32 | offset u32 | bytes ... |
 *   done     | result i32 |
 */
enum dsud_wire_stream {
	DSUD_WIRE_OUTCOME = 0, /* the report of the request */
	DSUD_WIRE_LEDGERS = 1, /* what the targets carry now */
	DSUD_WIRE_STREAMS,
};

#define DSUD_WIRE_CHUNK_BYTES (60u << 10)
#define DSUD_WIRE_RECORD_BYTES (64u << 10) /* no record is longer */

struct dsud_wire_progress {
	pid_t pid;
	unsigned attempt;
	uint64_t remaining_ns;
	char phase[32];
	char text[448];
};

enum dsud_wire_event {
	DSUD_WIRE_NOTHING = 0, /* understood; nothing to tell yet */
	DSUD_WIRE_PROGRESS,
	DSUD_WIRE_REPORT,      /* one more stream is whole: reader->reports */
	DSUD_WIRE_DONE,        /* nothing follows */
};

/* The daemon's side: puts records together. Starts as { 0 }. */
struct dsud_wire_reader {
	struct {
		char *bytes;
		size_t total;
		size_t used;
	} assembly[DSUD_WIRE_STREAMS];
	struct upd_report reports[DSUD_WIRE_STREAMS];
	bool has_report[DSUD_WIRE_STREAMS];
	struct dsud_wire_progress progress; /* the latest */
	bool done;
	int result; /* of upd_run(), once done */
};

/*
 * Take in one record.
 * reader: grows; bytes, length: one whole record, hostile; ret_event: what it brought.
 * State: none.
 * Return: 0.
 * Errors: -EBADMSG when the record is not lawful here: the worker is not to be believed any
 * more; -ENOMEM.
 */
int dsud_wire_read(struct dsud_wire_reader *reader, const void *bytes, size_t length,
		   enum dsud_wire_event *ret_event);
void dsud_wire_reader_deinit(struct dsud_wire_reader *reader);

/*
 * The worker's side. Progress never blocks: when the daemon is slow or gone it is dropped, since
 * a target may be held at that moment. Reports and the end wait for room.
 * Return: 0. Errors: negative errno of send(2); -E2BIG for a report beyond its bounds.
 */
void dsud_wire_send_progress(int fd, const struct upd_progress *progress);
int dsud_wire_send_report(int fd, enum dsud_wire_stream stream, const struct upd_report *report);
int dsud_wire_send_done(int fd, int result);

#endif
