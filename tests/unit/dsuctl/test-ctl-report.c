/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "dsuctl/json.h"
#include "dsuctl/progress.h"
#include "dsuctl/report.h"

Test(report, headlines)
{
	CTL_JSON json_t *target = json_pack("{s:i, s:s, s:s, s:s}", "pid", 4711, "patch",
					    "hello-v2", "result", "applied", "comm", "server");
	char *text = ctl_report_headline(target);

	cr_assert_str_eq(text, "4711 (server): hello-v2 applied");
	free(text);
	json_object_del(target, "comm");
	json_object_set_new(target, "result", json_string("blocked"));
	text = ctl_report_headline(target);
	cr_assert_str_eq(text, "4711: hello-v2 blocked, left unchanged");
	free(text);
	json_object_set_new(target, "result", json_string("unchanged"));
	text = ctl_report_headline(target);
	cr_assert_str_eq(text, "4711: hello-v2 can be applied");
	free(text);
	json_object_set_new(target, "error", json_string("org.dsud1.Error.Cancelled"));
	text = ctl_report_headline(target);
	cr_assert_str_eq(text, "4711: hello-v2 left unchanged");
	free(text);
}

/* A daemon of another version may leave out or add what it likes. */
Test(report, headline_of_nothing)
{
	CTL_JSON json_t *target = json_object();
	char *text = ctl_report_headline(target);

	cr_assert_str_eq(text, "0: ");
	free(text);
}

Test(progress, lines)
{
	CTL_JSON json_t *event = json_pack("{s:s, s:i, s:s}", "phase", "wait", "attempt", 3, "text",
					   "worker(4712) is in hello");
	char *text = ctl_progress_line(event, 7400000000);

	cr_assert_str_eq(text, "wait, attempt 3, 8 s left: worker(4712) is in hello");
	free(text);
	text = ctl_progress_line(event, UINT64_MAX);
	cr_assert_str_eq(text, "wait, attempt 3: worker(4712) is in hello");
	free(text);
	json_object_del(event, "attempt");
	json_object_del(event, "text");
	text = ctl_progress_line(event, 0);
	cr_assert_str_eq(text, "wait, 0 s left");
	free(text);
}
