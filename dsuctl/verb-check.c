/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `dsuctl check`: what apply would do, what it would refuse, and who would be waited for now.
 */
#include "dsuctl/client.h"
#include "dsuctl/file.h"
#include "dsuctl/json.h"
#include "dsuctl/report.h"
#include "dsuctl/verbs.h"
#include "dsud/contract.h"

int ctl_verb_check_patch(const struct ctl_options *options)
{
	CTL_CLIENT client = {0};
	CTL_MESSAGE sd_bus_message *call = NULL;
	CTL_JSON json_t *report = NULL;
	INJ_CLOSE int fd = -1;
	int r;

	r = ctl_file_open(options, "targets", options->arguments[0], &fd);
	if (r > 0)
		return r;
	r = ctl_client_open(&client, options, "targets");
	if (r > 0)
		return r;
	r = ctl_file_new_call(&client, DSUD_METHOD_CHECK, fd, &call);
	if (r > 0)
		return r;
	r = ctl_client_ask(&client, call, "aa{sv}", &report);
	return r > 0 ? r : ctl_report_tell(options, report);
}
