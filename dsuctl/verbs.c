/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The verbs: one table says what each is called, what it takes and who runs it. What does not fit
 * the table is refused before a verb sees it, with the synopsis that would have been right.
 */
#include "dsuctl/verbs.h"

#include "dsuctl/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define UPDATE_FLAGS                                                                              \
	(CTL_TAKES_TARGETS | CTL_NEEDS_TARGETS | CTL_TAKES_TIMEOUT | CTL_TAKES_PROTOCOL |          \
	 CTL_USES_DAEMON)

const struct ctl_verb ctl_verbs[] = {
	{"apply", "PATCH TARGET...", "Apply a patch and wait for the outcome",
	 "targets", 1, 1, UPDATE_FLAGS, ctl_verb_apply},
	{"revert", "PATCH-ID TARGET...", "Take a patch back",
	 "targets", 1, 1, UPDATE_FLAGS, ctl_verb_revert},
	{"check", "PATCH TARGET...", "Say what apply would do or refuse; changes nothing",
	 "targets", 1, 1, UPDATE_FLAGS, ctl_verb_check_patch},
	{"status", "[TARGET...]", "List patched processes and running updates",
	 "processes", 0, 0, CTL_TAKES_TARGETS | CTL_USES_DAEMON, ctl_verb_status},
	{"stacks", "TARGET...", "Show the stacks of all threads, patched functions marked",
	 "processes", 0, 0,
	 CTL_TAKES_TARGETS | CTL_NEEDS_TARGETS | CTL_TAKES_PATCH | CTL_USES_DAEMON,
	 ctl_verb_stacks},
	{"inspect", "PATCH", "Show what a patch file contains; needs no daemon",
	 NULL, 1, 1, 0, ctl_verb_inspect},
	{"monitor", "", "Print events as they happen",
	 NULL, 0, 0, CTL_USES_DAEMON, ctl_verb_monitor},
	{"doctor", "", "Say what this host allows and what is missing",
	 "checks", 0, 0, 0, ctl_verb_doctor},
	{"build", "FILE...", "Make a patch file (not in this version)",
	 NULL, 0, CTL_ARGUMENTS_ANY, 0, ctl_verb_build},
	{NULL},
};

const struct ctl_verb *ctl_verb_find(const char *name)
{
	for (const struct ctl_verb *verb = ctl_verbs; verb->name; verb++)
		if (strcmp(verb->name, name) == 0)
			return verb;
	return NULL;
}

/* What is wrong, or NULL. */
static const char *misfit(const struct ctl_verb *verb, const struct ctl_options *options)
{
	if (options->n_targets > 0 && !(verb->flags & CTL_TAKES_TARGETS))
		return "takes no --pid=, --unit=, --exe= or --comm=";
	if (options->timeout_given && !(verb->flags & CTL_TAKES_TIMEOUT))
		return "takes no --timeout=";
	if (options->protocol && !(verb->flags & CTL_TAKES_PROTOCOL))
		return "takes no --protocol=";
	if (options->patch && !(verb->flags & CTL_TAKES_PATCH))
		return "takes no --patch=";
	if (options->host && !(verb->flags & CTL_USES_DAEMON))
		return "works on this host alone and takes no --host=";
	if (options->n_arguments < verb->n_arguments_min)
		return "needs an argument";
	if (options->n_arguments > verb->n_arguments_max)
		return "takes fewer arguments; processes are named by --pid=, --unit=, --exe= or "
		       "--comm=";
	if (options->n_targets == 0 && (verb->flags & CTL_NEEDS_TARGETS))
		return "needs a target: --pid=, --unit=, --exe= or --comm=";
	return NULL;
}

int ctl_verb_check(const struct ctl_verb *verb, const struct ctl_options *options,
		   char **ret_message)
{
	const char *wrong = misfit(verb, options);

	if (!wrong)
		return 0;
	if (asprintf(ret_message, "`%s` %s. Usage: dsuctl %s%s%s", verb->name, wrong, verb->name,
		     *verb->argument ? " " : "", verb->argument) < 0)
		return -ENOMEM;
	return -EINVAL;
}

json_t *ctl_verb_list(void)
{
	CTL_JSON json_t *list = json_array();

	for (const struct ctl_verb *verb = ctl_verbs; list && verb->name; verb++)
		if (json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", verb->name,
							  "arguments", verb->argument, "purpose",
							  verb->purpose)) < 0)
			return NULL;
	return json_pack("{s:O}", "commands", list);
}

void ctl_verb_help(FILE *stream)
{
	fprintf(stream, "dsuctl [OPTION...] COMMAND [ARGUMENT...]\n\n"
	       "Change the code of running programs through the daemon dsud.\n\nCommands:\n");
	for (const struct ctl_verb *verb = ctl_verbs; verb->name; verb++)
		fprintf(stream, "  %-8s %-20s %s\n", verb->name, verb->argument, verb->purpose);
	fprintf(stream, "\nTargets:\n"
	       "  --pid=PID[,PID...]   processes by number\n"
	       "  --unit=UNIT          all processes of a systemd unit\n"
	       "  --exe=PATH           all processes that run this program\n"
	       "  --comm=NAME          all processes of this name\n"
	       "  Several processes are one update: all of them or none.\n\n"
	       "Options:\n"
	       "  --timeout=SECONDS    wait so long for a safe moment (default 10)\n"
	       "  --protocol=NAME      how the update is carried through\n"
	       "  --patch=FILE         stacks: mark the functions of this patch as well\n"
	       "  --json=pretty|short  print one JSON document\n"
	       "  --no-pager           do not page long output\n"
	       "  --no-legend          no table headings and summaries\n"
	       "  -q, --quiet          print failures only\n"
	       "  --host=[USER@]HOST   talk to the daemon of another host through ssh\n"
	       "  --socket=PATH        talk to the daemon at this socket\n"
	       "  --state-dir=DIR      talk to the daemon that runs with this directory\n"
	       "  -h, --help           print this text\n"
	       "  --version            print the version\n\n"
	       "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 blocked until the deadline,\n"
	       "4 refused, 5 no such target, 6 not allowed, 7 no daemon. See dsuctl(1).\n");
}
