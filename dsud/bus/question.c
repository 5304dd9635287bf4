/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns calls that are answered later: Check, Stacks and Status wait for a worker while the loop
 * goes on. Always holds: every call is answered exactly once, or its caller is gone; callers.c and
 * bus.c notice that.
 */
#include <errno.h>
#include <stdlib.h>

#include "dsud/bus/bus-error.h"
#include "dsud/bus/question.h"
#include "dsud/bus/report-message.h"
#include "dsud/log.h"
#include "injector/base/cleanup.h"

INJ_DEFINE_GUARD(sd_bus_message *, sd_bus_message_unref, message_guard)

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
	INJ_CLEANUP(message_guard) sd_bus_message *call = context;
	int r = send_answer(call, report, update->order.kind);

	if (r < 0 && r != -ENOTCONN && r != -ECONNRESET) {
		dsud_log_errno(LOG_ERR, r, "cannot answer a question");
		sd_bus_reply_method_errno(call, r, NULL);
	}
}

int dsud_question_ask(struct dsud_connection *connection, sd_bus_message *call,
		      struct dsud_order *order, sd_bus_error *error)
{
	struct inj_why why;
	int r;

	order->answer = on_answer;
	order->context = sd_bus_message_ref(call);
	r = dsud_registry_submit(connection->owner->registry, order, NULL, &why);
	if (r != 0) {
		sd_bus_message_unref(call);
		return dsud_bus_error(error, r, &why);
	}
	return 1;
}
