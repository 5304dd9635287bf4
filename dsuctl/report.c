/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The outcome of an update in words: for every target one sentence, then what backs it (functions,
 * blockers, notes), then once what to do next. Success goes to standard output, failure to standard
 * error. The document for programs is the daemon's report as it came.
 */
#include "dsuctl/report.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "dsuctl/json.h"
#include "dsuctl/outcome.h"
#include "dsuctl/table.h"
#include "dsud/contract.h"
#include "injector/base/types.h"

static const char *result_words(const char *result)
{
	static const struct {
		const char *result, *words;
	} table[] = {
		{"applied", "applied"},
		{"reverted", "reverted"},
		{"unchanged", "left unchanged"},
		{"refused", "refused, left unchanged"},
		{"blocked", "blocked, left unchanged"},
		{"failed", "failed"},
		{"gone", "has no target"},
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(table); i++)
		if (strcmp(result, table[i].result) == 0)
			return table[i].words;
	return result;
}

char *ctl_report_headline(const json_t *target)
{
	const char *patch = ctl_json_get_text(target, DSUD_KEY_PATCH);
	const char *comm = ctl_json_get_text(target, DSUD_KEY_COMM);
	const char *result = ctl_json_get_text(target, DSUD_KEY_RESULT);
	const char *error = ctl_json_get_text(target, DSUD_KEY_ERROR);
	bool is_fine = strcmp(result, "unchanged") == 0 && !*error;
	char *text;

	if (asprintf(&text, "%" PRIu64 "%s%s%s: %s%s%s",
		     ctl_json_get_number(target, DSUD_KEY_PID), *comm ? " (" : "", comm,
		     *comm ? ")" : "", patch, *patch ? " " : "",
		     is_fine ? "can be applied" : result_words(result)) < 0)
		return NULL;
	return text;
}

static int print_functions(const struct ctl_output *output, const json_t *functions)
{
	static const struct ctl_column columns[] = {
		{"FUNCTION", CTL_COLUMN_TRIM}, {"NEW", CTL_COLUMN_TRIM},
		{"MODULE", CTL_COLUMN_TRIM}, {"OLD ADDRESS", 0}, {"NEW ADDRESS", 0}, {"VIA", 0},
	};
	INJ_CLEANUP(ctl_table_guard) struct ctl_table *table =
		ctl_table_new(output, columns, INJ_ARRAY_LENGTH(columns));
	const json_t *function;
	size_t index;

	json_array_foreach(functions, index, function)
		ctl_table_add(table, CTL_ROW(ctl_json_get_text(function, DSUD_KEY_NAME),
					     ctl_json_get_text(function, DSUD_KEY_NEW_NAME),
					     ctl_json_get_text(function, DSUD_KEY_MODULE),
					     ctl_json_get_text(function, DSUD_KEY_ADDRESS),
					     ctl_json_get_text(function, DSUD_KEY_REPLACEMENT),
					     ctl_json_get_text(function, DSUD_KEY_VIA)));
	return ctl_table_print(table, output, 2);
}

static int print_blockers(const struct ctl_output *output, const json_t *blockers)
{
	static const struct ctl_column columns[] = {
		{"TID", CTL_COLUMN_RIGHT}, {"COMM", 0}, {"FUNCTION", CTL_COLUMN_TRIM},
		{"FRAME", CTL_COLUMN_RIGHT}, {"ADDRESS", 0},
	};
	INJ_CLEANUP(ctl_table_guard) struct ctl_table *table =
		ctl_table_new(output, columns, INJ_ARRAY_LENGTH(columns));
	const json_t *blocker;
	size_t index;

	json_array_foreach(blockers, index, blocker) {
		char tid[24], frame[24];

		snprintf(tid, sizeof(tid), "%" PRIu64, ctl_json_get_number(blocker, DSUD_KEY_TID));
		snprintf(frame, sizeof(frame), "%" PRIu64,
			 ctl_json_get_number(blocker, DSUD_KEY_FRAME));
		ctl_table_add(table, CTL_ROW(tid, ctl_json_get_text(blocker, DSUD_KEY_COMM),
					     ctl_json_get_text(blocker, DSUD_KEY_FUNCTION), frame,
					     ctl_json_get_text(blocker, DSUD_KEY_ADDRESS)));
	}
	return ctl_table_print(table, output, 2);
}

static void print_notes(const json_t *target)
{
	const json_t *note;
	size_t index;

	json_array_foreach(json_object_get(target, DSUD_KEY_NOTES), index, note)
		ctl_complain("note: %s", json_string_value(note) ? json_string_value(note) : "");
}

/* "2 functions, all threads held for 81 us, 1 attempt, 4.12 ms in all" */
static void print_costs(const struct ctl_output *output, const json_t *target)
{
	size_t n_functions = json_array_size(json_object_get(target, DSUD_KEY_FUNCTIONS));
	uint64_t attempts = ctl_json_get_number(target, DSUD_KEY_ATTEMPTS);
	uint64_t held_ns = ctl_json_get_number(target, DSUD_KEY_HELD);
	char held[CTL_TIME_TEXT_MAX], total[CTL_TIME_TEXT_MAX];

	fprintf(output->stream, "  %zu function%s", n_functions, n_functions == 1 ? "" : "s");
	if (held_ns > 0)
		fprintf(output->stream, ", held for %s", ctl_time_text(held, held_ns));
	if (attempts > 0)
		fprintf(output->stream, ", %" PRIu64 " attempt%s", attempts,
			attempts == 1 ? "" : "s");
	fprintf(output->stream, ", %s in all\n",
		ctl_time_text(total, ctl_json_get_number(target, DSUD_KEY_TOTAL)));
}

static int print_good(const struct ctl_output *output, const json_t *target)
{
	const json_t *blockers = json_object_get(target, DSUD_KEY_BLOCKERS);
	INJ_FREE char *headline = ctl_report_headline(target);
	int r;

	if (!headline)
		return -ENOMEM;
	fprintf(output->stream, "%s%s%s\n", ctl_colour(output, CTL_GREEN), headline,
		ctl_colour(output, CTL_RESET));
	if (output->has_legend)
		print_costs(output, target);
	r = print_functions(output, json_object_get(target, DSUD_KEY_FUNCTIONS));
	if (r < 0 || json_array_size(blockers) == 0)
		return r;
	fprintf(output->stream, "  apply would wait now for:\n");
	return print_blockers(output, blockers);
}

static int print_bad(const struct ctl_output *errors, const json_t *target)
{
	const char *message = ctl_json_get_text(target, DSUD_KEY_MESSAGE);
	INJ_FREE char *headline = ctl_report_headline(target);

	if (!headline)
		return -ENOMEM;
	fprintf(errors->stream, "%s%s%s%s%s\n", ctl_colour(errors, CTL_RED), headline,
		ctl_colour(errors, CTL_RESET), *message ? ": " : "", message);
	return print_blockers(errors, json_object_get(target, DSUD_KEY_BLOCKERS));
}

static bool is_bad(const json_t *target)
{
	return ctl_outcome_of_target(target) != CTL_EXIT_DONE;
}

/* Once for every kind of failure, after all targets were told. */
static void print_advice(const json_t *report)
{
	CTL_JSON json_t *given = json_object();
	bool is_cancelled = ctl_outcome_of_list(report) == CTL_EXIT_FAILED;
	const json_t *target;
	size_t index;

	json_array_foreach(report, index, target) {
		const char *error = ctl_json_get_text(target, DSUD_KEY_ERROR);
		const char *advice = ctl_outcome_advice(error);

		if (!advice || json_object_get(given, error) ||
		    (ctl_outcome_is_cancelled(target) && !is_cancelled))
			continue;
		json_object_set_new(given, error, json_true());
		ctl_complain("%s", advice);
	}
}

static int print_people(const struct ctl_options *options, const json_t *report)
{
	INJ_CLEANUP(ctl_output_end) struct ctl_output output;
	struct ctl_output errors;
	const json_t *target;
	size_t index;
	int r = 0;

	ctl_output_begin(&output, options);
	ctl_output_errors(&errors, options);
	json_array_foreach(report, index, target) {
		if (is_bad(target))
			r = print_bad(&errors, target);
		else if (!options->quiet && options->json == CTL_JSON_OFF)
			r = print_good(&output, target);
		if (r < 0)
			return r;
		if (!options->quiet)
			print_notes(target);
	}
	print_advice(report);
	return 0;
}

int ctl_report_tell(const struct ctl_options *options, json_t *report)
{
	CTL_JSON json_t *document = json_pack("{s:O}", "targets", report);
	int r;

	if (!document)
		return ctl_fail_errno(options, "targets", -ENOMEM);
	r = print_people(options, report);
	if (r < 0)
		return ctl_fail_errno(options, "targets", r);
	if (options->json != CTL_JSON_OFF)
		r = ctl_json_print(stdout, options->json, document);
	return r < 0 ? CTL_EXIT_FAILED : (int)ctl_outcome_of_list(report);
}
