/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_REGISTRY_TARGET_H
#define DSUD_REGISTRY_TARGET_H

#include <systemd/sd-event.h>

#include "dsud/worker/subject.h"
#include "protocols/report.h"

/* A process that carries patches. */
struct dsud_target {
	pid_t pid;
	uint64_t start_ticks;
	struct upd_report state; /* one target: comm, exe, patches as last read */
	int pidfd;
	sd_event_source *exit_source;
	struct dsud_targets *owner;
};

#define DSUD_MAX_TARGETS 4096

struct dsud_targets_events {
	void (*added)(void *context, struct dsud_target *target);
	void (*changed)(void *context, struct dsud_target *target);
	/* Called while the target can still be looked up. */
	void (*removed)(void *context, struct dsud_target *target);
};

/* All patched processes, sorted by pid. */
struct dsud_targets {
	sd_event *event; /* borrowed */
	const struct dsud_targets_events *events;
	void *context;
	struct dsud_target **list;
	size_t n;
};

void dsud_targets_init(struct dsud_targets *targets, sd_event *event,
		       const struct dsud_targets_events *events, void *context);
void dsud_targets_deinit(struct dsud_targets *targets);

/* The state of a target's record, always there. */
static inline const struct upd_target *dsud_target_state(const struct dsud_target *target)
{
	return &target->state.targets[0];
}

/* A process counts as patched while one patch of it is not reverted. */
bool dsud_state_is_patched(const struct upd_target *state);

/*
 * Take in what was read from the ledgers of one process: it appears, changes or disappears.
 * state: of a report; its contents are exchanged for others that its report may free.
 * State: any.
 * Return: 0, also for a process that is gone or not patched.
 * Errors: -ENOMEM, -ENFILE when DSUD_MAX_TARGETS are known; negative errno of pidfd_open(2).
 */
int dsud_targets_learn(struct dsud_targets *targets, struct upd_target *state);

/* NULL when the process is not known as patched. */
struct dsud_target *dsud_targets_find(const struct dsud_targets *targets, pid_t pid);

#endif
