/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_QUIESCE_H
#define UPD_QUIESCE_H

#include "protocols/pads.h"
#include "protocols/run.h"

/* What must not run in one target for a switch, and what to call it. */
struct upd_watch_list {
	struct inj_watch *watches; /* sorted, disjoint */
	size_t n_watches;
	const char **names;        /* by tag, borrowed strings */
	size_t n_names;
};

/*
 * Add one range.
 * code: of the target, empty ones are ignored; tag: below n_names; entry_is_free: a thread that
 *   stands at its first byte is not in the way.
 * State: any.
 * Return: 0.
 * Errors: -ENOMEM.
 * Source: none.
 */
int upd_watch_add(struct upd_watch_list *list, struct inj_range code, unsigned tag,
		  bool entry_is_free);

/*
 * Add what of a range is not watched yet.
 * list: sealed, and sealed afterwards; code, tag: as above.
 * State: any.
 * Return: 0.
 * Errors: -ENOMEM.
 * Source: none.
 */
int upd_watch_add_rest(struct upd_watch_list *list, struct inj_range code, unsigned tag);

/*
 * Sort and cut overlaps, so that the walker may search.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_watch_seal(struct upd_watch_list *list);

/*
 * Free what a list owns; zeroed ones are fine.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_watch_deinit(struct upd_watch_list *list);

/* A switch of all targets at one moment. */
struct upd_switch {
	struct upd_watch_list *lists; /* one per subject */
	/* A further condition under the hold; NULL: none. Return: may we go on? If not, why says
	 * what is in the way. */
	bool (*ready)(const struct upd_run *run, size_t subject, const struct inj_hold *hold,
		      struct inj_why *why);
	/* The change itself, under the hold of all targets. Return: 0; else it was undone and
	 * subjects say why. NULL: nothing, it is only asked whether the moment would be right. */
	int (*act)(struct upd_run *run, const struct inj_hold *holds);
	struct upd_pads *pads;        /* one per subject, to catch threads as they leave; NULL: poll
					 only */
	const char *phase;            /* name for progress */
};

/*
 * Try until everything that is watched is off every stack of every target at one moment, then act.
 * Between attempts all targets run freely. Blockers of the last attempt go into the report.
 * what: borrowed for the call.
 * State: running; walkers are ready. Not held afterwards, whatever happened.
 * Return: 0: acted.
 * Errors: INJ_BLOCKED, INJ_UNRELIABLE_STACK, INJ_CANCELLED, INJ_PROCESS_GONE, whatever act
 *   returned; all subjects carry the story.
 * Source: docs/protocols.md.
 */
int upd_quiesce(struct upd_run *run, const struct upd_switch *what);

/*
 * One look at what is watched, for questions: blockers go into the report.
 * what: borrowed for the call; act is not called.
 * State: as upd_quiesce().
 * Return: 0.
 * Errors: those of a broken hold, in the subjects; blockers are none.
 * Source: docs/protocols.md.
 */
int upd_quiesce_look(struct upd_run *run, const struct upd_switch *what);

#endif
