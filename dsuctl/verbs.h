/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_VERBS_H
#define CTL_VERBS_H

#include <jansson.h>
#include <stdio.h>

#include "dsuctl/options.h"

/* What a verb accepts beside the options that every verb takes. */
enum ctl_verb_flags {
	CTL_TAKES_TARGETS = 1 << 0,
	CTL_NEEDS_TARGETS = 1 << 1,
	CTL_TAKES_TIMEOUT = 1 << 2,
	CTL_TAKES_PROTOCOL = 1 << 3,
	CTL_TAKES_PATCH = 1 << 4,
	CTL_USES_DAEMON = 1 << 5,
};

#define CTL_ARGUMENTS_ANY ((size_t)-1)

struct ctl_verb {
	const char *name;
	const char *argument; /* as in the synopsis, "" for none */
	const char *purpose;
	const char *list; /* the member of its JSON document that holds the answer; NULL: none */
	size_t n_arguments_min;
	size_t n_arguments_max;
	unsigned flags;
	/* options: checked against the members above. Return: the exit code. */
	int (*run)(const struct ctl_options *options);
};

/* The verbs, terminated by an entry without name. */
extern const struct ctl_verb ctl_verbs[];

/* The verb of that name; NULL when there is none. */
const struct ctl_verb *ctl_verb_find(const char *name);

/*
 * Does the command line fit the verb?
 * ret_message: sentence for a person, malloc'ed, set when the result is -EINVAL.
 * Return: 0. Errors: -EINVAL wrong usage, -ENOMEM.
 */
int ctl_verb_check(const struct ctl_verb *verb, const struct ctl_options *options,
		   char **ret_message);

/* The text of --help. */
void ctl_verb_help(FILE *stream);

/* The same as a document: {"commands": [{"name", "arguments", "purpose"}]}. NULL: out of memory. */
json_t *ctl_verb_list(void);

int ctl_verb_apply(const struct ctl_options *options);
int ctl_verb_revert(const struct ctl_options *options);
int ctl_verb_check_patch(const struct ctl_options *options);
int ctl_verb_status(const struct ctl_options *options);
int ctl_verb_inspect(const struct ctl_options *options);
int ctl_verb_stacks(const struct ctl_options *options);
int ctl_verb_monitor(const struct ctl_options *options);
int ctl_verb_doctor(const struct ctl_options *options);
int ctl_verb_build(const struct ctl_options *options);

#endif
