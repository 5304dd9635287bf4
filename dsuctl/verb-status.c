/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `dsuctl status`: which processes carry which patches, as their ledgers say, and which updates are
 * under way. A process that was named but cannot be read is a failure; one without patches is not,
 * nor is one that nobody named: whoever runs programs could make them look odd.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "dsuctl/client.h"
#include "dsuctl/json.h"
#include "dsuctl/outcome.h"
#include "dsuctl/print.h"
#include "dsuctl/table.h"
#include "dsuctl/verbs.h"
#include "dsud/contract.h"
#include "injector/base/types.h"

static int ask_processes(const struct ctl_client *client, json_t **ret)
{
	CTL_MESSAGE sd_bus_message *call = NULL;
	int r = ctl_client_new_call(client, DSUD_METHOD_STATUS, &call);

	if (r >= 0)
		r = ctl_client_append_targets(call, client->options);
	return r < 0 ? ctl_client_fail(client, NULL, r)
		     : ctl_client_ask(client, call, "aa{sv}", ret);
}

/* Properties are named in D-Bus style; documents are in lower case throughout. */
static json_t *update_of(const json_t *properties)
{
	static const char *const names[][2] = {
		{"Number", "number"}, {"Kind", "kind"},	      {"Patch", "patch"},
		{"State", "state"},   {"Phase", "phase"},     {"Attempt", "attempt"},
		{"Targets", "targets"},
	};
	json_t *update = json_object();

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(names); i++) {
		json_t *value = json_object_get(properties, names[i][0]);

		if (value)
			json_object_set(update, names[i][1], value);
	}
	return update;
}

static bool is_under_way(const char *state)
{
	return strcmp(state, DSUD_STATE_QUEUED) == 0 || strcmp(state, DSUD_STATE_RUNNING) == 0;
}

static bool has_process(const json_t *processes, json_int_t pid)
{
	const json_t *process;
	size_t index;

	json_array_foreach(processes, index, process)
		if (json_integer_value(json_object_get(process, DSUD_KEY_PID)) == pid)
			return true;
	return false;
}

/* Where targets were named, only their updates are of interest. */
static bool is_wanted(const struct ctl_client *client, const json_t *properties,
		      const json_t *processes)
{
	const json_t *pid;
	size_t index;

	if (client->options->n_targets == 0)
		return true;
	json_array_foreach(json_object_get(properties, "Targets"), index, pid)
		if (has_process(processes, json_integer_value(pid)))
			return true;
	return false;
}

/* An entry of ListUpdates: number, kind, patch, state, result, object. */
static int add_update(const struct ctl_client *client, const json_t *entry,
		      const json_t *processes, json_t *updates)
{
	const char *state = json_string_value(json_array_get(entry, 3));
	const char *path = json_string_value(json_array_get(entry, 5));
	CTL_JSON json_t *properties = NULL;

	if (!state || !path)
		return -EBADMSG;
	/* One that ended meanwhile is no longer of interest. */
	if (!is_under_way(state) ||
	    ctl_client_properties(client, path, DSUD_IFACE_UPDATE, &properties) < 0 ||
	    !is_under_way(ctl_json_get_text(properties, "State")) ||
	    !is_wanted(client, properties, processes))
		return 0;
	return json_array_append_new(updates, update_of(properties)) < 0 ? -ENOMEM : 0;
}

static int ask_updates(const struct ctl_client *client, const json_t *processes, json_t **ret)
{
	CTL_MESSAGE sd_bus_message *call = NULL;
	CTL_JSON json_t *list = NULL, *updates = json_array();
	const json_t *entry;
	size_t index;
	int r;

	r = ctl_client_new_call(client, DSUD_METHOD_LIST_UPDATES, &call);
	if (r < 0)
		return ctl_client_fail(client, NULL, r);
	r = ctl_client_ask(client, call, "a(tsssso)", &list);
	if (r > 0)
		return r;
	json_array_foreach(list, index, entry) {
		r = add_update(client, entry, processes, updates);
		if (r < 0)
			return ctl_client_fail(client, NULL, r);
	}
	*ret = INJ_TAKE(updates);
	return 0;
}

/* "hello,reply": malloc'ed, NULL when out of memory. */
static char *names_of(const json_t *functions)
{
	char *text = NULL;
	size_t length = 0, index;
	const json_t *function;
	FILE *stream = open_memstream(&text, &length);

	if (!stream)
		return NULL;
	json_array_foreach(functions, index, function)
		fprintf(stream, "%s%s", index > 0 ? "," : "",
			ctl_json_get_text(function, DSUD_KEY_NAME));
	fclose(stream);
	return text;
}

static void add_patch(struct ctl_table *table, const json_t *process, const json_t *patch)
{
	INJ_FREE char *names = names_of(json_object_get(patch, DSUD_KEY_FUNCTIONS));
	const char *state = ctl_json_get_text(patch, DSUD_KEY_STATE);
	char pid[24];

	snprintf(pid, sizeof(pid), "%" PRIu64, ctl_json_get_number(process, DSUD_KEY_PID));
	ctl_table_add(table, CTL_ROW(pid, ctl_json_get_text(process, DSUD_KEY_COMM),
				     ctl_json_get_text(patch, DSUD_KEY_ID),
				     ctl_json_get_text(patch, DSUD_KEY_VERSION), state,
				     ctl_json_get_text(patch, DSUD_KEY_APPLIED_AT), names));
	ctl_table_colour(table, 4, strcmp(state, "active") == 0 ? CTL_GREEN : CTL_YELLOW);
}

static int print_processes(const struct ctl_output *output, const json_t *processes)
{
	static const struct ctl_column columns[] = {
		{"PID", CTL_COLUMN_RIGHT}, {"COMM", 0}, {"PATCH", 0}, {"VERSION", 0}, {"STATE", 0},
		{"APPLIED", 0}, {"FUNCTIONS", CTL_COLUMN_TRIM},
	};
	INJ_CLEANUP(ctl_table_guard) struct ctl_table *table =
		ctl_table_new(output, columns, INJ_ARRAY_LENGTH(columns));
	const json_t *process, *patch;
	size_t i, j;

	json_array_foreach(processes, i, process)
		json_array_foreach(json_object_get(process, DSUD_KEY_PATCHES), j, patch)
			add_patch(table, process, patch);
	if (output->has_legend && ctl_table_n_rows(table) == 0 &&
	    ctl_outcome_of_list(processes) == CTL_EXIT_DONE)
		fprintf(output->stream, "No patches.\n");
	return ctl_table_print(table, output, 0);
}

static char *targets_of(const json_t *update)
{
	const json_t *list = json_object_get(update, "targets");
	char *text = NULL;
	size_t length = 0, index;
	const json_t *pid;
	FILE *stream = open_memstream(&text, &length);

	if (!stream)
		return NULL;
	json_array_foreach(list, index, pid)
		fprintf(stream, "%s%" JSON_INTEGER_FORMAT, index > 0 ? "," : "",
			json_integer_value(pid));
	fclose(stream);
	return text;
}

static int print_updates(const struct ctl_output *output, const json_t *updates)
{
	static const struct ctl_column columns[] = {
		{"UPDATE", CTL_COLUMN_RIGHT}, {"KIND", 0}, {"PATCH", 0}, {"STATE", 0}, {"PHASE", 0},
		{"ATTEMPT", CTL_COLUMN_RIGHT}, {"TARGETS", CTL_COLUMN_TRIM},
	};
	INJ_CLEANUP(ctl_table_guard) struct ctl_table *table =
		ctl_table_new(output, columns, INJ_ARRAY_LENGTH(columns));
	const json_t *update;
	size_t index;

	json_array_foreach(updates, index, update) {
		INJ_FREE char *targets = targets_of(update);
		char number[24], attempt[24];

		snprintf(number, sizeof(number), "%" PRIu64, ctl_json_get_number(update, "number"));
		snprintf(attempt, sizeof(attempt), "%" PRIu64,
			 ctl_json_get_number(update, "attempt"));
		ctl_table_add(table, CTL_ROW(number, ctl_json_get_text(update, "kind"),
					     ctl_json_get_text(update, "patch"),
					     ctl_json_get_text(update, "state"),
					     ctl_json_get_text(update, "phase"), attempt, targets));
	}
	if (ctl_table_n_rows(table) == 0)
		return 0;
	fputc('\n', output->stream);
	return ctl_table_print(table, output, 0);
}

static void tell_notes(const struct ctl_options *options, const json_t *processes)
{
	const json_t *process, *note;
	size_t i, j;

	if (options->quiet || options->json != CTL_JSON_OFF)
		return;
	json_array_foreach(processes, i, process)
		json_array_foreach(json_object_get(process, DSUD_KEY_NOTES), j, note)
			ctl_complain("%" PRIu64 ": note: %s",
				     ctl_json_get_number(process, DSUD_KEY_PID),
				     json_string_value(note) ? json_string_value(note) : "");
}

static int print_people(const struct ctl_options *options, const json_t *processes,
			const json_t *updates)
{
	INJ_CLEANUP(ctl_output_end) struct ctl_output output;
	int r;

	ctl_output_begin(&output, options);
	r = print_processes(&output, processes);
	return r < 0 ? r : print_updates(&output, updates);
}

static int print_document(const struct ctl_options *options, json_t *processes, json_t *updates)
{
	CTL_JSON json_t *document =
		json_pack("{s:O, s:O}", "processes", processes, "updates", updates);

	return document ? ctl_json_print(stdout, options->json, document) : -ENOMEM;
}

int ctl_verb_status(const struct ctl_options *options)
{
	CTL_CLIENT client = {0};
	CTL_JSON json_t *processes = NULL, *updates = NULL;
	int r;

	r = ctl_client_open(&client, options, "processes");
	if (r > 0)
		return r;
	r = ask_processes(&client, &processes);
	if (r > 0)
		return r;
	r = ask_updates(&client, processes, &updates);
	if (r > 0)
		return r;
	if (options->json != CTL_JSON_OFF)
		r = print_document(options, processes, updates);
	else if (!options->quiet)
		r = print_people(options, processes, updates);
	if (r < 0)
		return ctl_fail_errno(options, "processes", r);
	ctl_complain_list(processes);
	tell_notes(options, processes);
	return options->n_targets > 0 ? ctl_outcome_of_list(processes) : CTL_EXIT_DONE;
}
