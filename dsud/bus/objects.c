/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns what is told to everybody: each event of the registry goes to every connection, the system
 * bus and all private ones alike. A connection that cannot be told is closed by sd-bus itself.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "dsud/bus/objects.h"
#include "dsud/bus/report-message.h"
#include "dsud/contract.h"
#include "dsud/log.h"
#include "injector/base/cleanup.h"

INJ_DEFINE_GUARD(sd_bus_message *, sd_bus_message_unref, message_guard)

#define FOR_EACH_LISTENER(connection, owner)                                             \
	for (struct dsud_connection *connection = (owner)->first; connection;            \
	     connection = connection->next)                                              \
		if (!connection->is_refused)

int dsud_objects_add(struct dsud_connection *connection)
{
	int r = sd_bus_add_object_manager(connection->bus, NULL, DSUD_PATH_ROOT);

	if (r >= 0)
		r = dsud_object_manager_add(connection);
	if (r >= 0)
		r = dsud_object_target_add(connection);
	if (r >= 0)
		r = dsud_object_update_add(connection);
	return r;
}

const char *dsud_target_path(const struct dsud_target *target, char *buffer)
{
	snprintf(buffer, DSUD_OBJECT_PATH_BYTES, "%s/%d", DSUD_PATH_TARGETS, (int)target->pid);
	return buffer;
}

const char *dsud_update_path(const struct dsud_update *update, char *buffer)
{
	snprintf(buffer, DSUD_OBJECT_PATH_BYTES, "%s/%" PRIu64, DSUD_PATH_UPDATES, update->number);
	return buffer;
}

static void tell_manager(struct dsud_connection *connection, const char *signal, const char *path)
{
	sd_bus_emit_signal(connection->bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, signal, "o", path);
}

static void tell_count(struct dsud_connection *connection, const char *property)
{
	sd_bus_emit_properties_changed(connection->bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
				       property, NULL);
}

/* --- updates ------------------------------------------------------------------------------ */

void dsud_tell_update_new(struct dsud_bus *bus, struct dsud_update *update)
{
	char path[DSUD_OBJECT_PATH_BYTES];

	dsud_update_path(update, path);
	FOR_EACH_LISTENER (connection, bus) {
		sd_bus_emit_object_added(connection->bus, path);
		tell_manager(connection, DSUD_SIGNAL_UPDATE_NEW, path);
		tell_count(connection, "NUpdates");
	}
}

void dsud_tell_update_changed(struct dsud_bus *bus, struct dsud_update *update)
{
	char path[DSUD_OBJECT_PATH_BYTES];

	dsud_update_path(update, path);
	FOR_EACH_LISTENER (connection, bus)
		sd_bus_emit_properties_changed(connection->bus, path, DSUD_IFACE_UPDATE, "State",
					       "Phase", "Attempt", "Started", "Patch", "Result",
					       "Report", NULL);
}

/* A signal with a payload: append() fills what follows the optional object path. */
static void tell_payload(struct dsud_connection *connection, const char *path,
			 const char *interface, const char *signal, const char *about,
			 int (*append)(sd_bus_message *message, const void *what), const void *what)
{
	INJ_CLEANUP(message_guard) sd_bus_message *message = NULL;
	int r = sd_bus_message_new_signal(connection->bus, &message, path, interface, signal);

	if (r >= 0 && about)
		r = sd_bus_message_append(message, "o", about);
	if (r >= 0)
		r = append(message, what);
	if (r >= 0)
		r = sd_bus_send(connection->bus, message, NULL);
	/* One that just went away is no news. */
	if (r < 0 && r != -ENOTCONN && r != -ECONNRESET && r != -EPIPE)
		dsud_log_errno(LOG_WARNING, r, "cannot send the signal %s", signal);
}

static int append_progress(sd_bus_message *message, const void *what)
{
	return dsud_append_progress(message, what);
}

static int append_summary(sd_bus_message *message, const void *what)
{
	return dsud_append_summary(message, what);
}

struct completion {
	const struct upd_report *report;
	enum upd_kind kind;
};

static int append_report(sd_bus_message *message, const void *what)
{
	const struct completion *completion = what;

	return dsud_append_report(message, completion->report, completion->kind);
}

void dsud_tell_update_progress(struct dsud_bus *bus, struct dsud_update *update)
{
	char path[DSUD_OBJECT_PATH_BYTES];

	dsud_update_path(update, path);
	FOR_EACH_LISTENER (connection, bus) {
		tell_payload(connection, path, DSUD_IFACE_UPDATE, DSUD_SIGNAL_PROGRESS, NULL,
			     append_progress, update);
		tell_payload(connection, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
			     DSUD_SIGNAL_UPDATE_PROGRESS, path, append_progress, update);
	}
}

void dsud_tell_update_completed(struct dsud_bus *bus, struct dsud_update *update,
				const struct upd_report *report)
{
	struct completion completion = {report, update->order.kind};
	char path[DSUD_OBJECT_PATH_BYTES];

	dsud_update_path(update, path);
	FOR_EACH_LISTENER (connection, bus) {
		tell_payload(connection, path, DSUD_IFACE_UPDATE, DSUD_SIGNAL_COMPLETED, NULL,
			     append_report, &completion);
		tell_payload(connection, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
			     DSUD_SIGNAL_UPDATE_COMPLETED, path, append_summary, update);
		tell_count(connection, "NUpdates");
	}
}

void dsud_tell_update_removed(struct dsud_bus *bus, struct dsud_update *update)
{
	char path[DSUD_OBJECT_PATH_BYTES];

	dsud_update_path(update, path);
	FOR_EACH_LISTENER (connection, bus) {
		sd_bus_emit_object_removed(connection->bus, path);
		tell_manager(connection, DSUD_SIGNAL_UPDATE_REMOVED, path);
	}
}

/* --- targets ------------------------------------------------------------------------------ */

void dsud_tell_target_new(struct dsud_bus *bus, struct dsud_target *target)
{
	char path[DSUD_OBJECT_PATH_BYTES];

	dsud_target_path(target, path);
	FOR_EACH_LISTENER (connection, bus) {
		sd_bus_emit_object_added(connection->bus, path);
		tell_manager(connection, DSUD_SIGNAL_TARGET_NEW, path);
		tell_count(connection, "NTargets");
	}
}

void dsud_tell_target_changed(struct dsud_bus *bus, struct dsud_target *target)
{
	char path[DSUD_OBJECT_PATH_BYTES];

	dsud_target_path(target, path);
	FOR_EACH_LISTENER (connection, bus)
		sd_bus_emit_properties_changed(connection->bus, path, DSUD_IFACE_TARGET, "Comm",
					       "Patches", NULL);
}

void dsud_tell_target_removed(struct dsud_bus *bus, struct dsud_target *target)
{
	char path[DSUD_OBJECT_PATH_BYTES];

	dsud_target_path(target, path);
	FOR_EACH_LISTENER (connection, bus) {
		sd_bus_emit_object_removed(connection->bus, path);
		tell_manager(connection, DSUD_SIGNAL_TARGET_REMOVED, path);
		tell_count(connection, "NTargets");
	}
}
