/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the list of connections and their end. Always holds: when a connection goes away, the
 * questions that only it waited for are cancelled, while its updates go on; a peer that does not
 * read costs a bounded amount of memory, in messages and in bytes, and then its connection.
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "dsud/bus/bus.h"
#include "dsud/bus/callers.h"
#include "dsud/bus/objects.h"
#include "dsud/bus/polkit.h"
#include "dsud/log.h"
#include "injector/base/cleanup.h"

/* Messages that may wait for one private peer, and for one while memory is short. */
#define MAX_WAITING 2048
#define MAX_WAITING_THEN 16
/* Some twenty times what a busy daemon needs. Messages have many sizes; what counts is their
 * sum. */
#define SHORT_OF_MEMORY_BYTES (256u << 20)

static bool is_short_of_memory(void)
{
	struct mallinfo2 use = mallinfo2();

	return use.uordblks + use.hblkhd > SHORT_OF_MEMORY_BYTES;
}

static bool is_slow(const struct dsud_connection *connection)
{
	uint64_t n_waiting = 0;

	if (connection->is_system || sd_bus_get_n_queued_write(connection->bus, &n_waiting) < 0)
		return false;
	return n_waiting > MAX_WAITING || (n_waiting > MAX_WAITING_THEN && is_short_of_memory());
}

/* Runs between other events, so no handler is at work on a connection. */
static int drop_slow(sd_event_source *source, void *userdata)
{
	struct dsud_bus *bus = userdata;
	struct dsud_connection *next;

	for (struct dsud_connection *connection = bus->first; connection; connection = next) {
		next = connection->next;
		if (!is_slow(connection))
			continue;
		dsud_log(LOG_WARNING, "a client does not read what it is sent; it is disconnected");
		dsud_connection_drop(connection);
	}
	return 0;
}

int dsud_bus_init(struct dsud_bus *bus, sd_event *event, struct dsud_registry *registry,
		  const struct dsud_bus_events *events, void *context)
{
	*bus = (struct dsud_bus){
		.event = event,
		.registry = registry,
		.events = events,
		.context = context,
		.socket_lock_fd = -1,
		.listen_fd = -1,
	};

	int r = sd_id128_randomize(&bus->server_id);

	return r < 0 ? r : sd_event_add_post(event, &bus->post_source, drop_slow, bus);
}

void dsud_bus_deinit(struct dsud_bus *bus)
{
	dsud_bus_stop_listening(bus);
	bus->post_source = sd_event_source_disable_unref(bus->post_source);
	bus->retry_source = sd_event_source_disable_unref(bus->retry_source);
	while (bus->first)
		dsud_connection_drop(bus->first);
	inj_close_guard(&bus->socket_lock_fd);
	free(bus->socket_path);
	*bus = (struct dsud_bus){.socket_lock_fd = -1, .listen_fd = -1};
}

const char *dsud_connection_owner(struct dsud_connection *connection, sd_bus_message *message,
				  char *buffer, size_t size)
{
	const char *sender = message ? sd_bus_message_get_sender(message) : NULL;

	if (connection->is_system && sender)
		snprintf(buffer, size, "%s", sender);
	else
		snprintf(buffer, size, "private %llu", (unsigned long long)connection->number);
	return buffer;
}

struct dsud_connection *dsud_connection_current(sd_bus *bus)
{
	return sd_bus_slot_get_userdata(sd_bus_get_current_slot(bus));
}

void dsud_connection_drop(struct dsud_connection *connection)
{
	struct dsud_bus *owner = connection->owner;
	char name[64];

	for (struct dsud_connection **place = &owner->first; *place; place = &(*place)->next) {
		if (*place == connection) {
			*place = connection->next;
			break;
		}
	}
	/* Answers to these would go nowhere. On the system bus each sender is tracked by itself. */
	if (!connection->is_system)
		dsud_registry_abandon(owner->registry,
				      dsud_connection_owner(connection, NULL, name, sizeof(name)));
	dsud_polkit_free(connection->polkit);
	dsud_callers_free(connection->callers);
	/* What could be written was written when it was sent. No waiting for a peer. */
	sd_bus_close_unref(connection->bus);
	free(connection);
}

static int on_disconnected(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	struct dsud_connection *connection = userdata;
	struct dsud_bus *owner = connection->owner;
	bool is_system = connection->is_system;

	dsud_connection_drop(connection);
	if (is_system)
		dsud_bus_retry_system(owner);
	return 0;
}

int dsud_connection_new(struct dsud_bus *owner, sd_bus *bus, bool is_system,
			struct dsud_connection **ret)
{
	struct dsud_connection *connection = malloc(sizeof(*connection));
	int r;

	if (!connection) {
		sd_bus_unref(bus);
		return -ENOMEM;
	}
	*connection = (struct dsud_connection){
		.next = owner->first,
		.owner = owner,
		.bus = bus,
		.is_system = is_system,
		.number = ++owner->last_number,
	};
	owner->first = connection;
	r = sd_bus_match_signal(bus, NULL, NULL, "/org/freedesktop/DBus/Local",
				"org.freedesktop.DBus.Local", "Disconnected", on_disconnected,
				connection);
	if (r < 0) {
		dsud_connection_drop(connection);
		return r;
	}
	*ret = connection;
	return 0;
}
