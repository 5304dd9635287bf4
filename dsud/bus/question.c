/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns calls that are answered later: Check, Stacks and Status wait for a worker while the loop
 * goes on. Always holds: every call is answered exactly once, or its caller is gone.
 */
#include <errno.h>
#include <stdlib.h>

#include "dsud/bus/bus-error.h"
#include "dsud/bus/question.h"
#include "dsud/bus/report-message.h"
#include "dsud/log.h"
#include "injector/base/cleanup.h"

INJ_DEFINE_GUARD(sd_bus_message *, sd_bus_message_unref, message_guard)

struct question {
	sd_bus_message *call;
	sd_bus_track *track; /* of the caller on the system bus */
	struct dsud_registry *registry;
};

static void question_free(struct question *question)
{
	if (!question)
		return;
	sd_bus_track_unref(question->track);
	sd_bus_message_unref(question->call);
	free(question);
}

static int send_answer(sd_bus_message *call, const struct upd_report *report, enum upd_kind kind)
{
	INJ_CLEANUP(message_guard) sd_bus_message *reply = NULL;
	int r = sd_bus_message_new_method_return(call, &reply);

	if (r >= 0)
		r = dsud_append_report(reply, report, kind);
	return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static void on_answer(void *context, struct dsud_update *update, const struct upd_report *report)
{
	struct question *question = context;
	int r = send_answer(question->call, report, update->order.kind);

	if (r < 0 && r != -ENOTCONN && r != -ECONNRESET) {
		dsud_log_errno(LOG_ERR, r, "cannot answer a question");
		sd_bus_reply_method_errno(question->call, r, NULL);
	}
	question_free(question);
}

static int on_caller_gone(sd_bus_track *track, void *userdata)
{
	struct question *question = userdata;

	dsud_registry_abandon(question->registry, sd_bus_message_get_sender(question->call));
	return 1; /* 0 would call this again and again */
}

static int track_caller(struct question *question)
{
	sd_bus *bus = sd_bus_message_get_bus(question->call);
	int r;

	if (!sd_bus_is_bus_client(bus))
		return 0;
	r = sd_bus_track_new(bus, &question->track, on_caller_gone, question);
	return r < 0 ? r : sd_bus_track_add_sender(question->track, question->call);
}

int dsud_question_ask(struct dsud_connection *connection, sd_bus_message *call,
		      struct dsud_order *order, sd_bus_error *error)
{
	struct question *question = calloc(1, sizeof(*question));
	struct inj_why why;
	int r;

	if (!question) {
		dsud_order_deinit(order);
		return -ENOMEM;
	}
	question->call = sd_bus_message_ref(call);
	question->registry = connection->owner->registry;
	order->answer = on_answer;
	order->context = question;
	r = track_caller(question);
	if (r >= 0)
		r = dsud_registry_submit(connection->owner->registry, order, NULL, &why);
	else
		inj_broke(&why, r, "Cannot watch over the caller");
	if (r != 0) {
		dsud_order_deinit(order);
		question_free(question);
		return dsud_bus_error(error, r, &why);
	}
	return 1;
}
