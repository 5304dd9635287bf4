/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_OPTIONS_H
#define CTL_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CTL_TARGETS_MAX 4096
#define CTL_PID_MAX 4194304
#define CTL_TIMEOUT_DEFAULT_USEC (10 * 1000000ULL)
#define CTL_TIMEOUT_MAX_USEC (24 * 3600 * 1000000ULL)

enum ctl_json_mode {
	CTL_JSON_OFF,
	CTL_JSON_PRETTY,
	CTL_JSON_SHORT,
};

/* One selector as it travels on the bus: kind is pid, unit, exe or comm. */
struct ctl_target {
	const char *kind;
	char *value; /* owned */
};

/* What the command line says. Strings are borrowed from argv unless noted. */
struct ctl_options {
	const char *verb; /* NULL: none given */
	char **arguments; /* after the verb; a stretch of the permuted argv */
	size_t n_arguments;
	struct ctl_target *targets; /* owned */
	size_t n_targets;
	uint64_t timeout_usec;
	const char *protocol; /* NULL: the daemon's choice */
	const char *patch;    /* --patch=FILE, NULL when not given */
	const char *host;
	const char *socket;
	const char *state_dir;
	enum ctl_json_mode json;
	bool timeout_given;
	bool no_pager;
	bool no_legend;
	bool quiet;
	bool help;
	bool version;
};

/*
 * Read a command line; options may stand before and after the verb.
 * argv: may be permuted; must outlive ret. n_arguments: of argv, program name included.
 * ret: zeroed by the caller; free with ctl_options_deinit, after a failure as well. On failure its
 * member json still says whether a document is wanted on standard output.
 * ret_message: sentence for a person, malloc'ed, set when the result is -EINVAL.
 * Return: 0. Errors: -EINVAL wrong usage, -ENOMEM.
 * Source: getopt_long(3).
 */
int ctl_options_parse(struct ctl_options *ret, int n_arguments, char **argv, char **ret_message);
void ctl_options_deinit(struct ctl_options *options);

#endif
