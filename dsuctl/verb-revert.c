/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `dsuctl revert`: asks the daemon to take a patch back and waits for the outcome.
 */
#include "dsuctl/client.h"
#include "dsuctl/update.h"
#include "dsuctl/verbs.h"
#include "dsud/contract.h"

int ctl_verb_revert(const struct ctl_options *options)
{
	CTL_CLIENT client = {0};
	CTL_MESSAGE sd_bus_message *call = NULL;
	int r;

	r = ctl_client_open(&client, options, "targets");
	if (r > 0)
		return r;
	r = ctl_client_new_call(&client, DSUD_METHOD_REVERT, &call);
	if (r >= 0)
		r = sd_bus_message_append(call, "s", options->arguments[0]);
	if (r >= 0)
		r = ctl_client_append_targets(call, options);
	if (r >= 0)
		r = ctl_client_append_options(call, options, true, -1);
	return r < 0 ? ctl_client_fail(&client, NULL, r) : ctl_update_run(&client, call);
}
