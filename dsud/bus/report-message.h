/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_BUS_REPORT_MESSAGE_H
#define DSUD_BUS_REPORT_MESSAGE_H

#include <systemd/sd-bus.h>

#include "dsud/registry/update.h"

/*
 * Append one aa{sv} with the keys of contract.h, one entry for each target.
 * kind: what was asked decides which keys stand there.
 * Return: 0 or positive. Errors: negative errno of sd-bus.
 */
int dsud_append_report(sd_bus_message *message, const struct upd_report *report,
		       enum upd_kind kind);

/* Append one aa{sv}: the patches of one process. */
int dsud_append_patches(sd_bus_message *message, const struct upd_target *target);

/* Append one a{sv}: what a running update does. */
int dsud_append_progress(sd_bus_message *message, const struct dsud_update *update);

/* Append one a{sv}: a settled update in short, without anything that is not for everybody. */
int dsud_append_summary(sd_bus_message *message, const struct dsud_update *update);

#endif
