/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_BUS_ACCESS_H
#define DSUD_BUS_ACCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "dsud/bus/bus.h"

/* Which processes are patched and which updates there are is for everybody, and not listed here. */
enum dsud_access {
	DSUD_ACCESS_INSPECT, /* addresses, stacks, functions of a process */
	DSUD_ACCESS_APPLY,
	DSUD_ACCESS_REVERT,
};

/* What a call does once it may: as a method handler of sd-bus. */
typedef int (*dsud_access_handler)(sd_bus_message *call, void *connection, sd_bus_error *error);

/*
 * Let a call through if its sender may do that: root, and on the system bus whoever polkit lets.
 * call: being handled; handler: called now or when polkit has answered, never after the sender or
 *   the connection went away; what it returns then is answered as sd-bus would.
 * State: any; polkit is not waited for.
 * Return: of the handler, or 1 when polkit was asked.
 * Errors: negative errno with error set to org.dsud1.Error.AccessDenied or .Busy.
 */
int dsud_access_gate(struct dsud_connection *connection, sd_bus_message *call,
		     enum dsud_access access, dsud_access_handler handler, sd_bus_error *error);

/*
 * May the sender of a call read what concerns one process, right now, without polkit?
 * owner: of what is read, as dsud_connection_owner() names it; NULL: nobody's.
 * Return: 0 for root and for the owner. Errors: negative errno with error set.
 */
int dsud_access_read(struct dsud_connection *connection, sd_bus_message *call, const char *owner,
		     sd_bus_error *error);

/* May a process of this user speak on the private socket at all? */
bool dsud_access_peer(uid_t uid);

/* Answer every call of a connection that may not speak here with AccessDenied. */
int dsud_access_refuse_all(sd_bus *bus);

#endif
