/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the question of who may do what. Everybody on the system bus may see which processes are
 * patched; addresses and stacks of processes, and every change, are for root. On the private socket
 * only root is heard at all; that is decided once, when the connection is accepted.
 */
#include <errno.h>

#include "dsud/bus/access.h"
#include "dsud/contract.h"
#include "injector/base/cleanup.h"

INJ_DEFINE_GUARD(sd_bus_creds *, sd_bus_creds_unref, creds_guard)

bool dsud_access_peer(uid_t uid)
{
	return uid == 0;
}

int dsud_access_check(sd_bus_message *message, enum dsud_access access, sd_bus_error *error)
{
	INJ_CLEANUP(creds_guard) sd_bus_creds *creds = NULL;
	uid_t uid;
	int r;

	if (access == DSUD_ACCESS_LIST || !sd_bus_is_bus_client(sd_bus_message_get_bus(message)))
		return 0;
	r = sd_bus_query_sender_creds(message, SD_BUS_CREDS_EUID, &creds);
	if (r >= 0)
		r = sd_bus_creds_get_euid(creds, &uid);
	if (r < 0)
		return sd_bus_error_setf(error, DSUD_ERROR_ACCESS_DENIED,
					 "The bus does not tell who asks. Try the private socket.");
	if (uid == 0)
		return 0;
	return sd_bus_error_setf(error, DSUD_ERROR_ACCESS_DENIED,
				 "User %u may not %s. Ask as root.", uid,
				 access == DSUD_ACCESS_CHANGE ? "change processes"
							      : "look into processes");
}

static int refuse_call(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	if (!sd_bus_message_is_method_call(message, NULL, NULL))
		return 0;
	return sd_bus_reply_method_errorf(message, DSUD_ERROR_ACCESS_DENIED,
					  "Only root may speak to dsud on its private socket.");
}

int dsud_access_refuse_all(sd_bus *bus)
{
	return sd_bus_add_filter(bus, NULL, refuse_call, NULL);
}
