/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_REMOTE_H
#define UPD_REMOTE_H

#include "injector/stop/borrow.h"
#include "protocols/subject.h"
#include "protocols/unwinder.h"

static inline void upd_borrow_guard(struct inj_borrow **borrow)
{
	inj_borrow_close(*borrow, NULL);
}

/* A run of function calls in one target, on one borrowed thread, opened when the first call needs
 * it. */
struct upd_remote {
	struct upd_subject *subject;
	inj_addr pad;            /* INJ_BORROW_PAD code in our memory */
	inj_addr stack_top;      /* of the scratch area */
	const struct inj_range *avoid; /* UPD_N_LOCKED functions that hold a lock which the calls
					  need; borrowed */
	uint64_t deadline_ns;
	struct inj_borrow *borrow;
};

/*
 * Borrow the thread now, so that calls need no more memory of ours and no waiting before the first
 * of them. State: running. Return and errors as those of upd_remote_call().
 */
int upd_remote_open(struct upd_remote *remote, struct inj_why *why);

/*
 * Call function(a, b) in the target. ret may be NULL.
 * State: running. Return: 0. Errors: INJ_BLOCKED (every thread that could be had was inside `avoid`
 * until the deadline), refusals of borrowing, negative errno.
 */
int upd_remote_call(struct upd_remote *remote, inj_addr function, uint64_t a, uint64_t b,
		    uint64_t *ret, struct inj_why *why);
void upd_remote_deinit(struct upd_remote *remote);

#endif
