/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_WALK_H
#define UPD_WALK_H

#include "protocols/subject.h"

/*
 * Looking at the stacks of a target. The words of all stacks are compared here, which settles most
 * threads; what needs the target's unwind tables is asked of its reader.
 */

/*
 * Make ready: our own code by the ledgers, the sieve, and the reader's walker.
 * subject: opened.
 * State: running or held.
 * Return: 0.
 * Errors: the code that the subject now carries: those of reading its memory and of the reader.
 * Source: none.
 */
int upd_walk_prepare(struct upd_subject *subject);

/*
 * As inj_walker_find(), of a prepared subject.
 * State, Return, Source: as there.
 * Errors: as there, and those of upd_reader_ask().
 */
int upd_walk_find(struct upd_subject *subject, const struct inj_hold *hold,
		  const struct inj_watch *watches, size_t n_watches, uint64_t budget_ns,
		  struct inj_activity *ret, struct inj_why *why);

#define UPD_WALK_MAX_FRAMES 1024

/*
 * As inj_walker_stack(), of a prepared subject.
 * max: at most UPD_WALK_MAX_FRAMES.
 * State, Return, Source: as there.
 * Errors: as there, and those of upd_reader_ask().
 */
int upd_walk_stack(struct upd_subject *subject, const struct inj_hold *hold, size_t index,
		   struct inj_frame *frames, size_t max, size_t *ret_n, bool *ret_reliable,
		   struct inj_why *why);

/*
 * As inj_walker_handles_exceptions(), of a prepared subject.
 * State, Source: as there.
 * Return: the answer; true when nobody can tell.
 * Errors: none.
 */
bool upd_walk_handles_exceptions(struct upd_subject *subject, inj_addr pc);

/*
 * As inj_walker_snapshot(), of a prepared subject.
 * State, Return, Source: as there.
 * Errors: as there, and those of upd_reader_ask().
 */
int upd_walk_snapshot(struct upd_subject *subject, const struct inj_hold *hold, uint64_t max_bytes,
		      struct inj_why *why);

/* What stands at an address. */
struct upd_name {
	inj_addr address;     /* of the symbol, 0: none */
	const char *module;   /* "" when unknown; live in the names */
	const char *function;
};

struct upd_names {
	struct upd_name *items;
	size_t n_items;
	void *bytes;
};

/*
 * Look addresses up.
 * addresses: n of them, at most UPD_WALK_MAX_FRAMES; ret: in their order, free with
 *   upd_names_deinit().
 * State: any.
 * Return: 0; what has no name is empty.
 * Errors: those of upd_reader_ask().
 * Source: none.
 */
int upd_walk_names(struct upd_subject *subject, const inj_addr *addresses, size_t n,
		   struct upd_names *ret, struct inj_why *why);

/*
 * Free what names own; zeroed ones are fine.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_names_deinit(struct upd_names *names);

#endif
