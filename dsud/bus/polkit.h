/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_BUS_POLKIT_H
#define DSUD_BUS_POLKIT_H

#include "dsud/bus/access.h"

struct dsud_polkit;

/* The questions of one connection to the system bus. ret: free before the connection's bus is. */
int dsud_polkit_new(struct dsud_connection *connection, struct dsud_polkit **ret);
void dsud_polkit_free(struct dsud_polkit *polkit);

/*
 * Ask polkit about a call.
 * uid: of the sender; action: name of the action; what: words for it; handler: as in
 *   dsud_access_gate(), called only after a yes.
 * State: any; nothing is waited for. The sender decides by a flag of its message whether a person
 *   may be asked for a password.
 * Return: 1; a no is answered to the sender.
 * Errors: negative errno with error set: too many questions, or the call is too large to be kept.
 * Source: org.freedesktop.PolicyKit1.Authority, polkit's reference manual.
 */
int dsud_polkit_ask(struct dsud_connection *connection, sd_bus_message *call, uid_t uid,
		    const char *action, const char *what, dsud_access_handler handler,
		    sd_bus_error *error);

/* A sender went away: nobody waits for the answers to its questions. */
void dsud_polkit_abandon(struct dsud_polkit *polkit, const char *sender);

#endif
