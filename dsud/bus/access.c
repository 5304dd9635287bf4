/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the question of who may do what. Everybody on the system bus may see which processes are
 * patched; addresses and stacks of processes, and every change, are for root and for those whom
 * polkit lets. On the private socket only root is heard at all; that is decided once, when the
 * connection is accepted. Always holds: whose identity is not known may nothing.
 */
#include <errno.h>
#include <string.h>

#include "dsud/bus/access.h"
#include "dsud/bus/callers.h"
#include "dsud/bus/polkit.h"
#include "dsud/contract.h"

static const struct {
	const char *action;
	const char *what;
} actions[] = {
	[DSUD_ACCESS_INSPECT] = {DSUD_ACTION_INSPECT, "look into processes"},
	[DSUD_ACCESS_APPLY] = {DSUD_ACTION_APPLY, "change processes"},
	[DSUD_ACCESS_REVERT] = {DSUD_ACTION_REVERT, "change processes back"},
};

bool dsud_access_peer(uid_t uid)
{
	return uid == 0;
}

static int find_user(struct dsud_connection *connection, sd_bus_message *call, uid_t *ret,
		     sd_bus_error *error)
{
	/* A peer of the private socket was looked at when it came. */
	if (!connection->is_system) {
		*ret = 0;
		return 0;
	}
	if (dsud_callers_find(connection->callers, sd_bus_message_get_sender(call), ret))
		return 0;
	return sd_bus_error_setf(error, DSUD_ERROR_ACCESS_DENIED,
				 "The bus does not tell who asks. Try the private socket.");
}

int dsud_access_gate(struct dsud_connection *connection, sd_bus_message *call,
		     enum dsud_access access, dsud_access_handler handler, sd_bus_error *error)
{
	uid_t uid;
	int r = find_user(connection, call, &uid, error);

	if (r < 0)
		return r;
	if (uid == 0)
		return handler(call, connection, error);
	return dsud_polkit_ask(connection, call, uid, actions[access].action, actions[access].what,
			       handler, error);
}

int dsud_access_read(struct dsud_connection *connection, sd_bus_message *call, const char *owner,
		     sd_bus_error *error)
{
	const char *sender;
	uid_t uid;
	int r;

	/* Read without a call: for a message to everybody. */
	if (!connection || !call)
		return -EACCES;
	sender = sd_bus_message_get_sender(call);
	r = find_user(connection, call, &uid, error);
	if (r < 0)
		return r;
	/* The bus never gives a unique name twice. */
	if (uid == 0 || (owner && sender && strcmp(owner, sender) == 0))
		return 0;
	return sd_bus_error_setf(error, DSUD_ERROR_ACCESS_DENIED,
				 "User %u may not look into this process: it is for root and for "
				 "whoever asked for the update. Use 'dsuctl status'.",
				 uid);
}

static int refuse_call(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	if (!sd_bus_message_is_method_call(message, NULL, NULL))
		return 0;
	return sd_bus_reply_method_errorf(message, DSUD_ERROR_ACCESS_DENIED,
					  "Only root may speak to dsud on its private socket.");
}

int dsud_access_refuse_all(sd_bus *bus)
{
	return sd_bus_add_filter(bus, NULL, refuse_call, NULL);
}
