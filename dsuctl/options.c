/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command line. Everything typed is checked here once, so that no verb looks at argv again:
 * process ids are decimal and in range, times are finite, selectors are not empty. What is refused
 * is refused with one sentence that names the option and what it accepts. The names and meanings
 * are a contract with scripts and stay as they are.
 */
#include "dsuctl/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "injector/base/cleanup.h"

enum {
	OPTION_PID = 256,
	OPTION_UNIT,
	OPTION_EXE,
	OPTION_COMM,
	OPTION_TIMEOUT,
	OPTION_PROTOCOL,
	OPTION_PATCH,
	OPTION_JSON,
	OPTION_NO_PAGER,
	OPTION_NO_LEGEND,
	OPTION_QUIET,
	OPTION_HOST,
	OPTION_SOCKET,
	OPTION_STATE_DIR,
	OPTION_HELP,
	OPTION_VERSION,
};

static const struct option long_options[] = {
	{"pid", required_argument, NULL, OPTION_PID},
	{"unit", required_argument, NULL, OPTION_UNIT},
	{"exe", required_argument, NULL, OPTION_EXE},
	{"comm", required_argument, NULL, OPTION_COMM},
	{"timeout", required_argument, NULL, OPTION_TIMEOUT},
	{"protocol", required_argument, NULL, OPTION_PROTOCOL},
	{"patch", required_argument, NULL, OPTION_PATCH},
	{"json", required_argument, NULL, OPTION_JSON},
	{"no-pager", no_argument, NULL, OPTION_NO_PAGER},
	{"no-legend", no_argument, NULL, OPTION_NO_LEGEND},
	{"quiet", no_argument, NULL, OPTION_QUIET},
	{"host", required_argument, NULL, OPTION_HOST},
	{"socket", required_argument, NULL, OPTION_SOCKET},
	{"state-dir", required_argument, NULL, OPTION_STATE_DIR},
	{"help", no_argument, NULL, OPTION_HELP},
	{"version", no_argument, NULL, OPTION_VERSION},
	{NULL, 0, NULL, 0},
};

__attribute__((format(printf, 2, 3)))
static int usage(char **ret_message, const char *format, ...)
{
	va_list arguments;
	char *text;
	int length;

	va_start(arguments, format);
	length = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (length < 0)
		return -ENOMEM;
	free(*ret_message);
	*ret_message = text;
	return -EINVAL;
}

static bool has_target(const struct ctl_options *options, const char *kind, const char *value)
{
	for (size_t i = 0; i < options->n_targets; i++)
		if (strcmp(options->targets[i].kind, kind) == 0 &&
		    strcmp(options->targets[i].value, value) == 0)
			return true;
	return false;
}

static int add_target(struct ctl_options *options, const char *kind, const char *value,
		      char **ret_message)
{
	struct ctl_target *grown;
	char *copy;

	if (!*value)
		return usage(ret_message, "--%s= needs a value.", kind);
	if (has_target(options, kind, value))
		return 0;
	if (options->n_targets == CTL_TARGETS_MAX)
		return usage(ret_message, "More than %d targets in one command.", CTL_TARGETS_MAX);
	grown = reallocarray(options->targets, options->n_targets + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	options->targets = grown;
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	grown[options->n_targets++] = (struct ctl_target){.kind = kind, .value = copy};
	return 0;
}

static int add_pid(struct ctl_options *options, const char *text, char **ret_message)
{
	char canonical[16];
	unsigned long number;
	char *end;

	errno = 0;
	number = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || number < 1 || number > CTL_PID_MAX)
		return usage(ret_message, "\"%s\" is not a process id. --pid= takes one or more "
			     "numbers from 1 to %d, separated by commas.", text, CTL_PID_MAX);
	snprintf(canonical, sizeof(canonical), "%lu", number);
	return add_target(options, "pid", canonical, ret_message);
}

static int add_pids(struct ctl_options *options, const char *list, char **ret_message)
{
	INJ_FREE char *copy = strdup(list);
	char *rest = copy, *item;
	int r;

	if (!copy)
		return -ENOMEM;
	while ((item = strsep(&rest, ","))) {
		r = add_pid(options, item, ret_message);
		if (r < 0)
			return r;
	}
	return 0;
}

static int set_timeout(struct ctl_options *options, const char *text, char **ret_message)
{
	char *end;
	double seconds;

	errno = 0;
	seconds = strtod(text, &end);
	/* The comparison is written so that a NaN fails it. */
	if (end == text || *end || errno || !(seconds >= 0) ||
	    !(seconds * 1e6 <= (double)CTL_TIMEOUT_MAX_USEC))
		return usage(ret_message, "--timeout=%s is not a time. It takes seconds from 0 to "
			     "%llu; fractions are fine.", text, CTL_TIMEOUT_MAX_USEC / 1000000);
	options->timeout_usec = (uint64_t)(seconds * 1e6);
	options->timeout_given = true;
	return 0;
}

static int set_json(struct ctl_options *options, const char *text, char **ret_message)
{
	if (strcmp(text, "pretty") == 0)
		options->json = CTL_JSON_PRETTY;
	else if (strcmp(text, "short") == 0)
		options->json = CTL_JSON_SHORT;
	else
		return usage(ret_message, "--json= is \"pretty\" or \"short\", not \"%s\".", text);
	return 0;
}

static int set_text(const char **field, const char *name, const char *text, char **ret_message)
{
	if (!*text)
		return usage(ret_message, "--%s= needs a value.", name);
	*field = text;
	return 0;
}

static int set_option(struct ctl_options *options, int option, char *value, char **ret_message)
{
	switch (option) {
	case OPTION_PID:
		return add_pids(options, value, ret_message);
	case OPTION_UNIT:
		return add_target(options, "unit", value, ret_message);
	case OPTION_EXE:
		return add_target(options, "exe", value, ret_message);
	case OPTION_COMM:
		return add_target(options, "comm", value, ret_message);
	case OPTION_TIMEOUT:
		return set_timeout(options, value, ret_message);
	case OPTION_PROTOCOL:
		return set_text(&options->protocol, "protocol", value, ret_message);
	case OPTION_PATCH:
		return set_text(&options->patch, "patch", value, ret_message);
	case OPTION_JSON:
		return set_json(options, value, ret_message);
	case OPTION_HOST:
		return set_text(&options->host, "host", value, ret_message);
	case OPTION_SOCKET:
		return set_text(&options->socket, "socket", value, ret_message);
	case OPTION_STATE_DIR:
		return set_text(&options->state_dir, "state-dir", value, ret_message);
	case OPTION_NO_PAGER:
		options->no_pager = true;
		return 0;
	case OPTION_NO_LEGEND:
		options->no_legend = true;
		return 0;
	case 'q':
	case OPTION_QUIET:
		options->quiet = true;
		return 0;
	case 'h':
	case OPTION_HELP:
		options->help = true;
		return 0;
	case OPTION_VERSION:
		options->version = true;
		return 0;
	default:
		return -EINVAL;
	}
}

/* A wrong option may stand before --json; the document is owed all the same. */
static void find_json(struct ctl_options *options, int n_arguments, char **argv)
{
	for (int i = 1; i < n_arguments && strcmp(argv[i], "--") != 0; i++) {
		const char *value = "";

		if (strncmp(argv[i], "--json=", 7) == 0)
			value = argv[i] + 7;
		else if (strcmp(argv[i], "--json") != 0)
			continue;
		else if (i + 1 < n_arguments)
			value = argv[i + 1];
		if (strcmp(value, "pretty") == 0)
			options->json = CTL_JSON_PRETTY;
		else if (strcmp(value, "short") == 0)
			options->json = CTL_JSON_SHORT;
	}
}

/* getopt leaves the letter of a short option in optopt; a long one is the word just passed. */
static int unknown(char **argv, char **ret_message)
{
	if (optopt > ' ' && optopt < 127)
		return usage(ret_message, "The option -%c is unknown.", optopt);
	return usage(ret_message, "The option %s is unknown, ambiguous or takes no value.",
		     argv[optind - 1]);
}

int ctl_options_parse(struct ctl_options *ret, int n_arguments, char **argv, char **ret_message)
{
	int option, r;

	ret->timeout_usec = CTL_TIMEOUT_DEFAULT_USEC;
	find_json(ret, n_arguments, argv);
	/* 0 instead of 1 makes glibc forget what an earlier call left behind. */
	optind = 0;
	opterr = 0;
	while ((option = getopt_long(n_arguments, argv, ":hq", long_options, NULL)) >= 0) {
		if (option == ':')
			return usage(ret_message, "The option %s needs a value.", argv[optind - 1]);
		if (option == '?')
			return unknown(argv, ret_message);
		r = set_option(ret, option, optarg, ret_message);
		if (r < 0)
			return r;
	}
	if (optind < n_arguments)
		ret->verb = argv[optind++];
	ret->arguments = argv + optind;
	ret->n_arguments = (size_t)(n_arguments - optind);
	return 0;
}

void ctl_options_deinit(struct ctl_options *options)
{
	for (size_t i = 0; i < options->n_targets; i++)
		free(options->targets[i].value);
	free(options->targets);
	options->targets = NULL;
	options->n_targets = 0;
}
