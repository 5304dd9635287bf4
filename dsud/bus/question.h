/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_BUS_QUESTION_H
#define DSUD_BUS_QUESTION_H

#include "dsud/bus/bus.h"

/*
 * Submit a question and answer its call with the report when a worker is done. If the caller goes
 * away before, the question is cancelled.
 * connection: where the call came from; call: a method call that returns aa{sv}; order: taken.
 * Return: 1, for the method handler: the answer follows later.
 * Errors: negative errno with error set.
 */
int dsud_question_ask(struct dsud_connection *connection, sd_bus_message *call,
		      struct dsud_order *order, sd_bus_error *error);

#endif
