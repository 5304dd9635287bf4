/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the knowledge who sends on the system bus. A sender's user is asked of the bus once, without
 * waiting: its calls are held back meanwhile and dispatched in their order. Always holds: a unique
 * name never changes its user and is never given twice, so what was learnt stays true; what is held
 * back is bounded in number and in bytes.
 * Refuses calls beyond these bounds with Busy.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dsud/bus/bus.h"
#include "dsud/bus/callers.h"
#include "dsud/bus/polkit.h"
#include "dsud/contract.h"
#include "injector/base/cleanup.h"

#define MAX_KNOWN 256
#define MAX_ASKED 64       /* senders that are being asked about */
#define MAX_HELD 8         /* calls of one of them */
#define MAX_HELD_BYTES (8u << 20)

#define BUS_SERVICE "org.freedesktop.DBus"
#define BUS_OBJECT "/org/freedesktop/DBus"

struct caller {
	char *name;
	uid_t uid;
	uint64_t last_used;
};

/* A sender that is not known yet, with its calls. */
struct asked {
	struct asked *next;
	struct dsud_callers *owner;
	char *name;
	sd_bus_slot *slot;
	sd_bus_message *held[MAX_HELD];
	size_t n_held;
	size_t weight;
};

struct dsud_callers {
	struct dsud_connection *connection;
	struct caller known[MAX_KNOWN];
	size_t n_known;
	uint64_t n_uses;
	struct asked *first;
	size_t n_asked;
	size_t weight;
};

/* --- what is known ------------------------------------------------------------------------ */

static struct caller *find(const struct dsud_callers *callers, const char *sender)
{
	for (size_t i = 0; i < callers->n_known; i++)
		if (strcmp(callers->known[i].name, sender) == 0)
			return (struct caller *)&callers->known[i];
	return NULL;
}

bool dsud_callers_find(const struct dsud_callers *callers, const char *sender, uid_t *ret)
{
	const struct caller *caller = callers && sender ? find(callers, sender) : NULL;

	if (caller)
		*ret = caller->uid;
	return caller != NULL;
}

static void forget(struct dsud_callers *callers, struct caller *caller)
{
	free(caller->name);
	*caller = callers->known[--callers->n_known];
}

static void learn(struct dsud_callers *callers, char *name, uid_t uid)
{
	if (callers->n_known == MAX_KNOWN) {
		struct caller *oldest = &callers->known[0];

		for (size_t i = 1; i < MAX_KNOWN; i++)
			if (callers->known[i].last_used < oldest->last_used)
				oldest = &callers->known[i];
		forget(callers, oldest);
	}
	callers->known[callers->n_known++] = (struct caller){name, uid, ++callers->n_uses};
}

/* --- who is asked about ------------------------------------------------------------------- */

static struct asked *find_asked(const struct dsud_callers *callers, const char *sender)
{
	for (struct asked *asked = callers->first; asked; asked = asked->next)
		if (strcmp(asked->name, sender) == 0)
			return asked;
	return NULL;
}

static void asked_free(struct asked *asked)
{
	if (!asked)
		return;
	sd_bus_slot_unref(asked->slot);
	for (size_t i = 0; i < asked->n_held; i++)
		sd_bus_message_unref(asked->held[i]);
	free(asked->name);
	free(asked);
}

static void unlink_asked(struct asked *asked)
{
	struct dsud_callers *callers = asked->owner;

	for (struct asked **place = &callers->first; *place; place = &(*place)->next) {
		if (*place == asked) {
			*place = asked->next;
			break;
		}
	}
	callers->n_asked--;
	callers->weight -= asked->weight;
}

static int on_user(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	struct asked *asked = userdata;
	sd_bus *bus = asked->owner->connection->bus;
	uint32_t uid;
	int r;

	unlink_asked(asked);
	/* Gone meanwhile, or a bus that does not know its own clients: nobody to answer to. */
	if (!sd_bus_message_is_method_error(reply, NULL) &&
	    sd_bus_message_read(reply, "u", &uid) > 0) {
		learn(asked->owner, INJ_TAKE(asked->name), uid);
		for (size_t i = 0; i < asked->n_held; i++) {
			r = sd_bus_enqueue_for_read(bus, asked->held[i]);
			if (r < 0)
				sd_bus_reply_method_errno(asked->held[i], r, NULL);
		}
	}
	asked_free(asked);
	return 1;
}

static int ask(struct dsud_callers *callers, const char *sender, struct asked **ret)
{
	INJ_FREE struct asked *asked = calloc(1, sizeof(*asked));
	int r;

	if (!asked)
		return -ENOMEM;
	asked->owner = callers;
	asked->name = strdup(sender);
	if (!asked->name)
		return -ENOMEM;
	r = sd_bus_call_method_async(callers->connection->bus, &asked->slot, BUS_SERVICE,
				     BUS_OBJECT, BUS_SERVICE, "GetConnectionUnixUser", on_user,
				     asked, "s", sender);
	if (r < 0) {
		free(asked->name);
		return r;
	}
	asked->next = callers->first;
	callers->first = asked;
	callers->n_asked++;
	*ret = INJ_TAKE(asked);
	return 0;
}

static int refuse_busy(sd_bus_message *call)
{
	return sd_bus_reply_method_errorf(call, DSUD_ERROR_BUSY,
					  "Too much is being asked at once. Try again, or use the "
					  "private socket as root.");
}

static int hold(struct dsud_callers *callers, sd_bus_message *call, const char *sender)
{
	struct asked *asked = find_asked(callers, sender);
	size_t room = MAX_HELD_BYTES - callers->weight;
	size_t weight = dsud_message_weight(call, room);
	int r = 0;

	if (weight > room || (asked && asked->n_held == MAX_HELD) ||
	    (!asked && callers->n_asked == MAX_ASKED))
		return refuse_busy(call);
	if (!asked)
		r = ask(callers, sender, &asked);
	if (r < 0)
		return sd_bus_reply_method_errno(call, r, NULL);
	asked->held[asked->n_held++] = sd_bus_message_ref(call);
	asked->weight += weight;
	callers->weight += weight;
	return 1;
}

static int on_message(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	struct dsud_callers *callers = userdata;
	const char *sender = sd_bus_message_get_sender(message);
	struct caller *caller;

	if (!sd_bus_message_is_method_call(message, NULL, NULL) || !sender)
		return 0;
	caller = find(callers, sender);
	if (!caller)
		return hold(callers, message, sender);
	caller->last_used = ++callers->n_uses;
	return 0;
}

/* --- ends --------------------------------------------------------------------------------- */

static int on_name_lost(sd_bus_message *signal, void *userdata, sd_bus_error *error)
{
	struct dsud_callers *callers = userdata;
	struct dsud_connection *connection = callers->connection;
	const char *name;
	struct caller *caller;
	struct asked *asked;

	if (sd_bus_message_read(signal, "s", &name) <= 0 || name[0] != ':')
		return 0;
	caller = find(callers, name);
	if (caller)
		forget(callers, caller);
	asked = find_asked(callers, name);
	if (asked) {
		unlink_asked(asked);
		asked_free(asked);
	}
	dsud_polkit_abandon(connection->polkit, name);
	dsud_registry_abandon(connection->owner->registry, name);
	return 0;
}

int dsud_callers_new(struct dsud_connection *connection, struct dsud_callers **ret)
{
	INJ_FREE struct dsud_callers *callers = calloc(1, sizeof(*callers));
	int r;

	if (!callers)
		return -ENOMEM;
	callers->connection = connection;
	r = sd_bus_add_filter(connection->bus, NULL, on_message, callers);
	if (r >= 0)
		r = sd_bus_add_match_async(connection->bus, NULL,
					   "type='signal',sender='" BUS_SERVICE "',"
					   "path='" BUS_OBJECT "',interface='" BUS_SERVICE "',"
					   "member='NameOwnerChanged',arg2=''",
					   on_name_lost, NULL, callers);
	if (r < 0)
		return r;
	*ret = INJ_TAKE(callers);
	return 0;
}

void dsud_callers_free(struct dsud_callers *callers)
{
	struct asked *next;

	if (!callers)
		return;
	for (struct asked *asked = callers->first; asked; asked = next) {
		next = asked->next;
		asked_free(asked);
	}
	for (size_t i = 0; i < callers->n_known; i++)
		free(callers->known[i].name);
	free(callers);
}
