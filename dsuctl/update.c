/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One update as its caller sees it: sent, waited for, told. The wait ends with the daemon's report
 * and nothing else, unless the operator insists on leaving or the daemon goes away; then it is said
 * that the outcome is not known, never that there was one. The signals are subscribed to before the
 * call is sent, so no report can be missed. A bus sends reports to root only; whoever else asked
 * for the update is told that it ended and reads the report from it.
 */
#include "dsuctl/update.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "dsuctl/json.h"
#include "dsuctl/outcome.h"
#include "dsuctl/print.h"
#include "dsuctl/progress.h"
#include "dsuctl/report.h"
#include "dsud/contract.h"

#define TICK_USEC 1000000

struct wait {
	const struct ctl_client *client;
	struct ctl_progress progress;
	sd_event *event;
	char *path;        /* of the update; NULL until the daemon named it */
	json_t *early;     /* by path: reports of updates that ended before that, null: not told */
	json_t *report;    /* the answer */
	bool is_cancelled;
	int code;          /* exit code, once the failure was told */
};

static void wait_deinit(struct wait *wait)
{
	ctl_progress_clear(&wait->progress);
	ctl_progress_deinit(&wait->progress);
	sd_event_unref(wait->event);
	free(wait->path);
	json_decref(wait->early);
	json_decref(wait->report);
}

static int end(struct wait *wait, int code)
{
	wait->code = code;
	return sd_event_exit(wait->event, 0);
}

static int end_with_report(struct wait *wait, json_t *report)
{
	wait->report = json_incref(report);
	return sd_event_exit(wait->event, 0);
}

static int on_completed(struct wait *wait, sd_bus_message *message)
{
	const char *path = sd_bus_message_get_path(message);
	CTL_JSON json_t *report = NULL;
	int r;

	if (wait->path && strcmp(path, wait->path) != 0)
		return 0;
	r = ctl_json_from_message(message, "aa{sv}", &report);
	if (r < 0) {
		ctl_progress_clear(&wait->progress);
		return end(wait, ctl_client_fail(wait->client, NULL, r));
	}
	if (wait->path)
		return end_with_report(wait, report);
	json_object_set(wait->early, path, report);
	return 0;
}

static int on_report(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	struct wait *wait = userdata;
	const sd_bus_error *refusal = sd_bus_message_get_error(reply);
	CTL_JSON json_t *report = NULL;
	int r = refusal ? -sd_bus_message_get_errno(reply)
			: ctl_json_from_message(reply, "v", &report);

	if (wait->report || wait->code)
		return 0;
	if (r >= 0)
		return end_with_report(wait, report);
	ctl_progress_clear(&wait->progress);
	return end(wait, ctl_client_fail(wait->client, refusal, r));
}

static int fetch_report(struct wait *wait)
{
	const struct ctl_client *client = wait->client;

	return sd_bus_call_method_async(client->bus, NULL, client->destination, wait->path,
					"org.freedesktop.DBus.Properties", "Get", on_report, wait,
					"ss", DSUD_IFACE_UPDATE, "Report");
}

/* An update ended. To those who may hear it, its report was sent before this. */
static int on_ended(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	struct wait *wait = userdata;
	const char *path;

	if (!sd_bus_message_is_signal(message, NULL, DSUD_SIGNAL_UPDATE_COMPLETED) ||
	    wait->report || wait->code || sd_bus_message_read(message, "o", &path) <= 0)
		return 0;
	if (wait->path)
		return strcmp(path, wait->path) == 0 ? fetch_report(wait) : 0;
	if (!json_object_get(wait->early, path))
		json_object_set_new(wait->early, path, json_null());
	return 0;
}

static int on_progress(struct wait *wait, sd_bus_message *message)
{
	CTL_JSON json_t *event = NULL;

	if (!wait->path || strcmp(sd_bus_message_get_path(message), wait->path) != 0)
		return 0;
	if (ctl_json_from_message(message, "a{sv}", &event) >= 0)
		ctl_progress_set(&wait->progress, event);
	return 0;
}

static int on_signal(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	if (sd_bus_message_is_signal(message, NULL, DSUD_SIGNAL_COMPLETED))
		return on_completed(userdata, message);
	if (sd_bus_message_is_signal(message, NULL, DSUD_SIGNAL_PROGRESS))
		return on_progress(userdata, message);
	return 0;
}

static int on_loss(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	struct wait *wait = userdata;
	const struct ctl_client *client = wait->client;

	if (wait->report || wait->code)
		return 0;
	ctl_progress_clear(&wait->progress);
	return end(wait, ctl_fail(client->options, client->list, SD_BUS_ERROR_DISCONNECTED,
				  "The daemon went away before the outcome was known."));
}

/* An update that is over already cannot be cancelled; its report is on the way then. */
static int send_cancel(struct wait *wait)
{
	const struct ctl_client *client = wait->client;

	return sd_bus_call_method_async(client->bus, NULL, client->destination, wait->path,
					DSUD_IFACE_UPDATE, DSUD_METHOD_CANCEL, NULL, NULL, "");
}

static int on_started(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	struct wait *wait = userdata;
	json_t *report;
	const char *path;
	int r;

	if (wait->code)
		return 0;
	if (sd_bus_message_is_method_error(reply, NULL)) {
		const sd_bus_error *refusal = sd_bus_message_get_error(reply);

		return end(wait, ctl_client_fail(wait->client, refusal,
						 -sd_bus_message_get_errno(reply)));
	}
	r = sd_bus_message_read(reply, "o", &path);
	if (r < 0)
		return end(wait, ctl_client_fail(wait->client, NULL, r));
	wait->path = strdup(path);
	if (!wait->path)
		return end(wait, ctl_client_fail(wait->client, NULL, -ENOMEM));
	report = json_object_get(wait->early, path);
	if (report)
		return json_is_null(report) ? fetch_report(wait) : end_with_report(wait, report);
	return wait->is_cancelled ? send_cancel(wait) : 0;
}

static int on_interrupt(sd_event_source *source, const struct signalfd_siginfo *info,
			void *userdata)
{
	struct wait *wait = userdata;
	const struct ctl_client *client = wait->client;

	ctl_progress_clear(&wait->progress);
	if (wait->is_cancelled)
		return end(wait, ctl_fail(client->options, client->list, CTL_ERROR_FAILED,
					  "Left before the outcome was known; `dsuctl status` "
					  "tells it."));
	wait->is_cancelled = true;
	if (!client->options->quiet)
		ctl_complain("Cancelling; once more leaves at once.");
	return wait->path ? send_cancel(wait) : 0;
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct wait *wait = userdata;

	ctl_progress_draw(&wait->progress);
	return sd_event_source_set_time(source, usec + TICK_USEC);
}

static int add_tick(struct wait *wait)
{
	sd_event_source *tick;
	int r;

	r = sd_event_add_time_relative(wait->event, &tick, CLOCK_MONOTONIC, TICK_USEC, 0, on_tick,
				       wait);
	if (r >= 0)
		r = sd_event_source_set_enabled(tick, SD_EVENT_ON);
	if (r >= 0)
		r = sd_event_source_set_floating(tick, 1);
	if (r >= 0)
		sd_event_source_unref(tick);
	return r;
}

static int add_sources(struct wait *wait)
{
	sigset_t signals;
	int r;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	r = sd_event_new(&wait->event);
	if (r >= 0)
		r = sd_bus_attach_event(wait->client->bus, wait->event, SD_EVENT_PRIORITY_NORMAL);
	if (r >= 0)
		r = sd_event_add_signal(wait->event, NULL, SIGINT, on_interrupt, wait);
	if (r >= 0)
		r = sd_event_add_signal(wait->event, NULL, SIGTERM, on_interrupt, wait);
	if (r >= 0 && wait->progress.is_shown)
		r = add_tick(wait);
	return r;
}

static int send(struct wait *wait, sd_bus_message *call)
{
	int r = ctl_client_watch(wait->client, DSUD_IFACE_UPDATE, on_signal, on_loss, wait);

	if (r >= 0)
		r = sd_bus_match_signal(wait->client->bus, NULL, wait->client->destination,
					DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, NULL, on_ended, wait);
	if (r >= 0)
		r = sd_bus_call_async(wait->client->bus, NULL, call, on_started, wait,
				      CTL_CALL_TIMEOUT_USEC);
	return r;
}

int ctl_update_run(const struct ctl_client *client, sd_bus_message *call)
{
	INJ_CLEANUP(wait_deinit) struct wait wait = {.client = client, .early = json_object()};
	int r;

	ctl_progress_init(&wait.progress, client->options);
	r = wait.early ? add_sources(&wait) : -ENOMEM;
	if (r >= 0)
		r = send(&wait, call);
	if (r >= 0)
		r = sd_event_loop(wait.event);
	ctl_progress_clear(&wait.progress);
	/* The loop's sources point into this frame; the connection must not call them any more. */
	sd_bus_detach_event(client->bus);
	if (wait.code)
		return wait.code;
	if (r < 0)
		return ctl_client_fail(client, NULL, r);
	return ctl_report_tell(client->options, wait.report);
}
