/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_REGISTRY_UNSETTLED_H
#define DSUD_REGISTRY_UNSETTLED_H

#include <systemd/sd-event.h>

#include "dsud/registry/journal.h"
#include "dsud/registry/update.h"

struct dsud_registry;

/* An update of which something may be left in its targets, and its journal. */
struct dsud_unsettled {
	struct dsud_unsettled *next;
	struct dsud_registry *registry;
	struct dsud_leftover leftover;
	unsigned n_tries;        /* to settle it, by this daemon */
	sd_event_source *source; /* of the next one; NULL: none is planned */
	char *story;             /* one sentence: what is in the way */
};

/*
 * Keep an update in mind that could not be settled, and plan the next try: a while later, four
 * times that later, and so on; after the last one it is only tried again when somebody wants to
 * change one of its processes, or when dsud starts anew.
 * leftover: taken; n_tries: how often it was tried; story: copied.
 * State: any.
 * Return: nothing. When memory is out the files stay for the next start.
 */
void dsud_unsettled_add(struct dsud_registry *registry, struct dsud_leftover *leftover,
			unsigned n_tries, const char *story);

/*
 * Somebody wants to change these processes: what is left in them is tried again now, and first.
 * State: any.
 * Return: 0.
 * Errors: INJ_UNSUPPORTED_PROCESS: a journal of another version of dsud tells of one of them.
 */
int dsud_unsettled_precede(struct dsud_registry *registry, const struct dsud_order *order,
			   struct inj_why *why);

/* Say in the answer to a status question what is left, and where. State: any. Return: nothing. */
void dsud_unsettled_tell(struct dsud_registry *registry, const struct dsud_order *order,
			 struct upd_report *report);

/* Forget all; their files stay. */
void dsud_unsettled_forget(struct dsud_registry *registry);

#endif
