/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_BUS_ARGUMENTS_H
#define DSUD_BUS_ARGUMENTS_H

#include <systemd/sd-bus.h>

#include "dsud/registry/update.h"

/*
 * Read one argument of a method call into an order. Everything a caller sends is hostile: types are
 * checked by sd-bus, names and ranges here.
 * message: positioned at the argument; order: filled, free with dsud_order_deinit(); error: filled
 * on failure.
 * Return: 0. Errors: negative, with error set; the order may be filled in part.
 */

/* h, s: the patch is copied at once. */
int dsud_read_patch(sd_bus_message *message, struct dsud_order *order, sd_bus_error *error);
/* s */
int dsud_read_patch_id(sd_bus_message *message, struct dsud_order *order, sd_bus_error *error);
/* a(ss); empty is allowed only where it has a meaning. */
int dsud_read_targets(sd_bus_message *message, bool may_be_empty, struct dsud_order *order,
		      sd_bus_error *error);
/* a{sv}: which options are known depends on order->kind. */
int dsud_read_options(sd_bus_message *message, struct dsud_order *order, sd_bus_error *error);

#endif
