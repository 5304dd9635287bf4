/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dsuctl: the operator's tool. Reads the command line and hands over to a verb. It holds no
 * authority of its own: whatever touches a process is asked of the daemon.
 */
#include <errno.h>
#include <locale.h>
#include <stdio.h>

#include "dsuctl/json.h"
#include "dsuctl/options.h"
#include "dsuctl/outcome.h"
#include "dsuctl/print.h"
#include "dsuctl/verbs.h"

static int misused(const struct ctl_options *options, const struct ctl_verb *verb, int r,
		   const char *message)
{
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
		return misused(options, NULL, -EINVAL, "No command given.");
	verb = ctl_verb_find(options->verb);
	if (!verb)
		return asprintf(&message, "There is no command %s.", options->verb) < 0 ?
			       misused(options, NULL, -ENOMEM, NULL) :
			       misused(options, NULL, -EINVAL, message);
	r = ctl_verb_check(verb, options, &message);
	if (r < 0)
		return misused(options, verb, r, message);
	return verb->run(options);
}

/* Where the options are wrong: the command that was probably meant, for the shape of the
 * document. */
static const struct ctl_verb *guess_verb(int argc, char **argv)
{
	const struct ctl_verb *verb = NULL;

	for (int i = 1; i < argc && !verb; i++)
		verb = ctl_verb_find(argv[i]);
	return verb;
}

static int say(const struct ctl_options *options, json_t *document)
{
	INJ_CLEANUP(ctl_json_guard) json_t *owned = document;
	int r = owned ? ctl_json_print(stdout, options->json, owned) : -ENOMEM;

	return r < 0 ? ctl_fail_errno(options, NULL, r) : CTL_EXIT_DONE;
}

static int help(const struct ctl_options *options)
{
	ctl_verb_help(options->json == CTL_JSON_OFF ? stdout : stderr);
	return options->json == CTL_JSON_OFF ? CTL_EXIT_DONE : say(options, ctl_verb_list());
}

static int version(const struct ctl_options *options)
{
	if (options->json != CTL_JSON_OFF)
		return say(options, json_pack("{s:s}", "version", DSU_VERSION));
	printf("dsuctl %s\n", DSU_VERSION);
	return CTL_EXIT_DONE;
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
		return misused(&options, guess_verb(argc, argv), r, message);
	if (options.help)
		r = help(&options);
	else if (options.version)
		r = version(&options);
	else
		r = run(&options);
	/* An answer that did not reach its reader is none. */
	if ((fflush(stdout) == EOF || ferror(stdout)) && r == CTL_EXIT_DONE) {
		ctl_complain("Standard output cannot be written.");
		r = CTL_EXIT_FAILED;
	}
	return r;
}
