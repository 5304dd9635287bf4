/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dsuctl: the operator's tool. Reads the command line and hands over to a verb. It holds no
 * authority of its own: whatever touches a process is asked of the daemon.
 */
#include <errno.h>
#include <locale.h>
#include <stdio.h>

#include "dsuctl/options.h"
#include "dsuctl/outcome.h"
#include "dsuctl/print.h"
#include "dsuctl/verbs.h"

static int misused(const struct ctl_options *options, int r, const char *message)
{
	const struct ctl_verb *verb = options->verb ? ctl_verb_find(options->verb) : NULL;
	const char *list = verb ? verb->list : NULL;

	if (r != -EINVAL || !message)
		return ctl_fail_errno(options, list, r);
	ctl_fail(options, list, CTL_ERROR_USAGE, "%s", message);
	ctl_complain("`dsuctl --help` lists commands and options.");
	return CTL_EXIT_USAGE;
}

static int run(const struct ctl_options *options)
{
	const struct ctl_verb *verb;
	INJ_FREE char *message = NULL;
	int r;

	if (!options->verb)
		return misused(options, -EINVAL, "No command given.");
	verb = ctl_verb_find(options->verb);
	if (!verb)
		return misused(options, -EINVAL, "There is no command of this name.");
	r = ctl_verb_check(verb, options, &message);
	if (r < 0)
		return misused(options, r, message);
	return verb->run(options);
}

int main(int argc, char **argv)
{
	INJ_CLEANUP(ctl_options_deinit) struct ctl_options options = {0};
	INJ_FREE char *message = NULL;
	int r;

	/* The character set only: numbers on the command line are the same everywhere. */
	setlocale(LC_CTYPE, "");
	r = ctl_options_parse(&options, argc, argv, &message);
	if (r < 0)
		return misused(&options, r, message);
	if (options.help) {
		ctl_verb_help();
		return CTL_EXIT_DONE;
	}
	if (options.version) {
		printf("dsuctl %s\n", DSU_VERSION);
		return CTL_EXIT_DONE;
	}
	return run(&options);
}
