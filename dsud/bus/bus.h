/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_BUS_BUS_H
#define DSUD_BUS_BUS_H

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "dsud/registry/registry.h"

struct dsud_bus;
struct dsud_callers;
struct dsud_polkit;

/* One way by which clients reach the daemon: the system bus, or one peer of the private socket. */
struct dsud_connection {
	struct dsud_connection *next;
	struct dsud_bus *owner;
	sd_bus *bus;
	bool is_system;
	bool is_refused; /* may say nothing, hears nothing */
	uint64_t number;
	struct dsud_callers *callers; /* on the system bus only, ... */
	struct dsud_polkit *polkit;   /* ... as this */
};

enum dsud_system_bus {
	DSUD_SYSTEM_BUS_AUTO, /* when there is one, also later */
	DSUD_SYSTEM_BUS_YES,  /* or give up */
	DSUD_SYSTEM_BUS_NO,
};

struct dsud_bus_events {
	/* The name on the system bus was obtained (0) or will not be (negative errno). */
	void (*name)(void *context, int r);
};

/* All connections. */
struct dsud_bus {
	sd_event *event; /* borrowed */
	struct dsud_registry *registry;
	const struct dsud_bus_events *events;
	void *context;
	struct dsud_connection *first;
	uint64_t last_number;
	sd_id128_t server_id;
	char *socket_path;
	int socket_lock_fd;
	int listen_fd;
	sd_event_source *listen_source;
	sd_event_source *pause_source; /* while nobody can be accepted */
	bool told_full;           /* that there are too many clients; once is enough */
	sd_event_source *retry_source;
	uint64_t retry_usec;      /* how long to wait before the next try */
	bool told_of_trouble;     /* with the system bus; once is enough */
	sd_event_source *post_source;
};

int dsud_bus_init(struct dsud_bus *bus, sd_event *event, struct dsud_registry *registry,
		  const struct dsud_bus_events *events, void *context);

/* Close everything, remove the socket. */
void dsud_bus_deinit(struct dsud_bus *bus);

/* --- private.c ---------------------------------------------------------------------------- */

/*
 * Take hold of the private socket: refuse when another daemon listens there, replace a stale one.
 * path: absolute, shorter than sun_path.
 * State: any; nobody is accepted before dsud_bus_listen().
 * Return: 0.
 * Errors: INJ_BUSY (another dsud, or something else that listens); negative errno. With a story.
 * Source: unix(7), flock(2).
 */
int dsud_bus_claim_socket(struct dsud_bus *bus, const char *path, struct inj_why *why);
int dsud_bus_listen(struct dsud_bus *bus, struct inj_why *why);
void dsud_bus_stop_listening(struct dsud_bus *bus);

/* --- system.c ----------------------------------------------------------------------------- */

/*
 * Connect to the system bus and ask for the name; events->name follows. With AUTO and no bus there,
 * -ENOENT is reported once and the connection is made when a bus appears.
 * Return: 0. Errors: negative errno (only with YES).
 */
int dsud_bus_connect_system(struct dsud_bus *bus, enum dsud_system_bus mode);
/* Connect again in a while. */
void dsud_bus_retry_system(struct dsud_bus *bus);

/* --- bus.c -------------------------------------------------------------------------------- */

/* bus: taken, also on failure; ret may be NULL. Return: 0 or negative errno. */
int dsud_connection_new(struct dsud_bus *owner, sd_bus *bus, bool is_system,
			struct dsud_connection **ret);
void dsud_connection_drop(struct dsud_connection *connection);

/* Whose object is being called: for handlers and getters of objects.c. */
struct dsud_connection *dsud_connection_current(sd_bus *bus);

/* Who asks, as registry/ knows owners. buffer: receives it; returned. */
const char *dsud_connection_owner(struct dsud_connection *connection, sd_bus_message *message,
				  char *buffer, size_t size);

#endif
