/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns /org/dsud1/target/PID: one patched process. Everybody may see that a process is patched;
 * what its patches are, with addresses, is for root, and therefore never part of a message that is
 * sent to all; others ask for the status, which polkit may let them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dsud/bus/access.h"
#include "dsud/bus/objects.h"
#include "dsud/bus/report-message.h"
#include "dsud/contract.h"
#include "injector/base/cleanup.h"

static int get_pid(sd_bus *bus, const char *path, const char *interface, const char *property,
		   sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	const struct dsud_target *target = userdata;

	return sd_bus_message_append(reply, "u", (uint32_t)target->pid);
}

static int get_comm(sd_bus *bus, const char *path, const char *interface, const char *property,
		    sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	return sd_bus_message_append(reply, "s", dsud_target_state(userdata)->comm);
}

static int get_exe(sd_bus *bus, const char *path, const char *interface, const char *property,
		   sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	return sd_bus_message_append(reply, "s", dsud_target_state(userdata)->exe);
}

static int get_patches(sd_bus *bus, const char *path, const char *interface, const char *property,
		       sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	int r = dsud_access_read(dsud_connection_current(bus), sd_bus_get_current_message(bus),
				 NULL, error);

	return r < 0 ? r : dsud_append_patches(reply, dsud_target_state(userdata));
}

static const sd_bus_vtable target_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Pid", "u", get_pid, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Comm", "s", get_comm, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("Exe", "s", get_exe, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Patches", "aa{sv}", get_patches, 0,
			SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION |
				SD_BUS_VTABLE_PROPERTY_EXPLICIT),
	SD_BUS_VTABLE_END,
};

static int find_target(sd_bus *bus, const char *path, const char *interface, void *userdata,
		       void **ret_found, sd_bus_error *error)
{
	struct dsud_connection *connection = userdata;
	INJ_FREE char *name = NULL;
	char *end;
	int r = sd_bus_path_decode(path, DSUD_PATH_TARGETS, &name);

	if (r <= 0)
		return r;

	unsigned long pid = strtoul(name, &end, 10);

	if (*name < '1' || *name > '9' || *end != '\0' || pid > INT32_MAX)
		return 0;
	*ret_found = dsud_targets_find(&connection->owner->registry->targets, (pid_t)pid);
	return *ret_found ? 1 : 0;
}

static int list_targets(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes,
			sd_bus_error *error)
{
	struct dsud_connection *connection = userdata;
	const struct dsud_targets *targets = &connection->owner->registry->targets;
	char path[DSUD_OBJECT_PATH_BYTES];
	char **nodes = calloc(targets->n + 1, sizeof(*nodes));

	/* sd-bus frees what stands there, also after a failure half way. */
	for (size_t i = 0; nodes && i < targets->n; i++)
		nodes[i] = strdup(dsud_target_path(targets->list[i], path));
	*ret_nodes = nodes;
	return nodes ? 1 : -ENOMEM;
}

int dsud_object_target_add(struct dsud_connection *connection)
{
	int r = sd_bus_add_fallback_vtable(connection->bus, NULL, DSUD_PATH_TARGETS,
					   DSUD_IFACE_TARGET, target_vtable, find_target,
					   connection);

	return r < 0 ? r
		     : sd_bus_add_node_enumerator(connection->bus, NULL, DSUD_PATH_TARGETS,
						  list_targets, connection);
}
