/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_REGISTRY_UPDATE_H
#define DSUD_REGISTRY_UPDATE_H

#include "dsud/registry/journal.h"
#include "dsud/registry/select.h"
#include "dsud/worker/worker.h"
#include "protocols/update.h"

struct dsud_registry;
struct dsud_update;

enum dsud_update_state {
	DSUD_QUEUED,
	DSUD_RUNNING,
	DSUD_DONE,
	DSUD_CANCELLED,
};

/* What somebody wants done. Strings and the descriptor are owned; free with dsud_order_deinit(). */
struct dsud_order {
	enum upd_kind kind;
	bool scan;     /* UPD_STATUS of every patched process */
	int patch_fd;  /* sealed; -1: none */
	char *patch_name;
	char *patch_id;
	char *protocol;
	uint64_t timeout_ns;
	uint64_t hold_budget_ns;
	struct dsud_subject *subjects;
	size_t n_subjects;
	char *owner;   /* connection that asked; NULL: ourselves */
	/*
	 * A question is answered by this call, exactly once, and is gone afterwards; updates stand
	 * on the bus instead, and have none.
	 */
	void (*answer)(void *context, struct dsud_update *update, const struct upd_report *report);
	void *context;
};

void dsud_order_deinit(struct dsud_order *order);

/* One job from its submission to its outcome, and for updates some time longer. */
struct dsud_update {
	struct dsud_update *next; /* in order of submission */
	struct dsud_registry *registry;
	uint64_t number;
	uint8_t id[DSUD_UPDATE_ID_BYTES];
	struct dsud_order order;
	enum dsud_update_state state;
	bool cancel_asked;
	bool recovering;
	unsigned n_recoveries;
	unsigned n_tries;         /* UPD_RECOVER: earlier ones that this daemon made of it */
	char death[256];          /* how its worker died, "" when none did */
	char trouble[512];        /* what a worker said of a target in which something is left */
	int journal_fd;           /* -1: none */
	struct dsud_worker *worker;
	uint64_t changes_seen;    /* dsud_registry.n_changes when it started ... */
	uint64_t change_number;   /* ... and when it settled, if it may have changed something */
	uint64_t started_usec;    /* CLOCK_REALTIME; 0: not yet */
	struct dsud_wire_progress progress;
	uint64_t progress_told_ns; /* when others were told last ... */
	unsigned progress_told_attempt; /* ... and of which attempt */
	char *patch;              /* id once known, else the file's name */
	enum upd_result result;   /* the gravest of its targets, once settled */
	void *report_bytes;       /* encoded, once settled */
	size_t report_length;
};

const char *dsud_kind_word(enum upd_kind kind);
const char *dsud_update_state_word(enum dsud_update_state state);
/* "" until the update is settled. */
const char *dsud_update_result_word(const struct dsud_update *update);

/* Does it stand on the bus? Questions do not. */
static inline bool dsud_update_is_listed(const struct dsud_update *update)
{
	return !update->order.answer;
}

static inline bool dsud_update_is_settled(const struct dsud_update *update)
{
	return update->state == DSUD_DONE || update->state == DSUD_CANCELLED;
}

/* May it change a target? */
bool dsud_kind_changes(enum upd_kind kind);

/*
 * Begin to work on a queued update. Whatever happens, the update is settled in the end, perhaps
 * before this returns.
 */
void dsud_update_start(struct dsud_update *update);

/* Take it back: a queued one at once, a running one as soon as its worker has undone its work. */
void dsud_update_cancel(struct dsud_update *update);

/* Decode the report of a settled update. Errors: -ENODATA (not settled), -ENOMEM. */
int dsud_update_report(const struct dsud_update *update, struct upd_report *ret);

void dsud_update_free(struct dsud_update *update);

#endif
