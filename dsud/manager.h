/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_MANAGER_H
#define DSUD_MANAGER_H

#include "dsud/bus/bus.h"
#include "dsud/registry/registry.h"

struct dsud_config {
	const char *socket_path;
	const char *state_dir;
	enum dsud_system_bus system_bus;
	uint64_t grace_ns; /* for undoing, beyond an update's deadline */
	uint64_t retry_ns; /* before the first new try to settle an update */
};

/* The daemon: the registry, the bus, and what passes between them. */
struct dsud_manager {
	const struct dsud_config *config;
	sd_event *event;
	struct dsud_state_dir state_dir;
	struct dsud_registry registry;
	struct dsud_bus bus;
	sd_event_source *status_source;
	bool has_registry;
	bool has_bus;
	bool adopted;     /* the first look for patched processes is over */
	bool name_known;  /* whether we have the name on the system bus is decided */
	bool is_ready;
	bool stopping;
};

/*
 * Take hold of the socket and of the state directory, settle what a predecessor left, look for
 * patched processes; then listen. Everything after the first part happens in the loop.
 * config: must outlive the manager; ret: in the caller's storage, dsud_manager_deinit() also after
 * a failure.
 * State: SIGCHLD, SIGTERM and SIGINT are blocked.
 * Return: 0.
 * Errors: INJ_BUSY (another daemon), INJ_INTERNAL, negative errno, all with a story.
 */
int dsud_manager_init(struct dsud_manager *manager, const struct dsud_config *config,
		      struct inj_why *why);

/* Run until it is told to stop. Return: 0 or negative errno. */
int dsud_manager_run(struct dsud_manager *manager);
void dsud_manager_deinit(struct dsud_manager *manager);

#endif
