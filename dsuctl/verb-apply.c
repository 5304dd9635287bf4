/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `dsuctl apply`: hands the patch to the daemon as an open file and waits for the outcome.
 */
#include "dsuctl/client.h"
#include "dsuctl/file.h"
#include "dsuctl/print.h"
#include "dsuctl/update.h"
#include "dsuctl/verbs.h"
#include "dsud/contract.h"

int ctl_verb_apply(const struct ctl_options *options)
{
	CTL_CLIENT client = {0};
	CTL_MESSAGE sd_bus_message *call = NULL;
	INJ_CLOSE int fd = -1;
	int r;

	r = ctl_file_open(options, "targets", options->arguments[0], &fd);
	if (r > 0)
		return r;
	r = ctl_client_open(&client, options, "targets");
	if (r > 0)
		return r;
	r = ctl_file_new_call(&client, DSUD_METHOD_APPLY, fd, &call);
	return r > 0 ? r : ctl_update_run(&client, call);
}
