/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns /org/dsud1: what can be asked of the daemon as a whole. Methods read their arguments, ask
 * access.c, and hand an order to the registry; none of them waits.
 */
#include <errno.h>
#include <string.h>

#include "dsud/bus/access.h"
#include "dsud/bus/arguments.h"
#include "dsud/bus/bus-error.h"
#include "dsud/bus/objects.h"
#include "dsud/bus/question.h"
#include "dsud/contract.h"
#include "injector/base/cleanup.h"

INJ_DEFINE_GUARD(sd_bus_message *, sd_bus_message_unref, message_guard)

static struct dsud_order make_order(enum upd_kind kind)
{
	return (struct dsud_order){
		.kind = kind,
		.patch_fd = -1,
		.timeout_ns = DSUD_DEFAULT_TIMEOUT_USEC * 1000u,
	};
}

static int set_owner(struct dsud_connection *connection, sd_bus_message *call,
		     struct dsud_order *order)
{
	char name[256];

	order->owner = strdup(dsud_connection_owner(connection, call, name, sizeof(name)));
	return order->owner ? 0 : -ENOMEM;
}

/* --- updates ------------------------------------------------------------------------------ */

static int submit_update(struct dsud_connection *connection, sd_bus_message *call,
			 struct dsud_order *order, sd_bus_error *error)
{
	struct dsud_update *update;
	struct inj_why why;
	char path[DSUD_OBJECT_PATH_BYTES];
	int r = set_owner(connection, call, order);

	if (r < 0)
		return r;
	r = dsud_registry_submit(connection->owner->registry, order, &update, &why);
	if (r != 0)
		return dsud_bus_error(error, r, &why);
	return sd_bus_reply_method_return(call, "o", dsud_update_path(update, path));
}

static int apply_allowed(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
	INJ_CLEANUP(dsud_order_deinit) struct dsud_order order = make_order(UPD_APPLY);
	int r = dsud_read_patch(call, &order, error);

	if (r >= 0)
		r = dsud_read_targets(call, false, &order, error);
	if (r >= 0)
		r = dsud_read_options(call, &order, error);
	return r < 0 ? r : submit_update(userdata, call, &order, error);
}

static int method_apply(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
	return dsud_access_gate(userdata, call, DSUD_ACCESS_APPLY, apply_allowed, error);
}

static int revert_allowed(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
	INJ_CLEANUP(dsud_order_deinit) struct dsud_order order = make_order(UPD_REVERT);
	int r = dsud_read_patch_id(call, &order, error);

	if (r >= 0)
		r = dsud_read_targets(call, false, &order, error);
	if (r >= 0)
		r = dsud_read_options(call, &order, error);
	return r < 0 ? r : submit_update(userdata, call, &order, error);
}

static int method_revert(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
	return dsud_access_gate(userdata, call, DSUD_ACCESS_REVERT, revert_allowed, error);
}

/* --- questions ---------------------------------------------------------------------------- */

static int ask(struct dsud_connection *connection, sd_bus_message *call, struct dsud_order *order,
	       sd_bus_error *error)
{
	int r = set_owner(connection, call, order);

	return r < 0 ? r : dsud_question_ask(connection, call, order, error);
}

static int check_allowed(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
	INJ_CLEANUP(dsud_order_deinit) struct dsud_order order = make_order(UPD_CHECK);
	int r = dsud_read_patch(call, &order, error);

	if (r >= 0)
		r = dsud_read_targets(call, false, &order, error);
	if (r >= 0)
		r = dsud_read_options(call, &order, error);
	return r < 0 ? r : ask(userdata, call, &order, error);
}

static int method_check(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
	return dsud_access_gate(userdata, call, DSUD_ACCESS_INSPECT, check_allowed, error);
}

static int stacks_allowed(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
	INJ_CLEANUP(dsud_order_deinit) struct dsud_order order = make_order(UPD_STACKS);
	int r = dsud_read_targets(call, false, &order, error);

	if (r >= 0)
		r = dsud_read_options(call, &order, error);
	return r < 0 ? r : ask(userdata, call, &order, error);
}

static int method_stacks(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
	return dsud_access_gate(userdata, call, DSUD_ACCESS_INSPECT, stacks_allowed, error);
}

static int status_allowed(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
	INJ_CLEANUP(dsud_order_deinit) struct dsud_order order = make_order(UPD_STATUS);
	int r = dsud_read_targets(call, true, &order, error);

	if (r < 0)
		return r;
	/* Children of a patched process carry its patches too, so all are looked for anew. */
	order.scan = order.n_subjects == 0;
	return ask(userdata, call, &order, error);
}

static int method_status(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
	return dsud_access_gate(userdata, call, DSUD_ACCESS_INSPECT, status_allowed, error);
}

/* --- lists -------------------------------------------------------------------------------- */

static int method_list_targets(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
	struct dsud_connection *connection = userdata;
	const struct dsud_targets *targets = &connection->owner->registry->targets;
	INJ_CLEANUP(message_guard) sd_bus_message *reply = NULL;
	char path[DSUD_OBJECT_PATH_BYTES];
	int r = sd_bus_message_new_method_return(call, &reply);

	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "(usso)");
	for (size_t i = 0; r >= 0 && i < targets->n; i++) {
		const struct upd_target *state = dsud_target_state(targets->list[i]);

		r = sd_bus_message_append(reply, "(usso)", (uint32_t)state->pid, state->comm,
					  state->exe, dsud_target_path(targets->list[i], path));
	}
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int method_list_updates(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
	struct dsud_connection *connection = userdata;
	struct dsud_update *update = connection->owner->registry->first;
	INJ_CLEANUP(message_guard) sd_bus_message *reply = NULL;
	char path[DSUD_OBJECT_PATH_BYTES];
	int r = sd_bus_message_new_method_return(call, &reply);

	if (r >= 0)
		r = sd_bus_message_open_container(reply, 'a', "(tsssso)");
	for (; r >= 0 && update; update = update->next)
		if (dsud_update_is_listed(update))
			r = sd_bus_message_append(reply, "(tsssso)", update->number,
						  dsud_kind_word(update->order.kind), update->patch,
						  dsud_update_state_word(update->state),
						  dsud_update_result_word(update),
						  dsud_update_path(update, path));
	if (r >= 0)
		r = sd_bus_message_close_container(reply);
	return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

/* --- properties --------------------------------------------------------------------------- */

static int get_version(sd_bus *bus, const char *path, const char *interface, const char *property,
		       sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	return sd_bus_message_append(reply, "s", DSU_VERSION);
}

static int get_protocols(sd_bus *bus, const char *path, const char *interface,
			 const char *property, sd_bus_message *reply, void *userdata,
			 sd_bus_error *error)
{
	int r = sd_bus_message_open_container(reply, 'a', "s");

	for (const char *const *name = upd_protocols(); r >= 0 && *name; name++)
		r = sd_bus_message_append_basic(reply, 's', *name);
	return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_n_updates(sd_bus *bus, const char *path, const char *interface,
			 const char *property, sd_bus_message *reply, void *userdata,
			 sd_bus_error *error)
{
	struct dsud_connection *connection = userdata;

	return sd_bus_message_append(
		reply, "u", (uint32_t)dsud_registry_n_unfinished(connection->owner->registry));
}

static int get_n_targets(sd_bus *bus, const char *path, const char *interface,
			 const char *property, sd_bus_message *reply, void *userdata,
			 sd_bus_error *error)
{
	struct dsud_connection *connection = userdata;

	return sd_bus_message_append(reply, "u", (uint32_t)connection->owner->registry->targets.n);
}

static const sd_bus_vtable manager_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("Protocols", "as", get_protocols, 0, SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("NUpdates", "u", get_n_updates, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_PROPERTY("NTargets", "u", get_n_targets, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	SD_BUS_METHOD_WITH_NAMES(DSUD_METHOD_APPLY, "hsa(ss)a{sv}",
				 SD_BUS_PARAM(patch) SD_BUS_PARAM(patch_name) SD_BUS_PARAM(targets)
					 SD_BUS_PARAM(options),
				 "o", SD_BUS_PARAM(update), method_apply,
				 SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_NAMES(DSUD_METHOD_REVERT, "sa(ss)a{sv}",
				 SD_BUS_PARAM(patch_id) SD_BUS_PARAM(targets) SD_BUS_PARAM(options),
				 "o", SD_BUS_PARAM(update), method_revert,
				 SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_NAMES(DSUD_METHOD_CHECK, "hsa(ss)a{sv}",
				 SD_BUS_PARAM(patch) SD_BUS_PARAM(patch_name) SD_BUS_PARAM(targets)
					 SD_BUS_PARAM(options),
				 "aa{sv}", SD_BUS_PARAM(report), method_check,
				 SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_NAMES(DSUD_METHOD_STACKS, "a(ss)a{sv}",
				 SD_BUS_PARAM(targets) SD_BUS_PARAM(options), "aa{sv}",
				 SD_BUS_PARAM(report), method_stacks, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_NAMES(DSUD_METHOD_STATUS, "a(ss)", SD_BUS_PARAM(targets), "aa{sv}",
				 SD_BUS_PARAM(processes), method_status,
				 SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_NAMES(DSUD_METHOD_LIST_TARGETS, NULL, , "a(usso)", SD_BUS_PARAM(targets),
				 method_list_targets, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_NAMES(DSUD_METHOD_LIST_UPDATES, NULL, , "a(tsssso)",
				 SD_BUS_PARAM(updates), method_list_updates,
				 SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_SIGNAL_WITH_NAMES(DSUD_SIGNAL_UPDATE_NEW, "o", SD_BUS_PARAM(update), 0),
	SD_BUS_SIGNAL_WITH_NAMES(DSUD_SIGNAL_UPDATE_REMOVED, "o", SD_BUS_PARAM(update), 0),
	SD_BUS_SIGNAL_WITH_NAMES(DSUD_SIGNAL_UPDATE_PROGRESS, "oa{sv}",
				 SD_BUS_PARAM(update) SD_BUS_PARAM(progress), 0),
	SD_BUS_SIGNAL_WITH_NAMES(DSUD_SIGNAL_UPDATE_COMPLETED, "oa{sv}",
				 SD_BUS_PARAM(update) SD_BUS_PARAM(summary), 0),
	SD_BUS_SIGNAL_WITH_NAMES(DSUD_SIGNAL_TARGET_NEW, "o", SD_BUS_PARAM(target), 0),
	SD_BUS_SIGNAL_WITH_NAMES(DSUD_SIGNAL_TARGET_REMOVED, "o", SD_BUS_PARAM(target), 0),
	SD_BUS_VTABLE_END,
};

int dsud_object_manager_add(struct dsud_connection *connection)
{
	return sd_bus_add_object_vtable(connection->bus, NULL, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
					manager_vtable, connection);
}
