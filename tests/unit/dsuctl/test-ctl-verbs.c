/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dsuctl/verbs.h"
#include "injector/base/types.h"

static char *words[] = {(char *)"one", (char *)"two", NULL};
static struct ctl_target one_target[] = {{.kind = "pid", .value = (char *)"1"}};

Test(verbs, the_contract_has_them_all)
{
	static const char *const names[] = {"apply", "revert", "status", "check", "inspect",
					    "stacks", "build", "monitor", "doctor"};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(names); i++)
		cr_assert_not_null(ctl_verb_find(names[i]), "%s", names[i]);
	cr_assert_null(ctl_verb_find("appl"));
	cr_assert_null(ctl_verb_find(""));
}

Test(verbs, what_fits)
{
	static const struct {
		const char *verb;
		size_t n_arguments, n_targets;
		int r;
	} cases[] = {
		{"apply", 1, 1, 0},	    {"apply", 0, 1, -EINVAL},  {"apply", 1, 0, -EINVAL},
		{"apply", 2, 1, -EINVAL},   {"revert", 1, 1, 0},       {"revert", 1, 0, -EINVAL},
		{"check", 1, 1, 0},	    {"check", 0, 0, -EINVAL},  {"status", 0, 0, 0},
		{"status", 0, 1, 0},	    {"status", 1, 0, -EINVAL}, {"stacks", 0, 1, 0},
		{"stacks", 0, 0, -EINVAL},  {"inspect", 1, 0, 0},      {"inspect", 1, 1, -EINVAL},
		{"inspect", 0, 0, -EINVAL}, {"monitor", 0, 0, 0},      {"monitor", 0, 1, -EINVAL},
		{"doctor", 0, 0, 0},	    {"doctor", 1, 0, -EINVAL}, {"build", 2, 0, 0},
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++) {
		struct ctl_options options = {
			.arguments = words,
			.n_arguments = cases[i].n_arguments,
			.targets = one_target,
			.n_targets = cases[i].n_targets,
		};
		char *message = NULL;

		cr_assert_eq(ctl_verb_check(ctl_verb_find(cases[i].verb), &options, &message),
			     cases[i].r, "%s %zu %zu", cases[i].verb, cases[i].n_arguments,
			     cases[i].n_targets);
		if (cases[i].r < 0)
			cr_assert(strstr(message, cases[i].verb), "%s", message);
		free(message);
	}
}

Test(verbs, options_of_other_verbs_are_refused)
{
	static const struct {
		const char *verb;
		struct ctl_options options;
	} cases[] = {
		{"status", {.timeout_given = true}},
		{"status", {.protocol = "safe-redefine"}},
		{"status", {.patch = "p.so"}},
		{"doctor", {.host = "example.org"}},
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++) {
		char *message = NULL;

		cr_assert_eq(ctl_verb_check(ctl_verb_find(cases[i].verb), &cases[i].options,
					    &message),
			     -EINVAL, "case %zu", i);
		free(message);
	}
}
