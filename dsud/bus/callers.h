/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_BUS_CALLERS_H
#define DSUD_BUS_CALLERS_H

#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>

struct dsud_connection;
struct dsud_callers;

/*
 * Find out who sends, on the system bus: every call is held back until the bus has told its
 * sender's user, and dispatched then. Also tells when senders go away.
 * connection: of the system bus, not yet started or just so; ret: free with dsud_callers_free()
 *   before the connection's bus is.
 * Return: 0 or negative errno.
 * Source: org.freedesktop.DBus.GetConnectionUnixUser, D-Bus specification.
 */
int dsud_callers_new(struct dsud_connection *connection, struct dsud_callers **ret);
void dsud_callers_free(struct dsud_callers *callers);

/* The user of a sender whose call is being handled. sender: may be NULL. Return: false: not
 * known. */
bool dsud_callers_find(const struct dsud_callers *callers, const char *sender, uid_t *ret);

/*
 * How many bytes of content does a message keep in memory? Counting stops beyond the limit.
 * message: sealed, is rewound.
 * Return: at least the bytes of all strings and arrays; SIZE_MAX when it cannot be read.
 */
size_t dsud_message_weight(sd_bus_message *message, size_t limit);

#endif
