/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the connection to the system bus and the name on it. The daemon lives without: a bus that
 * comes later is met as it appears, one that goes away is waited for.
 * DBUS_SYSTEM_BUS_ADDRESS names another bus, as everywhere.
 */
#include <errno.h>
#include <stdlib.h>

#include "dsud/bus/bus.h"
#include "dsud/bus/callers.h"
#include "dsud/bus/objects.h"
#include "dsud/bus/polkit.h"
#include "dsud/contract.h"
#include "dsud/log.h"
#include "injector/base/cleanup.h"

#define DEFAULT_ADDRESS "unix:path=/run/dbus/system_bus_socket"
/*
 * Doubles with every try that fails. Watching for the socket to appear would not do: it can be
 * there before anybody listens on it.
 */
#define RETRY_FIRST_USEC 500000u
#define RETRY_LAST_USEC 8000000u

static int on_name(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	struct dsud_connection *connection = userdata;
	struct dsud_bus *bus = connection->owner;
	const sd_bus_error *failure = sd_bus_message_get_error(reply);
	uint32_t answer = 0;
	int r = failure ? -sd_bus_message_get_errno(reply) : 0;

	if (r == 0)
		r = sd_bus_message_read(reply, "u", &answer);
	/* 1: we own it now, 4: we did already; 3: somebody else does. */
	if (r >= 0 && answer != 1 && answer != 4)
		r = -EEXIST;
	if (r >= 0) {
		if (bus->told_of_trouble)
			dsud_log(LOG_NOTICE, "the system bus is there");
		bus->told_of_trouble = false;
		bus->retry_usec = RETRY_FIRST_USEC;
	} else if (!bus->told_of_trouble) {
		dsud_log(LOG_WARNING, "the name %s on the system bus is not to be had: %s",
			 DSUD_BUS_NAME,
			 failure ? failure->message : "another program has it");
		bus->told_of_trouble = true;
	}
	bus->events->name(bus->context, r < 0 ? r : 0);
	return 0;
}

static int make_client(sd_bus **ret)
{
	const char *address = secure_getenv("DBUS_SYSTEM_BUS_ADDRESS");
	sd_bus *bus = NULL;
	int r = sd_bus_new(&bus);

	if (r >= 0)
		r = sd_bus_set_description(bus, "system");
	if (r >= 0)
		r = sd_bus_set_address(bus, address && address[0] ? address : DEFAULT_ADDRESS);
	if (r >= 0)
		r = sd_bus_set_bus_client(bus, 1);
	if (r >= 0)
		r = sd_bus_negotiate_creds(bus, 1, SD_BUS_CREDS_UID | SD_BUS_CREDS_EUID);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r < 0) {
		sd_bus_unref(bus);
		return r;
	}
	*ret = bus;
	return 0;
}

static int connect_once(struct dsud_bus *owner)
{
	struct dsud_connection *connection = NULL;
	sd_bus *bus = NULL;
	int r = make_client(&bus);

	if (r < 0)
		return r;
	r = dsud_connection_new(owner, bus, true, &connection);
	if (r < 0)
		return r;
	r = dsud_polkit_new(connection, &connection->polkit);
	if (r >= 0)
		r = dsud_callers_new(connection, &connection->callers);
	if (r >= 0)
		r = dsud_objects_add(connection);
	if (r >= 0)
		r = sd_bus_attach_event(bus, owner->event, SD_EVENT_PRIORITY_NORMAL);
	if (r >= 0)
		r = sd_bus_request_name_async(bus, NULL, DSUD_BUS_NAME, 0, on_name, connection);
	if (r < 0)
		dsud_connection_drop(connection);
	return r < 0 ? r : 0;
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct dsud_bus *bus = userdata;

	bus->retry_source = sd_event_source_disable_unref(bus->retry_source);
	dsud_bus_connect_system(bus, DSUD_SYSTEM_BUS_AUTO);
	return 0;
}

void dsud_bus_retry_system(struct dsud_bus *bus)
{
	int r;

	if (!bus->told_of_trouble)
		dsud_log(LOG_NOTICE, "there is no system bus; waiting for it");
	bus->told_of_trouble = true;
	if (bus->retry_usec == 0)
		bus->retry_usec = RETRY_FIRST_USEC;
	sd_event_source_disable_unref(bus->retry_source);
	bus->retry_source = NULL;
	r = sd_event_add_time_relative(bus->event, &bus->retry_source, CLOCK_MONOTONIC,
				       bus->retry_usec, 0, on_retry, bus);
	if (r < 0)
		dsud_log_errno(LOG_ERR, r, "cannot wait for the system bus");
	bus->retry_usec *= 2;
	if (bus->retry_usec > RETRY_LAST_USEC)
		bus->retry_usec = RETRY_LAST_USEC;
}

int dsud_bus_connect_system(struct dsud_bus *bus, enum dsud_system_bus mode)
{
	int r;

	if (mode == DSUD_SYSTEM_BUS_NO)
		return 0;
	r = connect_once(bus);
	if (r >= 0 || mode == DSUD_SYSTEM_BUS_YES)
		return r;
	bus->events->name(bus->context, r);
	dsud_bus_retry_system(bus);
	return 0;
}
