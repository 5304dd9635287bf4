/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns /org/dsud1/update/N: one update, queued, running or finished some time ago. Its report holds
 * addresses, so it is given only to root and to whoever asked for the update; they may cancel it,
 * too, and so may those who could have asked for it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dsud/bus/access.h"
#include "dsud/bus/objects.h"
#include "dsud/bus/report-message.h"
#include "dsud/contract.h"
#include "injector/base/cleanup.h"

static int get_id(sd_bus *bus, const char *path, const char *interface, const char *property,
		  sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const struct dsud_update *update = userdata;
	char text[2 * DSUD_UPDATE_ID_BYTES + 1];

	for (size_t i = 0; i < DSUD_UPDATE_ID_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", update->id[i]);
	return sd_bus_message_append(reply, "s", text);
}

/* The properties that are one string each, by name. */
static int get_string(sd_bus *bus, const char *path, const char *interface, const char *property,
		      sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const struct dsud_update *update = userdata;
	const struct {
		const char *name;
		const char *value;
	} strings[] = {
		{"Kind", dsud_kind_word(update->order.kind)},
		{"Patch", update->patch},
		{"State", dsud_update_state_word(update->state)},
		{"Phase", update->progress.phase},
		{"Result", dsud_update_result_word(update)},
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(strings); i++)
		if (strcmp(strings[i].name, property) == 0)
			return sd_bus_message_append(reply, "s", strings[i].value);
	return -ENXIO;
}

static int get_number(sd_bus *bus, const char *path, const char *interface, const char *property,
		      sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const struct dsud_update *update = userdata;

	return sd_bus_message_append(reply, "t", update->number);
}

static int get_attempt(sd_bus *bus, const char *path, const char *interface, const char *property,
		       sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const struct dsud_update *update = userdata;

	return sd_bus_message_append(reply, "u", update->progress.attempt);
}

static int get_started(sd_bus *bus, const char *path, const char *interface, const char *property,
		       sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const struct dsud_update *update = userdata;

	return sd_bus_message_append(reply, "t", update->started_usec);
}

static int get_targets(sd_bus *bus, const char *path, const char *interface, const char *property,
		       sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const struct dsud_update *update = userdata;
	int r = sd_bus_message_open_container(reply, 'a', "u");

	for (size_t i = 0; r >= 0 && i < update->order.n_subjects; i++)
		r = sd_bus_message_append(reply, "u", (uint32_t)update->order.subjects[i].pid);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_report(sd_bus *bus, const char *path, const char *interface, const char *property,
		      sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const struct dsud_update *update = userdata;
	UPD_REPORT_CLEAN struct upd_report report = {0};
	int r = dsud_access_read(dsud_connection_current(bus), sd_bus_get_current_message(bus),
				 update->order.owner, error);

	if (r < 0)
		return r;
	r = dsud_update_report(update, &report);
	/* Not settled yet: an empty list. */
	if (r < 0 && r != -ENODATA)
		return r;
	return dsud_append_report(reply, &report, update->order.kind);
}

/* The update of an object, or NULL. Return: negative errno for a path that is none of ours. */
static int find_update(sd_bus *bus, const char *path, const char *interface, void *userdata,
		       void **ret_found, sd_bus_error *error)
{
	struct dsud_connection *connection = userdata;
	INJ_FREE char *name = NULL;
	char *end;
	int r = sd_bus_path_decode(path, DSUD_PATH_UPDATES, &name);

	if (r <= 0)
		return r;

	errno = 0;

	unsigned long long number = strtoull(name, &end, 10);

	if (*name < '1' || *name > '9' || *end != '\0' || errno)
		return 0;
	*ret_found = dsud_registry_find(connection->owner->registry, number);
	return *ret_found ? 1 : 0;
}

/* The update may have been forgotten while polkit was asked. */
static int cancel_allowed(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	struct dsud_update *update;
	void *found = NULL;
	int r = find_update(sd_bus_message_get_bus(message), sd_bus_message_get_path(message),
			    DSUD_IFACE_UPDATE, userdata, &found, error);

	if (r <= 0)
		return r < 0 ? r
			     : sd_bus_error_setf(error, SD_BUS_ERROR_UNKNOWN_OBJECT,
						 "This update is forgotten already.");
	update = found;
	if (update->order.kind == UPD_RECOVER && !dsud_update_is_settled(update))
		return sd_bus_error_setf(
			error, DSUD_ERROR_BUSY,
			"This is the recovery of an interrupted update, which cannot "
			"be cancelled. It ends by itself.");
	dsud_update_cancel(update);
	return sd_bus_reply_method_return(message, NULL);
}

static int method_cancel(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	const struct dsud_update *update = userdata;
	struct dsud_connection *connection =
		dsud_connection_current(sd_bus_message_get_bus(message));
	bool reverts = update->order.kind == UPD_REVERT;
	char name[256];

	if (update->order.owner &&
	    strcmp(update->order.owner,
		   dsud_connection_owner(connection, message, name, sizeof(name))) == 0)
		return cancel_allowed(message, connection, error);
	return dsud_access_gate(connection, message,
				reverts ? DSUD_ACCESS_REVERT : DSUD_ACCESS_APPLY, cancel_allowed,
				error);
}

static const sd_bus_vtable update_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Id", "s", get_id, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Number", "t", get_number, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Kind", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Patch", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Targets", "au", get_targets, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("State", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Phase", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Attempt", "u", get_attempt, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Started", "t", get_started, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Result", "s", get_string, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Report", "aa{sv}", get_report, 0,
			SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION |
				SD_BUS_VTABLE_PROPERTY_EXPLICIT),
	SD_BUS_METHOD(DSUD_METHOD_CANCEL, NULL, NULL, method_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_SIGNAL_WITH_NAMES(DSUD_SIGNAL_PROGRESS, "a{sv}", SD_BUS_PARAM(progress), 0),
	SD_BUS_SIGNAL_WITH_NAMES(DSUD_SIGNAL_COMPLETED, "aa{sv}", SD_BUS_PARAM(report), 0),
	SD_BUS_VTABLE_END,
};

static int list_updates(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes,
			sd_bus_error *error)
{
	struct dsud_connection *connection = userdata;
	const struct dsud_registry *registry = connection->owner->registry;
	char path[DSUD_OBJECT_PATH_BYTES];
	size_t n = 0;

	for (struct dsud_update *update = registry->first; update; update = update->next)
		n += dsud_update_is_listed(update);

	char **nodes = calloc(n + 1, sizeof(*nodes));

	if (!nodes)
		return -ENOMEM;
	n = 0;
	for (struct dsud_update *update = registry->first; update; update = update->next) {
		if (!dsud_update_is_listed(update))
			continue;
		nodes[n] = strdup(dsud_update_path(update, path));
		n += nodes[n] != NULL;
	}
	*ret_nodes = nodes;
	return 1;
}

int dsud_object_update_add(struct dsud_connection *connection)
{
	int r = sd_bus_add_fallback_vtable(connection->bus, NULL, DSUD_PATH_UPDATES,
					   DSUD_IFACE_UPDATE, update_vtable, find_update,
					   connection);

	return r < 0 ? r
		     : sd_bus_add_node_enumerator(connection->bus, NULL, DSUD_PATH_UPDATES,
						  list_updates, connection);
}
