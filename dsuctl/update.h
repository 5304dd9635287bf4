/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_UPDATE_H
#define CTL_UPDATE_H

#include <jansson.h>
#include <systemd/sd-bus.h>

#include "dsuctl/client.h"

/*
 * Send a call that starts an update (Apply, Revert), wait for the outcome and tell it.
 * Shows progress on a terminal. The first SIGINT or SIGTERM cancels the update and goes on waiting,
 * the second leaves at once.
 * call: complete. Return: the exit code.
 */
int ctl_update_run(const struct ctl_client *client, sd_bus_message *call);

#endif
