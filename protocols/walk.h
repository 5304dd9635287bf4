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
 * State: running or held. Return: 0, or the code that the subject now carries.
 */
int upd_walk_prepare(struct upd_subject *subject);

/* As inj_walker_find(), of a prepared subject. */
int upd_walk_find(struct upd_subject *subject, const struct inj_hold *hold,
		  const struct inj_watch *watches, size_t n_watches, uint64_t budget_ns,
		  struct inj_activity *ret, struct inj_why *why);

/* As inj_walker_stack(). max: at most UPD_WALK_MAX_FRAMES. */
#define UPD_WALK_MAX_FRAMES 1024
int upd_walk_stack(struct upd_subject *subject, const struct inj_hold *hold, size_t index,
		   struct inj_frame *frames, size_t max, size_t *ret_n, bool *ret_reliable,
		   struct inj_why *why);

/* As inj_walker_handles_exceptions(); true when nobody can tell. */
bool upd_walk_handles_exceptions(struct upd_subject *subject, inj_addr pc);

/* As inj_walker_snapshot(). */
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

/* Look addresses up, at most UPD_WALK_MAX_FRAMES. ret: free with upd_names_deinit(). Return: 0 or
 * as upd_reader_ask(). */
int upd_walk_names(struct upd_subject *subject, const inj_addr *addresses, size_t n,
		   struct upd_names *ret, struct inj_why *why);
void upd_names_deinit(struct upd_names *names);

#endif
