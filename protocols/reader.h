/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_READER_H
#define UPD_READER_H

#include "injector/image/patch.h"
#include "injector/process/maps.h"
#include "protocols/message.h"

/*
 * A process beside the worker that reads what others made: the patch, and the files and tables of
 * one target. It has no rights and is believed nothing; what it needs opened it asks for by name.
 * Each target has a reader of its own, so that what one target does to its reader cannot touch
 * another target of the same update.
 */
struct upd_reader;

/* How long a question may take. */
struct upd_patience {
	uint64_t deadline_ns; /* CLOCK_MONOTONIC */
	int cancel_fd;        /* readable: give up; -1: never */
};

/*
 * Fork a reader.
 * patch_fd: -1: none; patch_name: for messages; both borrowed for the call. ret: free with
 *   upd_reader_free().
 * State: nothing of ours is being held: the child shares no time with a hold.
 * Return: 0.
 * Errors: negative errno.
 * Source: fork(2).
 */
int upd_reader_start(int patch_fd, const char *patch_name, struct upd_reader **ret,
		     struct inj_why *why);

/*
 * End it, whatever it does.
 * reader: NULL is fine.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_reader_free(struct upd_reader *reader);
INJ_DEFINE_GUARD(struct upd_reader *, upd_reader_free, upd_reader_guard)

/*
 * Has it died, or was it ended because it lied or was late?
 * State: any.
 * Return: the answer.
 * Errors: none.
 * Source: none.
 */
bool upd_reader_is_dead(const struct upd_reader *reader);

/*
 * Tell the reader which process it reads for.
 * process: borrowed until upd_reader_free(); memory_fd: of its memory, open for reading, borrowed
 *   for the call; patience: as upd_reader_ask().
 * State: running.
 * Return: 0.
 * Errors: as upd_reader_ask().
 * Source: proc(5), mem.
 */
int upd_reader_attach(struct upd_reader *reader, const struct inj_process *process, int memory_fd,
		      const struct upd_patience *patience, struct inj_why *why);

/*
 * Was it told which process it reads for?
 * State: any.
 * Return: the answer.
 * Errors: none.
 * Source: none.
 */
bool upd_reader_is_attached(const struct upd_reader *reader);

/*
 * The mappings of the target as the reader was last told them.
 * State: any.
 * Return: borrowed from the reader; NULL: never.
 * Errors: none.
 * Source: none.
 */
const struct inj_maps *upd_reader_maps(const struct upd_reader *reader);

/*
 * Ask one question, and open what the reader wants opened meanwhile.
 * kind: UPD_ASK_...; bytes: of the question; max_bytes: of the answer; patience: borrowed; ret:
 *   overwritten on success, free with upd_message_deinit().
 * State: any; a question under a hold must have its deadline in the hold's budget.
 * Return: 0.
 * Errors: the reader's own refusal; INJ_BAD_PATCH (it died, was late, or said what cannot be);
 *   INJ_CANCELLED; negative errno.
 * Source: unix(7).
 */
int upd_reader_ask(struct upd_reader *reader, enum upd_message_kind kind, const void *bytes,
		   size_t n_bytes, size_t max_bytes, const struct upd_patience *patience,
		   struct upd_message *ret, struct inj_why *why);

/*
 * An answer that makes no sense: the reader is ended.
 * why: filled.
 * State: any.
 * Return: never 0.
 * Errors: INJ_BAD_PATCH.
 * Source: none.
 */
int upd_reader_lied(struct upd_reader *reader, struct inj_why *why);

#endif
