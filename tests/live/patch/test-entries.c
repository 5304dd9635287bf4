/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Functions that begin in every odd way: what can be redirected works before, during and after,
 * what cannot is refused by name. Where the redirect is not one store, the dead man's switch that
 * protects it is not to be seen from outside.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/need.h"
#include "tests/support/snapshot.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define UPDATE INJ_CLEANUP(update_done) struct update

TestSuite(entries, .timeout = 240);

static const char *patch_for(const char *function)
{
	static char path[128];

	snprintf(path, sizeof(path), "tests/patches/traits/entry-%s.so", function);
	return path;
}

ParameterizedTestParameters(entries, come_and_go)
{
	static char functions[][16] = {"plain",	    "tiny",	"looping",  "winding",
				       "marked",    "calling",	"relative", "leaping",
				       "branching", "crossing", "crowded"};

	return cr_make_param_array(char[16], functions, INJ_ARRAY_LENGTH(functions));
}

/* The victim's own mappings and code are as before; our own memory may have been added. */
static void expect_code_as(struct snapshot *before, pid_t pid)
{
	SNAPSHOT after = snapshot_take(pid);
	char difference[8192];

	if (snapshot_diff(before, after, SNAPSHOT_DATA, difference, sizeof(difference)) == 0)
		return;
	for (char *line = strtok(difference, "\n"); line; line = strtok(NULL, "\n"))
		cr_assert(strstr(line, "/memfd:dsu:"), "left behind: %s", line);
}

ParameterizedTest(char function[16], entries, come_and_go)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	SNAPSHOT before = NULL;

	need_root();
	victim = victim_start("entries", "3", NULL);
	victim_expect(victim, function, "1");
	before = snapshot_take(victim->pid);
	for (int round = 0; round < 10; round++) {
		expect_result(update_apply(&update, patch_for(function), victim->pid), UPD_APPLIED);
		victim_expect(victim, function, "1000");
		victim_expect_above(victim, "rounds", victim_ask_number(victim, "rounds") + 1);
		expect_result(update_revert(&update, "entry-v2", victim->pid), UPD_REVERTED);
		victim_expect(victim, function, "1");
		victim_expect_above(victim, "rounds", victim_ask_number(victim, "rounds") + 1);
	}
	victim_expect(victim, "wrong", "0");
	expect_code_as(before, victim->pid);
	cr_assert_eq(victim_quit(victim), 0);
}

Test(entries, too_short_is_refused)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	SNAPSHOT before = NULL;

	need_root();
	victim = victim_start("entries", "2", NULL);
	before = snapshot_take(victim->pid);
	expect_refusal(update_apply(&update, patch_for("short_one"), victim->pid),
		       INJ_FUNCTION_TOO_SHORT, "short_one");
	snapshot_expect_same(before, SNAPSHOT_DATA);
	victim_expect(victim, "short_one", "1");
}

/* In a process of its own, so that whatever the victim's parent can wait for is the victim's
 * doing. */
static int run_apart(enum upd_kind kind, const char *patch, pid_t pid)
{
	UPDATE update = {};
	int status;
	pid_t worker = fork();

	cr_assert_geq(worker, 0);
	if (worker == 0) {
		const struct upd_target *target = kind == UPD_APPLY ?
							  update_apply(&update, patch, pid) :
							  update_revert(&update, "entry-v2", pid);

		_exit(target->result == UPD_APPLIED || target->result == UPD_REVERTED ? 0 : 1);
	}
	cr_assert_eq(waitpid(worker, &status, 0), worker);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect_no_event(pid_t pid)
{
	int status = 0;

	cr_assert_eq(waitpid(pid, &status, WNOHANG | WUNTRACED | WCONTINUED), 0, "event %x",
		     status);
}

ParameterizedTestParameters(entries, switch_is_invisible)
{
	static char functions[][16] = { "crossing", "crowded" };

	return cr_make_param_array(char[16], functions, INJ_ARRAY_LENGTH(functions));
}

ParameterizedTest(char function[16], entries, switch_is_invisible)
{
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("entries", "3", NULL);
	for (int round = 0; round < 10; round++) {
		cr_assert_eq(run_apart(UPD_APPLY, patch_for(function), victim->pid), 0);
		expect_no_event(victim->pid);
		victim_expect(victim, function, "1000");
		cr_assert_eq(run_apart(UPD_REVERT, NULL, victim->pid), 0);
		expect_no_event(victim->pid);
		victim_expect(victim, function, "1");
	}
	victim_expect(victim, "wrong", "0");
}

ParameterizedTestParameters(entries, switch_is_not_used_on_who_would_see_it)
{
	static char functions[][16] = { "crossing", "crowded" };

	return cr_make_param_array(char[16], functions, INJ_ARRAY_LENGTH(functions));
}

ParameterizedTest(char function[16], entries, switch_is_not_used_on_who_would_see_it)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("entries", "2", "handler", NULL);
	expect_refusal(update_apply(&update, patch_for(function), victim->pid),
		       INJ_UNSUPPORTED_PROCESS, "SIGCONT");
	victim_expect(victim, function, "1");
	victim_expect(victim, "conts", "0");
	/* What needs no protection is patched all the same. */
	expect_result(update_apply(&update, patch_for("plain"), victim->pid), UPD_APPLIED);
	victim_expect(victim, "plain", "1000");
	victim_expect(victim, "conts", "0");
}
