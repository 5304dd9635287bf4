/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_MESSAGE_H
#define UPD_MESSAGE_H

#include <sys/types.h>

#include "injector/base/cleanup.h"
#include "injector/base/types.h"

/*
 * What goes between a worker and its readers: a kind, bytes, and at most one descriptor. The reader
 * may be in the hands of an attacker, so whoever receives bounds the length, and takes fields out
 * of the bytes with a cursor that knows its end.
 */
enum upd_message_kind {
	/* Worker to reader: */
	UPD_ASK_PATCH = 1, /* what the patch is */
	UPD_ASK_ATTACH,	   /* this is the target; with its memory */
	UPD_ASK_UNWINDER,  /* what the target unwinds with */
	UPD_ASK_PLAN,
	UPD_ASK_PREPARE,   /* make ready for walking stacks */
	UPD_ASK_FIND,	   /* what is live on these stacks */
	UPD_ASK_STACK,
	UPD_ASK_HANDLES,
	UPD_ASK_SNAPSHOT,
	UPD_ASK_NAMES,
	/* Reader to worker, the end of every question: */
	UPD_TELL_DONE = 64,
	UPD_TELL_REFUSED,
	/* Reader to worker while it works on one: */
	UPD_WANT_OPEN = 128,
	UPD_WANT_READ,
	UPD_WANT_MAPPED,
	UPD_WANT_DEBUG,
	/* And the worker's answer. */
	UPD_GIVE = 192,
};

struct upd_message {
	uint32_t kind;
	uint8_t *bytes; /* owned; NULL when there are none */
	size_t n_bytes;
	int fd;         /* owned; -1: none */
};

#define UPD_MESSAGE_NONE ((struct upd_message){ .fd = -1 })

/*
 * Free the bytes and close the descriptor; UPD_MESSAGE_NONE is fine.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_message_deinit(struct upd_message *message);

/*
 * Send one.
 * fd: borrowed, -1: none; deadline_ns: CLOCK_MONOTONIC, UINT64_MAX: never; cancel_fd: readable or
 *   closed: give up; -1: never.
 * State: none.
 * Return: 0.
 * Errors: -ETIMEDOUT, -ECANCELED, -EPIPE (nobody is there), other negative errno.
 * Source: unix(7).
 */
int upd_message_send(int socket, uint32_t kind, const void *bytes, size_t n_bytes, int fd,
		     uint64_t deadline_ns, int cancel_fd);

/*
 * Receive one.
 * max_bytes: of the message; deadline_ns, cancel_fd: as above; ret: overwritten on success, free
 *   with upd_message_deinit().
 * State: none.
 * Return: 0.
 * Errors: as above; -EMSGSIZE (longer than max_bytes); -ENOMEM.
 * Source: unix(7).
 */
int upd_message_receive(int socket, size_t max_bytes, uint64_t deadline_ns, int cancel_fd,
			struct upd_message *ret);

/* Bytes in the making. Lack of memory shows at the end, not at each step. */
struct upd_parcel {
	uint8_t *bytes; /* owned */
	size_t n_bytes, capacity;
	bool failed;
};

/*
 * Append bytes.
 * parcel: zeroed at first; failed once memory was short, and appends nothing then.
 * State: none.
 * Return: nothing.
 * Errors: parcel->failed.
 * Source: none.
 */
void upd_parcel_put(struct upd_parcel *parcel, const void *bytes, size_t n_bytes);

/*
 * Free a parcel's bytes; zeroed ones are fine.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_parcel_deinit(struct upd_parcel *parcel);

/* Bytes being read. */
struct upd_cursor {
	const uint8_t *at;
	size_t left;
};

/*
 * Copy the next bytes out.
 * ret: n_bytes long.
 * State: none.
 * Return: true; false, and nothing copied, when they are not there.
 * Errors: none.
 * Source: none.
 */
bool upd_cursor_take(struct upd_cursor *cursor, void *ret, size_t n_bytes);

/*
 * Pass over the next n entries.
 * entry_bytes: of each.
 * State: none.
 * Return: where they are, not copied and perhaps not aligned; NULL when they are not there.
 * Errors: none.
 * Source: none.
 */
const void *upd_cursor_skip(struct upd_cursor *cursor, size_t n, size_t entry_bytes);

#endif
