/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_REGISTRY_REGISTRY_H
#define DSUD_REGISTRY_REGISTRY_H

#include "dsud/registry/target.h"
#include "dsud/registry/unsettled.h"
#include "dsud/registry/update.h"

/* What others are told. All are set. An update passed here is a listed one. */
struct dsud_registry_events {
	struct dsud_targets_events targets;
	void (*update_new)(void *context, struct dsud_update *update);
	void (*update_changed)(void *context, struct dsud_update *update);
	void (*update_progress)(void *context, struct dsud_update *update);
	void (*update_completed)(void *context, struct dsud_update *update,
				 const struct upd_report *report);
	/* Called while the update can still be looked up. */
	void (*update_removed)(void *context, struct dsud_update *update);
	/* Nothing runs and nothing is queued any more. */
	void (*idle)(void *context);
};

/* Every job and every patched process that the daemon knows. */
struct dsud_registry {
	sd_event *event; /* borrowed */
	const struct dsud_state_dir *state_dir;
	uint64_t grace_ns;
	uint64_t retry_ns; /* before what could not be settled is tried again */
	const struct dsud_registry_events *events;
	void *context;
	struct dsud_targets targets;
	struct dsud_update *first;
	struct dsud_unsettled *unsettled;
	uint64_t last_number;
	uint64_t n_changes; /* settled jobs that may have changed targets */
	bool stopping;
	sd_event_source *pump_source;
};

int dsud_registry_init(struct dsud_registry *registry, sd_event *event,
		       const struct dsud_state_dir *state_dir, uint64_t grace_ns, uint64_t retry_ns,
		       const struct dsud_registry_events *events, void *context);
void dsud_registry_deinit(struct dsud_registry *registry);

/*
 * Submit a job. It starts as soon as nothing else is at work on its processes and a worker is free,
 * from the loop, never from within this call.
 * order: taken, also on failure; ret_update: borrowed, valid until it is removed; may be NULL.
 * State: any.
 * Return: 0.
 * Errors: INJ_BUSY (a limit of contract.h is reached, or the daemon is stopping); those of
 *   dsud_unsettled_precede(); negative errno, -ENOSPC when no journal can be made. All with a
 *   story.
 */
int dsud_registry_submit(struct dsud_registry *registry, struct dsud_order *order,
			 struct dsud_update **ret_update, struct inj_why *why);

/*
 * Submit the recovery of what a daemon that died, or an earlier try, has left.
 * leftover: taken, unless this fails; n_tries: how often this daemon tried before.
 * Return: 0. Errors: negative errno.
 */
int dsud_registry_recover(struct dsud_registry *registry, struct dsud_leftover *leftover,
			  unsigned n_tries, struct inj_why *why);

/* A listed update by its number, or NULL. */
struct dsud_update *dsud_registry_find(const struct dsud_registry *registry, uint64_t number);

/* Listed updates that are queued or running. */
size_t dsud_registry_n_unfinished(const struct dsud_registry *registry);

/* The connection went away: nobody waits for the answers to its questions; cancel them. */
void dsud_registry_abandon(struct dsud_registry *registry, const char *owner);

/* Take nothing more, cancel everything; `idle` follows, perhaps before this returns. */
void dsud_registry_stop(struct dsud_registry *registry);

/* For update.c: an update reached its outcome (report: NULL only when out of memory). */
void dsud_registry_settled(struct dsud_registry *registry, struct dsud_update *update,
			   const struct upd_report *report);

#endif
