/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `dsuctl monitor`: what happens in the daemon, as it happens: one line, or one JSON document, per
 * event. Ends with Ctrl-C, or when the daemon goes away. Each event is written out at once, so that
 * a pipe sees it.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "dsuctl/client.h"
#include "dsuctl/json.h"
#include "dsuctl/outcome.h"
#include "dsuctl/print.h"
#include "dsuctl/progress.h"
#include "dsuctl/report.h"
#include "dsuctl/verbs.h"
#include "dsud/contract.h"
#include "injector/base/types.h"

struct monitor {
	const struct ctl_client *client;
	sd_event *event;
	int code;
};

static void monitor_deinit(struct monitor *monitor)
{
	sd_event_unref(monitor->event);
}

#define TIME_TEXT_MAX 48

/* RFC 3339 with milliseconds, local time. */
static const char *now_text(char text[static TIME_TEXT_MAX])
{
	char date[24], zone[8];
	struct timespec now;
	struct tm local;

	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &local);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &local);
	strftime(zone, sizeof(zone), "%z", &local);
	/* strftime writes +0200, the RFC wants +02:00. */
	snprintf(text, TIME_TEXT_MAX, "%s.%03ld%.3s:%s", date, now.tv_nsec / 1000000, zone,
		 strlen(zone) == 5 ? zone + 3 : "00");
	return text;
}

/* "update 3" for /org/dsud1/update/3; other paths as they are. */
static void print_object(const char *path)
{
	static const char update[] = DSUD_PATH_UPDATES "/", target[] = DSUD_PATH_TARGETS "/";

	if (strncmp(path, update, sizeof(update) - 1) == 0)
		printf("update %s", path + sizeof(update) - 1);
	else if (strncmp(path, target, sizeof(target) - 1) == 0)
		printf("process %s", path + sizeof(target) - 1);
	else
		printf("%s", path);
}

static void print_new_update(const json_t *details)
{
	const json_t *targets = json_object_get(details, "Targets"), *pid;
	size_t index;

	printf("new, %s %s", ctl_json_get_text(details, "Kind"),
	       ctl_json_get_text(details, "Patch"));
	json_array_foreach(targets, index, pid)
		printf("%s%" JSON_INTEGER_FORMAT, index > 0 ? "," : ", processes ",
		       json_integer_value(pid));
}

static void print_progress(const json_t *details)
{
	bool has_time = json_object_get(details, DSUD_KEY_REMAINING) != NULL;
	uint64_t usec = ctl_json_get_number(details, DSUD_KEY_REMAINING);
	INJ_FREE char *line = ctl_progress_line(
		details, has_time && usec <= DSUD_MAX_TIMEOUT_USEC ? usec * 1000 : UINT64_MAX);

	fputs(line ? line : "(out of memory)", stdout);
}

static void print_completed(const json_t *details)
{
	const json_t *report = json_object_get(details, "Report"), *target;
	size_t index;

	printf("completed");
	json_array_foreach(report, index, target) {
		INJ_FREE char *headline = ctl_report_headline(target);

		printf("%s %s", index > 0 ? ";" : ":", headline ? headline : "?");
	}
	if (json_array_size(report) == 0)
		printf(", %s", ctl_json_get_text(details, "Result"));
}

static void print_line(const char *member, const char *path, const json_t *details)
{
	char time[TIME_TEXT_MAX];

	printf("%s ", now_text(time));
	print_object(path);
	printf(": ");
	if (strcmp(member, DSUD_SIGNAL_UPDATE_NEW) == 0)
		print_new_update(details);
	else if (strcmp(member, DSUD_SIGNAL_UPDATE_PROGRESS) == 0)
		print_progress(details);
	else if (strcmp(member, DSUD_SIGNAL_UPDATE_COMPLETED) == 0)
		print_completed(details);
	else if (strcmp(member, DSUD_SIGNAL_TARGET_NEW) == 0)
		printf("patched now");
	else if (strcmp(member, DSUD_SIGNAL_TARGET_REMOVED) == 0)
		printf("no longer patched");
	else if (strcmp(member, DSUD_SIGNAL_UPDATE_REMOVED) == 0)
		printf("forgotten");
	else
		printf("%s", member);
	printf("\n");
	fflush(stdout);
}

static int print_document(enum ctl_json_mode mode, const char *member, const char *path,
			  json_t *details)
{
	char time[TIME_TEXT_MAX];
	CTL_JSON json_t *document = json_pack("{s:s, s:s, s:o, s:O}", "time", now_text(time),
					      "event", member, "object", ctl_json_text(path),
					      "details", details);

	return document ? ctl_json_print(stdout, mode, document) : -ENOMEM;
}

/* The report is for root and for whoever asked for the update; others get no more than the word. */
static int outcome_of(const struct monitor *monitor, const char *path, json_t **ret)
{
	json_t *report = NULL;
	int r = ctl_client_properties(monitor->client, path, DSUD_IFACE_UPDATE, ret);

	if (r >= 0 && ctl_client_property(monitor->client, path, DSUD_IFACE_UPDATE, "Report",
					  &report) >= 0)
		json_object_set_new(*ret, "Report", report);
	return r;
}

/* What a signal carries, or, for what only announces an object, that object's properties. */
static int details_of(const struct monitor *monitor, sd_bus_message *message, const char *path,
		      json_t **ret)
{
	const char *member = sd_bus_message_get_member(message);
	int r = 0;

	if (strcmp(member, DSUD_SIGNAL_UPDATE_PROGRESS) == 0)
		return ctl_json_from_message(message, "a{sv}", ret);
	if (strcmp(member, DSUD_SIGNAL_UPDATE_NEW) == 0)
		r = ctl_client_properties(monitor->client, path, DSUD_IFACE_UPDATE, ret);
	else if (strcmp(member, DSUD_SIGNAL_UPDATE_COMPLETED) == 0)
		r = outcome_of(monitor, path, ret);
	else if (strcmp(member, DSUD_SIGNAL_TARGET_NEW) == 0)
		r = ctl_client_properties(monitor->client, path, DSUD_IFACE_TARGET, ret);
	/* The object may be gone before we asked; that it was there is still an event. */
	if (r < 0 || !*ret)
		*ret = json_object();
	return *ret ? 0 : -ENOMEM;
}

static int on_event(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	struct monitor *monitor = userdata;
	enum ctl_json_mode mode = monitor->client->options->json;
	CTL_JSON json_t *details = NULL;
	const char *path;
	int r;

	r = sd_bus_message_read(message, "o", &path);
	if (r >= 0)
		r = details_of(monitor, message, path, &details);
	if (r >= 0 && mode != CTL_JSON_OFF)
		r = print_document(mode, sd_bus_message_get_member(message), path, details);
	else if (r >= 0)
		print_line(sd_bus_message_get_member(message), path, details);
	if (r < 0)
		ctl_complain("An event could not be read: %s.", strerror(-r));
	if (ferror(stdout))
		sd_event_exit(monitor->event, 0);
	return 0;
}

static int on_loss(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	struct monitor *monitor = userdata;

	if (monitor->code)
		return 0;
	ctl_complain("The daemon went away.");
	monitor->code = CTL_EXIT_NO_DAEMON;
	return sd_event_exit(monitor->event, 0);
}

static int prepare(struct monitor *monitor)
{
	sigset_t signals;
	int r;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	r = sd_event_new(&monitor->event);
	/* Without a handler the signal ends the loop. */
	if (r >= 0)
		r = sd_event_add_signal(monitor->event, NULL, SIGINT, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(monitor->event, NULL, SIGTERM, NULL, NULL);
	if (r >= 0)
		r = sd_bus_attach_event(monitor->client->bus, monitor->event,
					SD_EVENT_PRIORITY_NORMAL);
	if (r >= 0)
		r = ctl_client_watch(monitor->client, DSUD_IFACE_MANAGER, on_event, on_loss,
				     monitor);
	return r;
}

int ctl_verb_monitor(const struct ctl_options *options)
{
	CTL_CLIENT client = {0};
	INJ_CLEANUP(monitor_deinit) struct monitor monitor = {.client = &client};
	int r;

	r = ctl_client_open(&client, options, NULL);
	if (r > 0)
		return r;
	r = prepare(&monitor);
	if (r >= 0 && options->json == CTL_JSON_OFF && !options->quiet && !options->no_legend)
		ctl_complain("Watching; Ctrl-C ends.");
	if (r >= 0)
		r = sd_event_loop(monitor.event);
	sd_bus_detach_event(client.bus);
	return r < 0 ? ctl_client_fail(&client, NULL, r) : monitor.code;
}
