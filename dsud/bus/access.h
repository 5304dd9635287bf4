/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_BUS_ACCESS_H
#define DSUD_BUS_ACCESS_H

#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>

enum dsud_access {
	DSUD_ACCESS_LIST,   /* which processes are patched, which updates there are */
	DSUD_ACCESS_LOOK,   /* addresses, stacks, functions of a process */
	DSUD_ACCESS_CHANGE, /* apply, revert, cancel */
};

/*
 * May the sender of this message do that? The one place that decides.
 * message: a method call being handled; error: receives org.dsud1.Error.AccessDenied.
 * State: any. On the system bus the sender's identity may be asked of the bus.
 * Return: 0 when it may.
 * Errors: negative errno with error set.
 */
int dsud_access_check(sd_bus_message *message, enum dsud_access access, sd_bus_error *error);

/* May a process of this user speak on the private socket at all? */
bool dsud_access_peer(uid_t uid);

/* Answer every call of a connection that may not speak here with AccessDenied. */
int dsud_access_refuse_all(sd_bus *bus);

#endif
