/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `dsuctl stacks`: where every thread of a process is, innermost frame first, with the functions
 * marked that a patch replaced, or would replace if --patch= names one.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "dsuctl/client.h"
#include "dsuctl/file.h"
#include "dsuctl/json.h"
#include "dsuctl/outcome.h"
#include "dsuctl/print.h"
#include "dsuctl/table.h"
#include "dsuctl/verbs.h"
#include "dsud/contract.h"
#include "injector/base/types.h"

static int ask(const struct ctl_client *client, int patch_fd, json_t **ret)
{
	const struct ctl_options *options = client->options;
	CTL_MESSAGE sd_bus_message *call = NULL;
	int r;

	r = ctl_client_new_call(client, DSUD_METHOD_STACKS, &call);
	if (r >= 0)
		r = ctl_client_append_targets(call, options);
	if (r >= 0)
		r = ctl_client_append_options(call, options, false, patch_fd);
	return r < 0 ? ctl_client_fail(client, NULL, r)
		     : ctl_client_ask(client, call, "aa{sv}", ret);
}

/* Words for the marks of the contract; a new one is shown as it is. */
static const char *mark_words(const char *mark)
{
	if (strcmp(mark, "patched") == 0)
		return "<- old code";
	if (strcmp(mark, "replacement") == 0)
		return "<- new code";
	if (strcmp(mark, "to-be-patched") == 0)
		return "<- to be patched";
	if (strcmp(mark, "stub") == 0)
		return "<- stub";
	return mark;
}

static void add_frame(struct ctl_table *table, size_t number, const json_t *frame)
{
	const char *function = ctl_json_get_text(frame, DSUD_KEY_FUNCTION);
	const char *mark = ctl_json_get_text(frame, DSUD_KEY_MARK);
	INJ_FREE char *place = NULL;
	char index[24];

	snprintf(index, sizeof(index), "#%zu", number);
	if (asprintf(&place, "%s+0x%" PRIx64, *function ? function : "?",
		     ctl_json_get_number(frame, DSUD_KEY_OFFSET)) < 0)
		place = NULL;
	ctl_table_add(table, CTL_ROW(index, ctl_json_get_text(frame, DSUD_KEY_ADDRESS),
				     *function ? place : "?",
				     ctl_json_get_text(frame, DSUD_KEY_MODULE), mark_words(mark)));
	if (*mark)
		ctl_table_colour(table, 4, CTL_YELLOW);
}

static int print_thread(const struct ctl_output *output, const json_t *thread)
{
	static const struct ctl_column columns[] = {
		{"FRAME", CTL_COLUMN_RIGHT}, {"ADDRESS", 0}, {"FUNCTION", CTL_COLUMN_TRIM},
		{"MODULE", CTL_COLUMN_TRIM}, {"MARK", 0},
	};
	struct ctl_output plain = *output;
	const json_t *frame;
	size_t index;

	/* Headings above every thread would drown the frames. */
	plain.has_legend = false;
	INJ_CLEANUP(ctl_table_guard) struct ctl_table *table =
		ctl_table_new(&plain, columns, INJ_ARRAY_LENGTH(columns));

	fprintf(output->stream, "  Thread %" PRIu64 " %s%s\n",
		ctl_json_get_number(thread, DSUD_KEY_TID),
		ctl_json_get_text(thread, DSUD_KEY_COMM),
		json_is_false(json_object_get(thread, DSUD_KEY_RELIABLE))
			? " (stack not readable to its end)"
			: "");
	json_array_foreach(json_object_get(thread, DSUD_KEY_FRAMES), index, frame)
		add_frame(table, index, frame);
	return ctl_table_print(table, output, 4);
}

static int print_process(const struct ctl_output *output, const json_t *process)
{
	const json_t *thread;
	size_t index;
	int r;

	if (*ctl_json_get_text(process, DSUD_KEY_ERROR))
		return 0;
	fprintf(output->stream, "%sProcess %" PRIu64 " %s%s\n", ctl_colour(output, CTL_BOLD),
		ctl_json_get_number(process, DSUD_KEY_PID),
		ctl_json_get_text(process, DSUD_KEY_COMM), ctl_colour(output, CTL_RESET));
	json_array_foreach(json_object_get(process, DSUD_KEY_THREADS), index, thread) {
		r = print_thread(output, thread);
		if (r < 0)
			return r;
	}
	return 0;
}

static int print_people(const struct ctl_options *options, const json_t *processes)
{
	INJ_CLEANUP(ctl_output_end) struct ctl_output output;
	const json_t *process;
	size_t index;
	int r = 0;

	ctl_output_begin(&output, options);
	json_array_foreach(processes, index, process) {
		r = print_process(&output, process);
		if (r < 0)
			break;
	}
	return r;
}

int ctl_verb_stacks(const struct ctl_options *options)
{
	CTL_CLIENT client = {0};
	CTL_JSON json_t *processes = NULL, *document = NULL;
	INJ_CLOSE int fd = -1;
	int r;

	if (options->patch) {
		r = ctl_file_open(options, "processes", options->patch, &fd);
		if (r > 0)
			return r;
	}
	r = ctl_client_open(&client, options, "processes");
	if (r > 0)
		return r;
	r = ask(&client, fd, &processes);
	if (r > 0)
		return r;
	document = json_pack("{s:O}", "processes", processes);
	if (!document)
		return ctl_fail_errno(options, "processes", -ENOMEM);
	if (options->json != CTL_JSON_OFF)
		r = ctl_json_print(stdout, options->json, document);
	else if (!options->quiet)
		r = print_people(options, processes);
	ctl_complain_list(processes);
	return r < 0 ? ctl_fail_errno(options, "processes", r)
		     : (int)ctl_outcome_of_list(processes);
}
