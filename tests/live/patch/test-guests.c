/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Programs in odd circumstances: stopped, sandboxed, deleted, in namespaces, without privileges,
 * forking, and those that end or become another program in the middle.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/child.h"
#include "tests/support/need.h"
#include "tests/support/snapshot.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define PATCH "tests/patches/traits/lonely-v2.so"
#define ID "lonely-v2"
#define UPDATE INJ_CLEANUP(update_done) struct update

TestSuite(guests, .timeout = 120);

/* Three times there and back. */
static void come_and_go(struct victim *victim)
{
	UPDATE update = {};

	victim_expect(victim, "value", "1");
	for (int round = 0; round < 3; round++) {
		expect_result(update_apply(&update, PATCH, victim->pid), UPD_APPLIED);
		victim_expect(victim, "value", "1000");
		expect_result(update_revert(&update, ID, victim->pid), UPD_REVERTED);
		victim_expect(victim, "value", "1");
	}
}

ParameterizedTestParameters(guests, in_every_mode)
{
	static char modes[][16] = { "plain", "filter", "mdwe", "nobody", "no-new-privs", "mounts" };

	return cr_make_param_array(char[16], modes, INJ_ARRAY_LENGTH(modes));
}

ParameterizedTest(char mode[16], guests, in_every_mode)
{
	VICTIM victim = NULL;
	char path[PATH_MAX];
	char *argv[] = { path, mode, NULL };

	need_root();
	snprintf(path, sizeof(path), "%s", build_path("tests/victims/lonely"));
	victim = victim_spawn(argv);
	need(strcmp(victim_hear(victim), "ready") == 0, "the kernel does not have %s", mode);
	come_and_go(victim);
	cr_assert_eq(victim_quit(victim), 0);
}

/* Stopped it was, and stopped it stays, but with the other version. */
Test(guests, stopped)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("lonely", NULL);
	victim_expect(victim, "value", "1");
	for (int round = 0; round < 5; round++) {
		cr_assert_eq(kill(victim->pid, SIGSTOP), 0);
		child_await_state(victim->pid, "T");
		expect_result(update_apply(&update, PATCH, victim->pid), UPD_APPLIED);
		child_await_state(victim->pid, "T");
		cr_assert_eq(kill(victim->pid, SIGCONT), 0);
		victim_expect(victim, "value", "1000");

		cr_assert_eq(kill(victim->pid, SIGSTOP), 0);
		child_await_state(victim->pid, "T");
		expect_result(update_revert(&update, ID, victim->pid), UPD_REVERTED);
		child_await_state(victim->pid, "T");
		cr_assert_eq(kill(victim->pid, SIGCONT), 0);
		victim_expect(victim, "value", "1");
	}
}

/* The program's file is gone, and another one stands in its place. */
Test(guests, deleted_and_replaced)
{
	char path[] = "/tmp/dsu-test-XXXXXX";
	char command[2 * PATH_MAX];
	char *argv[] = { path, NULL };
	VICTIM victim = NULL;
	int fd;

	need_root();
	fd = mkstemp(path);
	cr_assert(fd >= 0 && fchmod(fd, 0700) == 0);
	close(fd);
	snprintf(command, sizeof(command), "cp '%s' %s", build_path("tests/victims/lonely"), path);
	cr_assert_eq(system(command), 0);
	victim = victim_spawn(argv);
	cr_assert_str_eq(victim_hear(victim), "ready");
	cr_assert_eq(unlink(path), 0);
	come_and_go(victim);
	snprintf(command, sizeof(command), "cp '%s' %s", build_path("tests/victims/pair"), path);
	cr_assert_eq(system(command), 0);
	come_and_go(victim);
	cr_assert_eq(unlink(path), 0);
}

/* pid of the child that `fork` made, which answers to `child`. */
static pid_t fork_off(struct victim *victim)
{
	return (pid_t)victim_ask_number(victim, "fork");
}

/* A child is a process of its own: it has the version that its parent had, and keeps it. */
Test(guests, children_have_what_their_parents_had)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	pid_t child;

	need_root();
	victim = victim_start("lonely", NULL);
	expect_result(update_apply(&update, PATCH, victim->pid), UPD_APPLIED);
	child = fork_off(victim);
	victim_expect(victim, "child", "1000");
	expect_result(update_revert(&update, ID, victim->pid), UPD_REVERTED);
	victim_expect(victim, "value", "1");
	victim_expect(victim, "child", "1000");
	cr_assert_eq(update_status(&update, child)->n_patches, 1);
	expect_result(update_revert(&update, ID, child), UPD_REVERTED);
	victim_expect(victim, "child", "1");
	expect_result(update_apply(&update, PATCH, child), UPD_APPLIED);
	victim_expect(victim, "child", "1000");
	victim_expect(victim, "value", "1");
	cr_assert_eq(update_status(&update, victim->pid)->n_patches, 0);
}

Test(guests, children_keep_what_their_parents_lose)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	pid_t child;

	need_root();
	victim = victim_start("lonely", NULL);
	expect_result(update_apply(&update, PATCH, victim->pid), UPD_APPLIED);
	child = fork_off(victim);
	expect_result(update_revert(&update, ID, child), UPD_REVERTED);
	victim_expect(victim, "child", "1");
	victim_expect(victim, "value", "1000");
	expect_result(update_revert(&update, ID, victim->pid), UPD_REVERTED);
	victim_expect(victim, "value", "1");
	victim_expect(victim, "child", "1");
}

/* One that forks all the time, whose children call the function and say when it returns
 * nonsense. */
Test(guests, forking_meanwhile)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("lonely", "forks", NULL);
	for (int round = 0; round < 20; round++) {
		victim_expect_above(victim, "forks", victim_ask_number(victim, "forks"));
		expect_result(update_apply(&update, PATCH, victim->pid), UPD_APPLIED);
		victim_expect(victim, "value", "1000");
		victim_expect_above(victim, "forks", victim_ask_number(victim, "forks"));
		expect_result(update_revert(&update, ID, victim->pid), UPD_REVERTED);
		victim_expect(victim, "value", "1");
	}
	victim_expect(victim, "wrong", "0");
}

/* One of two is gone: nothing happens to the other. */
Test(guests, gone_before)
{
	UPDATE update = { .kind = UPD_APPLY, .patch = PATCH };
	VICTIM first = NULL;
	VICTIM second = NULL;
	SNAPSHOT before = NULL;
	pid_t pids[2];

	need_root();
	first = victim_start("lonely", NULL);
	second = victim_start("lonely", NULL);
	pids[0] = first->pid;
	pids[1] = second->pid;
	before = snapshot_take(first->pid);
	cr_assert_eq(victim_quit(second), 0);
	update.pids = pids;
	update.n_pids = 2;
	update_run(&update);
	expect_result(&update.report.targets[1], UPD_GONE);
	expect_code(&update.report.targets[1], INJ_NO_SUCH_PROCESS);
	cr_assert_neq(update.report.targets[0].result, UPD_APPLIED);
	snapshot_expect_same(before, SNAPSHOT_DATA);
	victim_expect(first, "value", "1");
}

ParameterizedTestParameters(guests, gone_in_the_middle)
{
	static char ends[][8] = { "exec", "exit" };

	return cr_make_param_array(char[8], ends, INJ_ARRAY_LENGTH(ends));
}

/* The second one is inside of the function until it ends or becomes another program, so the update
 * waits for it. */
ParameterizedTest(char end[8], guests, gone_in_the_middle)
{
	UPDATE update = { .kind = UPD_APPLY, .patch = PATCH, .timeout_s = 20 };
	VICTIM first = NULL;
	VICTIM second = NULL;
	SNAPSHOT before = NULL;
	pid_t pids[2];

	need_root();
	first = victim_start("lonely", NULL);
	second = victim_start("lonely", NULL);
	pids[0] = first->pid;
	pids[1] = second->pid;
	before = snapshot_take(first->pid);
	victim_expect(second, end, "ok");
	update.pids = pids;
	update.n_pids = 2;
	update_run(&update);
	expect_code(&update.report.targets[1], INJ_PROCESS_GONE);
	cr_assert_neq(update.report.targets[0].result, UPD_APPLIED);
	char difference[4096];

	snapshot_diff(before, snapshot_take(first->pid), SNAPSHOT_DATA, difference,
		      sizeof(difference));
	for (char *line = strtok(difference, "\n"); line; line = strtok(NULL, "\n"))
		cr_assert(strstr(line, "/memfd:dsu:"), "left behind: %s", line);
	victim_expect(first, "value", "1");
	/* And it can still be patched. */
	come_and_go(first);
}
