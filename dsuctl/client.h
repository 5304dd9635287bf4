/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_CLIENT_H
#define CTL_CLIENT_H

#include <jansson.h>
#include <systemd/sd-bus.h>

#include "dsuctl/options.h"
#include "injector/base/cleanup.h"

/* A connection to the daemon. */
struct ctl_client {
	sd_bus *bus;
	const char *destination; /* NULL on a connection without a bus in between */
	const char *list;        /* as in ctl_fail(), for what goes wrong later */
	const struct ctl_options *options;
};

INJ_DEFINE_GUARD(sd_bus_message *, sd_bus_message_unref, ctl_message_guard)
#define CTL_MESSAGE INJ_CLEANUP(ctl_message_guard)

/* Long enough for a daemon that reads a gigabyte of debug information for us. */
#define CTL_CALL_TIMEOUT_USEC (120 * 1000000ULL)

/*
 * Connect: to --host, else --socket or --state-dir, else the system bus if the daemon is there or
 * can be started there, else the private socket.
 * list: as in ctl_fail(). ret: always safe to close.
 * Return: 0, or an exit code after the failure was told.
 * Source: sd_bus_set_fd(3), sd_bus_open_system(3).
 */
int ctl_client_open(struct ctl_client *ret, const struct ctl_options *options, const char *list);
void ctl_client_close(struct ctl_client *client);
#define CTL_CLIENT INJ_CLEANUP(ctl_client_close) struct ctl_client

#define CTL_PLACE_MAX 128

/*
 * Does a daemon answer that these options would lead to? Nothing is told, and no daemon is started
 * by the question.
 * ret_place: where it answers, for people.
 */
bool ctl_client_find(const struct ctl_options *options, char ret_place[static CTL_PLACE_MAX]);

/* Tell what went wrong with a call and return the exit code; error may be unset, r negative. */
int ctl_client_fail(const struct ctl_client *client, const sd_bus_error *error, int r);

/*
 * A call of a method of the manager.
 * ret: the caller's reference. Return: 0 or negative errno.
 */
int ctl_client_new_call(const struct ctl_client *client, const char *method, sd_bus_message **ret);

/* Append a(ss), the targets of the command line. Return: 0 or negative errno. */
int ctl_client_append_targets(sd_bus_message *call, const struct ctl_options *options);
/*
 * Append a{sv}: the time limit if with_timeout, the protocol if one was given, and the file
 * descriptor patch_fd unless it is -1. Return: 0 or negative errno.
 */
int ctl_client_append_options(sd_bus_message *call, const struct ctl_options *options,
			      bool with_timeout, int patch_fd);

/*
 * Call and read the one value that is answered.
 * type: its complete D-Bus type. ret: a new reference.
 * Return: 0, or an exit code after the failure was told.
 */
int ctl_client_ask(const struct ctl_client *client, sd_bus_message *call, const char *type,
		   json_t **ret);

/* All properties of an object's interface, as one object, but those that are given to some only.
 * Errors are not told: negative errno. */
int ctl_client_properties(const struct ctl_client *client, const char *path, const char *interface,
			  json_t **ret);

/* One property. Errors are not told: negative errno. */
int ctl_client_property(const struct ctl_client *client, const char *path, const char *interface,
			const char *name, json_t **ret);

/*
 * Watch for signals of an interface below the daemon's root, whoever asked for what causes them,
 * and for the end of the connection.
 * handler: called for each signal; on_loss: called once when the daemon went away.
 * Return: 0 or negative errno.
 */
int ctl_client_watch(const struct ctl_client *client, const char *interface,
		     sd_bus_message_handler_t handler, sd_bus_message_handler_t on_loss,
		     void *context);

#endif
