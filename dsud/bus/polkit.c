/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the questions to polkit. Nothing waits for an answer: a call is kept until it comes, until
 * its sender goes away, or until the time is up. Always holds: only a clear yes lets a call
 * through; silence, an error or no polkit at all is a no that says why; what is kept is bounded.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dsud/bus/callers.h"
#include "dsud/bus/polkit.h"
#include "dsud/contract.h"
#include "dsud/log.h"
#include "injector/base/cleanup.h"
#include "injector/base/why.h"

#define POLKIT_NAME "org.freedesktop.PolicyKit1"
#define POLKIT_PATH "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_INTERFACE "org.freedesktop.PolicyKit1.Authority"

#define MAX_QUESTIONS 32
#define MAX_QUESTIONS_OF_USER 4
#define MAX_CALL_BYTES (256u << 10)
/* A service has so long; a person who types a password has longer, and clients wait that long. */
#define SERVICE_SECONDS 10u
#define PERSON_SECONDS 100u

#define FLAG_ALLOW_INTERACTION 1u

INJ_DEFINE_GUARD(sd_bus_message *, sd_bus_message_unref, message_guard)

struct question {
	struct question *next;
	struct dsud_polkit *owner;
	uint64_t number;
	uid_t uid;
	const char *what;
	bool interactive;
	sd_bus_message *call;
	sd_bus_slot *slot;
	dsud_access_handler handler;
};

struct dsud_polkit {
	struct dsud_connection *connection;
	struct question *first;
	uint64_t last_number;
};

int dsud_polkit_new(struct dsud_connection *connection, struct dsud_polkit **ret)
{
	struct dsud_polkit *polkit = calloc(1, sizeof(*polkit));

	if (!polkit)
		return -ENOMEM;
	polkit->connection = connection;
	*ret = polkit;
	return 0;
}

static void question_free(struct question *question)
{
	if (!question)
		return;
	sd_bus_slot_unref(question->slot);
	sd_bus_message_unref(question->call);
	free(question);
}

INJ_DEFINE_GUARD(struct question *, question_free, question_guard)

void dsud_polkit_free(struct dsud_polkit *polkit)
{
	struct question *next;

	if (!polkit)
		return;
	for (struct question *question = polkit->first; question; question = next) {
		next = question->next;
		question_free(question);
	}
	free(polkit);
}

static void unlink_question(struct question *question)
{
	struct question **place = &question->owner->first;

	while (*place && *place != question)
		place = &(*place)->next;
	if (*place)
		*place = question->next;
}

/* --- answers ------------------------------------------------------------------------------ */

static void name_cancellation(const struct question *question, char text[static 32])
{
	snprintf(text, 32, "dsud-%" PRIu64, question->number);
}

/* Nobody wants to know any more; a dialogue on somebody's screen goes away. */
static void take_back(const struct question *question)
{
	char id[32];

	name_cancellation(question, id);
	sd_bus_call_method_async(question->owner->connection->bus, NULL, POLKIT_NAME, POLKIT_PATH,
				 POLKIT_INTERFACE, "CancelCheckAuthorization", NULL, NULL, "s", id);
}

static void refuse(const struct question *question, const char *reason)
{
	sd_bus_reply_method_errorf(question->call, DSUD_ERROR_ACCESS_DENIED,
				   "User %u may not %s: %s", question->uid, question->what, reason);
}

static bool is_absent(const sd_bus_error *error)
{
	return sd_bus_error_has_name(error, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
	       sd_bus_error_has_name(error, SD_BUS_ERROR_NAME_HAS_NO_OWNER) ||
	       strncmp(error->name, "org.freedesktop.DBus.Error.Spawn.", 33) == 0 ||
	       strncmp(error->name, "org.freedesktop.systemd1.", 25) == 0;
}

static bool is_silent(const sd_bus_error *error)
{
	return sd_bus_error_has_name(error, SD_BUS_ERROR_NO_REPLY) ||
	       sd_bus_error_has_name(error, SD_BUS_ERROR_TIMEOUT);
}

static void tell_failure(const struct question *question, const sd_bus_error *error)
{
	char text[512];

	if (is_absent(error)) {
		refuse(question, "polkit does not run here, so only root may. Ask as root.");
	} else if (is_silent(error)) {
		take_back(question);
		snprintf(text, sizeof(text),
			 "polkit did not answer in time (%u seconds at most). Try again, or ask as "
			 "root.",
			 question->interactive ? PERSON_SECONDS : SERVICE_SECONDS);
		refuse(question, text);
		dsud_log(LOG_WARNING, "polkit did not answer in time");
	} else {
		snprintf(text, sizeof(text), "polkit gives no answer (%s). Ask as root.",
			 error->message ? error->message : error->name);
		inj_printable(text);
		refuse(question, text);
		dsud_log(LOG_WARNING, "%s", text);
	}
}

static void tell_verdict(const struct question *question, bool is_challenge)
{
	if (is_challenge && !question->interactive)
		refuse(question, "polkit asks for a password first, and the caller did not allow "
				 "to ask for it. Use a terminal, or ask as root.");
	else if (is_challenge)
		refuse(question, "polkit asks for a password first, and nobody could be asked for "
				 "it. Use a session with an authentication agent, or ask as root.");
	else
		refuse(question, "polkit says no. See the rules of polkit, or ask as root.");
}

static void let_through(struct question *question)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	int r = sd_bus_message_rewind(question->call, 1);

	if (r >= 0)
		r = question->handler(question->call, question->owner->connection, &error);

	if (r < 0 || sd_bus_error_is_set(&error))
		sd_bus_reply_method_errno(question->call, r, &error);
	sd_bus_error_free(&error);
}

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *unused)
{
	INJ_CLEANUP(question_guard) struct question *question = userdata;
	int is_authorized = 0;
	int is_challenge = 0;

	unlink_question(question);
	if (sd_bus_message_is_method_error(reply, NULL)) {
		tell_failure(question, sd_bus_message_get_error(reply));
		return 1;
	}
	/* What cannot be read is a no. */
	if (!sd_bus_message_has_signature(reply, "(bba{ss})") ||
	    sd_bus_message_enter_container(reply, 'r', "bba{ss}") <= 0 ||
	    sd_bus_message_read(reply, "bb", &is_authorized, &is_challenge) <= 0)
		is_authorized = is_challenge = 0;
	if (is_authorized)
		let_through(question);
	else
		tell_verdict(question, is_challenge);
	return 1;
}

/* --- questions ---------------------------------------------------------------------------- */

static int check_limits(const struct dsud_polkit *polkit, sd_bus_message *call, uid_t uid,
			sd_bus_error *error)
{
	unsigned n = 0;
	unsigned n_of_user = 0;

	for (struct question *question = polkit->first; question; question = question->next) {
		n++;
		n_of_user += question->uid == uid;
	}
	if (n >= MAX_QUESTIONS || n_of_user >= MAX_QUESTIONS_OF_USER)
		return sd_bus_error_setf(error, DSUD_ERROR_BUSY,
					 "Polkit has %u questions of ours to answer, %u of them "
					 "for user %u. Wait for some of them.",
					 n, n_of_user, uid);
	if (dsud_message_weight(call, MAX_CALL_BYTES) > MAX_CALL_BYTES)
		return sd_bus_error_setf(error, DSUD_ERROR_BUSY,
					 "The request is too large to be kept while polkit is "
					 "asked. Name fewer targets.");
	return 0;
}

static int make_message(const struct question *question, const char *action,
			sd_bus_message **ret)
{
	INJ_CLEANUP(message_guard) sd_bus_message *message = NULL;
	const char *sender = sd_bus_message_get_sender(question->call);
	char id[32];
	int r = sd_bus_message_new_method_call(question->owner->connection->bus, &message,
					       POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE,
					       "CheckAuthorization");

	name_cancellation(question, id);
	if (r >= 0)
		r = sd_bus_message_append(message, "(sa{sv})sa{ss}us", "system-bus-name", 1, "name",
					  "s", sender, action, 0,
					  question->interactive ? FLAG_ALLOW_INTERACTION : 0u, id);
	if (r < 0)
		return r;
	*ret = INJ_TAKE(message);
	return 0;
}

static int send_question(struct question *question, const char *action)
{
	INJ_CLEANUP(message_guard) sd_bus_message *message = NULL;
	unsigned seconds = question->interactive ? PERSON_SECONDS : SERVICE_SECONDS;
	int r = make_message(question, action, &message);

	return r < 0 ? r
		     : sd_bus_call_async(question->owner->connection->bus, &question->slot, message,
					 on_answer, question, UINT64_C(1000000) * seconds);
}

int dsud_polkit_ask(struct dsud_connection *connection, sd_bus_message *call, uid_t uid,
		    const char *action, const char *what, dsud_access_handler handler,
		    sd_bus_error *error)
{
	struct dsud_polkit *polkit = connection->polkit;
	INJ_CLEANUP(question_guard) struct question *question = NULL;
	int r = check_limits(polkit, call, uid, error);

	if (r < 0)
		return r;
	question = calloc(1, sizeof(*question));
	if (!question)
		return -ENOMEM;
	question->owner = polkit;
	question->number = ++polkit->last_number;
	question->uid = uid;
	question->what = what;
	question->interactive = sd_bus_message_get_allow_interactive_authorization(call) > 0;
	question->call = sd_bus_message_ref(call);
	question->handler = handler;
	r = send_question(question, action);
	if (r < 0)
		return r;
	question->next = polkit->first;
	polkit->first = INJ_TAKE(question);
	return 1;
}

void dsud_polkit_abandon(struct dsud_polkit *polkit, const char *sender)
{
	struct question *next;

	for (struct question *question = polkit->first; question; question = next) {
		next = question->next;
		if (strcmp(sd_bus_message_get_sender(question->call), sender) != 0)
			continue;
		take_back(question);
		unlink_question(question);
		question_free(question);
	}
}
