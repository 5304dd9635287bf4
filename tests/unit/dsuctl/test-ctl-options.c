/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dsuctl/options.h"
#include "injector/base/types.h"

#define MAX_WORDS 24

struct parsed {
	struct ctl_options options;
	char *words[MAX_WORDS];
	char *line;
	char *message;
	int r;
};

/* Words separated by blanks, as a shell would cut them. The result points into itself. */
static void parse(struct parsed *ret, const char *line)
{
	char *rest, *word;
	int n = 0;

	*ret = (struct parsed){.line = strdup(line)};
	rest = ret->line;
	while ((word = strsep(&rest, " ")) && n < MAX_WORDS - 1)
		ret->words[n++] = word;
	ret->r = ctl_options_parse(&ret->options, n, ret->words, &ret->message);
}

static void done(struct parsed *parsed)
{
	ctl_options_deinit(&parsed->options);
	free(parsed->line);
	free(parsed->message);
}

Test(options, defaults)
{
	struct parsed p;

	parse(&p, "dsuctl status");
	cr_assert_eq(p.r, 0);
	cr_assert_str_eq(p.options.verb, "status");
	cr_assert_eq(p.options.n_arguments, 0);
	cr_assert_eq(p.options.n_targets, 0);
	cr_assert_eq(p.options.timeout_usec, 10000000);
	cr_assert(!p.options.timeout_given);
	cr_assert_null(p.options.protocol);
	cr_assert_eq(p.options.json, CTL_JSON_OFF);
	done(&p);
}

Test(options, no_verb)
{
	struct parsed p;

	parse(&p, "dsuctl --quiet");
	cr_assert_eq(p.r, 0);
	cr_assert_null(p.options.verb);
	cr_assert(p.options.quiet);
	done(&p);
}

Test(options, stand_before_and_after_the_verb)
{
	struct parsed p;

	parse(&p, "dsuctl --json=short apply --timeout=2.5 patch.so --pid=12,13 "
				"--no-pager --protocol=safe-redefine");
	cr_assert_eq(p.r, 0, "%s", p.message);
	cr_assert_str_eq(p.options.verb, "apply");
	cr_assert_eq(p.options.n_arguments, 1);
	cr_assert_str_eq(p.options.arguments[0], "patch.so");
	cr_assert_eq(p.options.timeout_usec, 2500000);
	cr_assert_eq(p.options.json, CTL_JSON_SHORT);
	cr_assert(p.options.no_pager);
	cr_assert_str_eq(p.options.protocol, "safe-redefine");
	cr_assert_eq(p.options.n_targets, 2);
	cr_assert_str_eq(p.options.targets[0].kind, "pid");
	cr_assert_str_eq(p.options.targets[0].value, "12");
	cr_assert_str_eq(p.options.targets[1].value, "13");
	done(&p);
}

Test(options, every_selector)
{
	struct parsed p;

	parse(&p, "dsuctl status --pid 1 --exe /bin/a --comm b --unit c.service");
	cr_assert_eq(p.r, 0);
	cr_assert_eq(p.options.n_targets, 4);
	cr_assert_str_eq(p.options.targets[1].kind, "exe");
	cr_assert_str_eq(p.options.targets[1].value, "/bin/a");
	cr_assert_str_eq(p.options.targets[2].kind, "comm");
	cr_assert_str_eq(p.options.targets[2].value, "b");
	cr_assert_str_eq(p.options.targets[3].kind, "unit");
	cr_assert_str_eq(p.options.targets[3].value, "c.service");
	done(&p);
}

Test(options, one_target_is_named_once)
{
	struct parsed p;

	parse(&p, "dsuctl status --pid=7,007,7 --pid=7 --comm=7");
	cr_assert_eq(p.r, 0);
	cr_assert_eq(p.options.n_targets, 2);
	done(&p);
}

Test(options, times)
{
	static const struct {
		const char *line;
		uint64_t usec;
	} good[] = {
		{"dsuctl apply --timeout=0", 0},
		{"dsuctl apply --timeout=0.000001", 1},
		{"dsuctl apply --timeout=86400", 86400000000},
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(good); i++) {
		struct parsed p;

		parse(&p, good[i].line);
		cr_assert_eq(p.r, 0, "%s", good[i].line);
		cr_assert_eq(p.options.timeout_usec, good[i].usec, "%s", good[i].line);
		cr_assert(p.options.timeout_given);
		done(&p);
	}
}

Test(options, wrong_usage_is_told)
{
	static const struct {
		const char *line, *word;
	} bad[] = {
		{"dsuctl --pid=0", "\"0\""},
		{"dsuctl --pid=-1", "\"-1\""},
		{"dsuctl --pid=+1", "\"+1\""},
		{"dsuctl --pid=1x", "\"1x\""},
		{"dsuctl --pid=1,,2", "\"\""},
		{"dsuctl --pid=", "\"\""},
		{"dsuctl --pid=1,", "\"\""},
		{"dsuctl --pid=4194305", "4194305"},
		{"dsuctl --pid=99999999999999999999999", "not a process id"},
		{"dsuctl --pid", "--pid"},
		{"dsuctl --comm=", "--comm="},
		{"dsuctl --exe=", "--exe="},
		{"dsuctl --timeout=", "--timeout="},
		{"dsuctl --timeout=nan", "nan"},
		{"dsuctl --timeout=inf", "inf"},
		{"dsuctl --timeout=-1", "-1"},
		{"dsuctl --timeout=1s", "1s"},
		{"dsuctl --timeout=86401", "86401"},
		{"dsuctl --timeout=1e300", "1e300"},
		{"dsuctl --json=yaml", "yaml"},
		{"dsuctl --json", "--json"},
		{"dsuctl --no-such-option", "--no-such-option"},
		{"dsuctl --no-", "--no-"},
		{"dsuctl --quiet=1", "--quiet=1"},
		{"dsuctl -x", "-x"},
		{"dsuctl -qx", "-x"},
		{"dsuctl --socket=", "--socket="},
		{"dsuctl --protocol=", "--protocol="},
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(bad); i++) {
		struct parsed p;

		parse(&p, bad[i].line);
		cr_assert_eq(p.r, -EINVAL, "%s", bad[i].line);
		cr_assert_not_null(p.message, "%s", bad[i].line);
		cr_assert(strstr(p.message, bad[i].word), "%s: \"%s\" lacks \"%s\"", bad[i].line,
			  p.message, bad[i].word);
		done(&p);
	}
}

/* The document is owed even where the mistake comes first. */
Test(options, json_is_known_after_a_mistake)
{
	struct parsed p;

	parse(&p, "dsuctl --pid=x --json=short");
	cr_assert_eq(p.r, -EINVAL);
	cr_assert_eq(p.options.json, CTL_JSON_SHORT);
	done(&p);
	parse(&p, "dsuctl --pid=x -- --json=short");
	cr_assert_eq(p.r, -EINVAL);
	cr_assert_eq(p.options.json, CTL_JSON_OFF);
	done(&p);
}

Test(options, two_dashes_end_options)
{
	struct parsed p;

	parse(&p, "dsuctl inspect -- --odd-name.so");
	cr_assert_eq(p.r, 0);
	cr_assert_str_eq(p.options.verb, "inspect");
	cr_assert_eq(p.options.n_arguments, 1);
	cr_assert_str_eq(p.options.arguments[0], "--odd-name.so");
	done(&p);
}

Test(options, too_many_targets)
{
	struct ctl_options options = {0};
	char *list = malloc(CTL_TARGETS_MAX * 8 + 64), *message = NULL;
	char *words[] = {(char *)"dsuctl", list, NULL};
	int length = sprintf(list, "--pid=1");

	for (int pid = 2; pid <= CTL_TARGETS_MAX; pid++)
		length += sprintf(list + length, ",%d", pid);
	cr_assert_eq(ctl_options_parse(&options, 2, words, &message), 0);
	cr_assert_eq(options.n_targets, CTL_TARGETS_MAX);
	ctl_options_deinit(&options);
	options = (struct ctl_options){0};
	sprintf(list + length, ",%d", CTL_TARGETS_MAX + 1);
	cr_assert_eq(ctl_options_parse(&options, 2, words, &message), -EINVAL);
	ctl_options_deinit(&options);
	free(message);
	free(list);
}
