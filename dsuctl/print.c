/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Text for people: where it goes, whether it has colours, when it is paged. Standard output
 * belongs to the answer, standard error to everything said about it; with --json standard output
 * holds exactly one document, so a failure prints one too. No control character of foreign text
 * reaches a terminal.
 */
#include "dsuctl/print.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "dsuctl/json.h"
#include "dsuctl/outcome.h"
#include "dsud/contract.h"
#include "injector/base/why.h"

static void measure_terminal(struct ctl_output *output, int fd)
{
	struct winsize size;

	output->columns = 80;
	output->lines = 24;
	if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
		output->columns = size.ws_col;
		output->lines = size.ws_row;
	}
}

static bool wants_colours(void)
{
	const char *no_colour = getenv("NO_COLOR");
	const char *terminal = getenv("TERM");

	return !(no_colour && *no_colour) && terminal && strcmp(terminal, "dumb") != 0;
}

void ctl_output_begin(struct ctl_output *ret, const struct ctl_options *options)
{
	*ret = (struct ctl_output){
		.stream = stdout,
		.has_legend = !options->no_legend,
		.is_terminal = isatty(STDOUT_FILENO),
	};
	if (!ret->is_terminal)
		return;
	measure_terminal(ret, STDOUT_FILENO);
	ret->has_colours = wants_colours();
	if (options->no_pager || options->json != CTL_JSON_OFF)
		return;
	FILE *collected = open_memstream(&ret->text, &ret->n_text);

	if (collected) {
		ret->stream = collected;
		ret->is_paged = true;
	}
}

void ctl_output_errors(struct ctl_output *ret, const struct ctl_options *options)
{
	*ret = (struct ctl_output){
		.stream = stderr,
		.has_legend = !options->no_legend,
		.is_terminal = isatty(STDERR_FILENO),
	};
	if (!ret->is_terminal)
		return;
	measure_terminal(ret, STDERR_FILENO);
	ret->has_colours = wants_colours();
}

static size_t count_lines(const char *text, size_t length)
{
	size_t n = 0;

	for (size_t i = 0; i < length; i++)
		n += text[i] == '\n';
	return n;
}

/* The operator's own environment chooses the pager, as with every other tool. */
static bool page(const char *text, size_t length)
{
	const char *pager = getenv("PAGER");
	sighandler_t old_int, old_pipe;
	FILE *pipe;

	if (!pager || !*pager)
		pager = "less";
	if (strcmp(pager, "cat") == 0)
		return false;
	setenv("LESS", "FRSXMK", 0);
	setenv("LESSSECURE", "1", 0);
	pipe = popen(pager, "we");
	if (!pipe)
		return false;
	/* The keys typed now are meant for the pager, and it may end before the text does. */
	old_int = signal(SIGINT, SIG_IGN);
	old_pipe = signal(SIGPIPE, SIG_IGN);
	fwrite(text, 1, length, pipe);
	int status = pclose(pipe);

	signal(SIGINT, old_int);
	signal(SIGPIPE, old_pipe);
	/* 126 and 127: the shell found nothing to run. */
	return !(WIFEXITED(status) && WEXITSTATUS(status) >= 126);
}

void ctl_output_end(struct ctl_output *output)
{
	if (!output->is_paged) {
		fflush(output->stream);
		return;
	}
	fclose(output->stream);
	output->stream = stdout;
	output->is_paged = false;
	if (count_lines(output->text, output->n_text) < output->lines ||
	    !page(output->text, output->n_text))
		fwrite(output->text, 1, output->n_text, stdout);
	fflush(stdout);
	free(output->text);
	output->text = NULL;
}

const char *ctl_colour(const struct ctl_output *output, const char *sequence)
{
	return output->has_colours ? sequence : "";
}

__attribute__((format(printf, 1, 0)))
static void complain(const char *format, va_list arguments)
{
	INJ_FREE char *text = NULL;

	if (vasprintf(&text, format, arguments) < 0) {
		text = NULL;
		return;
	}
	inj_printable(text);
	fprintf(stderr, "dsuctl: %s\n", text);
}

void ctl_complain(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	complain(format, arguments);
	va_end(arguments);
}

void ctl_complain_list(const json_t *processes)
{
	const json_t *process;
	size_t index;

	json_array_foreach(processes, index, process)
		if (*ctl_json_get_text(process, DSUD_KEY_ERROR))
			ctl_complain("%" PRIu64 ": %s", ctl_json_get_number(process, DSUD_KEY_PID),
				     ctl_json_get_text(process, DSUD_KEY_MESSAGE));
}

static void print_failure_document(const struct ctl_options *options, const char *list,
				   const char *error, const char *message)
{
	CTL_JSON json_t *document = json_object();

	if (list)
		json_object_set_new(document, list, json_array());
	json_object_set_new(document, "error", ctl_json_text(error));
	json_object_set_new(document, "message", ctl_json_text(message));
	ctl_json_print(stdout, options->json, document);
}

int ctl_fail(const struct ctl_options *options, const char *list, const char *error,
	     const char *message, ...)
{
	const char *advice = ctl_outcome_advice(error);
	INJ_FREE char *text = NULL;
	va_list arguments;

	va_start(arguments, message);
	if (vasprintf(&text, message, arguments) < 0)
		text = NULL;
	va_end(arguments);
	ctl_complain("%s", text ? text : "out of memory");
	if (advice)
		ctl_complain("%s", advice);
	if (options->json != CTL_JSON_OFF)
		print_failure_document(options, list, error, text);
	return ctl_outcome_of_error(error);
}

int ctl_fail_errno(const struct ctl_options *options, const char *list, int negative_errno)
{
	return ctl_fail(options, list, CTL_ERROR_FAILED, "Cannot go on: %s.",
			strerror(-negative_errno));
}

const char *ctl_time_text(char text[static CTL_TIME_TEXT_MAX], uint64_t ns)
{
	if (ns < 1000000)
		snprintf(text, CTL_TIME_TEXT_MAX, "%" PRIu64 " us", ns / 1000);
	else if (ns < 1000000000)
		snprintf(text, CTL_TIME_TEXT_MAX, "%.2f ms", (double)ns / 1e6);
	else
		snprintf(text, CTL_TIME_TEXT_MAX, "%.2f s", (double)ns / 1e9);
	return text;
}
