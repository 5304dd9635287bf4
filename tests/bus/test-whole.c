/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The whole daemon with real workers on real victims: what a victim answers before, during and
 * after, and what is left when workers and daemons die at the worst moments.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "tests/bus/bus-fixture.h"
#include "tests/support/need.h"
#include "tests/support/snapshot.h"
#include "tests/support/victim.h"

#define DAEMON "dsud/dsud"
#define PAIR_PATCH "tests/patches/live/pair-v2.so"
#define PAIR_ID "pair-v2"
#define HOT_PATCH "tests/patches/live/hot-v2.so"
#define OLD_ANSWER "2 20"
#define NEW_ANSWER "200 2000"

/* --- calls -------------------------------------------------------------------------------- */

struct call {
	const char *method;
	const char *patch;    /* file below the build directory */
	const char *patch_id; /* revert */
	const pid_t *pids;
	size_t n_pids;
	uint64_t timeout_usec; /* 0: default */
};

static void append_targets(sd_bus_message *message, const struct call *call)
{
	char text[16];

	cr_assert(sd_bus_message_open_container(message, 'a', "(ss)") >= 0);
	for (size_t i = 0; i < call->n_pids; i++) {
		snprintf(text, sizeof(text), "%d", (int)call->pids[i]);
		cr_assert(sd_bus_message_append(message, "(ss)", DSUD_SELECT_PID, text) >= 0);
	}
	cr_assert(sd_bus_message_close_container(message) >= 0);
}

static sd_bus_message *send_call(sd_bus *bus, const struct call *call)
{
	BUS_MESSAGE message = NULL;
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;
	INJ_CLOSE int fd = call->patch ? open(build_path(call->patch), O_RDONLY | O_CLOEXEC) : -1;
	int r;

	cr_assert(!call->patch || fd >= 0, "there is no %s", call->patch);
	cr_assert(sd_bus_message_new_method_call(bus, &message, DSUD_BUS_NAME, DSUD_PATH_ROOT,
						 DSUD_IFACE_MANAGER, call->method) >= 0);
	if (call->patch)
		cr_assert(sd_bus_message_append(message, "hs", fd, call->patch) >= 0);
	if (call->patch_id)
		cr_assert(sd_bus_message_append(message, "s", call->patch_id) >= 0);
	append_targets(message, call);
	if (strcmp(call->method, DSUD_METHOD_STATUS) != 0) {
		r = call->timeout_usec
			    ? sd_bus_message_append(message, "a{sv}", 1, DSUD_OPTION_TIMEOUT, "t",
						    call->timeout_usec)
			    : sd_bus_message_append(message, "a{sv}", 0);
		cr_assert(r >= 0);
	}
	r = sd_bus_call(bus, message, BUS_DEADLINE_MS * 1000u, &error, &reply);
	cr_assert(r >= 0, "%s: %s: %s", call->method, error.name, error.message);
	return reply;
}

static void submit(sd_bus *bus, const struct call *call, char *path)
{
	BUS_MESSAGE reply = send_call(bus, call);
	const char *found;

	cr_assert(sd_bus_message_read(reply, "o", &found) > 0);
	strcpy(path, found);
}

static void submit_apply(sd_bus *bus, const char *patch, pid_t pid, uint64_t timeout_usec,
			 char *path)
{
	struct call call = {DSUD_METHOD_APPLY, patch, NULL, &pid, 1, timeout_usec};

	submit(bus, &call, path);
}

static void expect_outcome(sd_bus *bus, const char *path, const char *result)
{
	bus_await_state(bus, path, DSUD_STATE_DONE, DSUD_STATE_CANCELLED);
	cr_assert_str_eq(bus_get_string(bus, path, DSUD_IFACE_UPDATE, "Result"), result, "%s",
			 bus_report_string(bus, path, "message"));
}

static void apply_pair(sd_bus *bus, pid_t pid)
{
	char path[128];

	submit_apply(bus, PAIR_PATCH, pid, 0, path);
	expect_outcome(bus, path, "applied");
}

static void revert_pair(sd_bus *bus, pid_t pid)
{
	struct call call = {DSUD_METHOD_REVERT, NULL, PAIR_ID, &pid, 1, 0};
	char path[128];

	submit(bus, &call, path);
	expect_outcome(bus, path, "reverted");
}

/* Other patched processes may be about: only this one counts. */
static void expect_listed(sd_bus *bus, pid_t pid, bool listed)
{
	char path[64];
	const char *comm;

	snprintf(path, sizeof(path), "%s/%d", DSUD_PATH_TARGETS, (int)pid);
	comm = bus_get_string(bus, path, DSUD_IFACE_TARGET, "Comm");
	cr_assert_eq(strcmp(comm, "(gone)") != 0, listed, "process %d", (int)pid);
}

/* Neither the death nor what was left may stand in the way of an ordinary round. */
static void expect_clean_round(sd_bus *bus, struct victim *victim)
{
	apply_pair(bus, victim->pid);
	victim_expect(victim, "both", NEW_ANSWER);
	revert_pair(bus, victim->pid);
	victim_expect(victim, "both", OLD_ANSWER);
}

/* --- the ordinary way --------------------------------------------------------------------- */

Test(whole, apply_and_revert_on_both_buses)
{
	BUS_FIXTURE fixture = bus_fixture_new(DAEMON, true);
	BUS private = bus_fixture_private(fixture);
	BUS system = bus_fixture_system(fixture);
	VICTIM victim = victim_start("pair", NULL);

	for (int i = 0; i < 3; i++) {
		expect_clean_round(private, victim);
		expect_clean_round(system, victim);
	}
}

/* Read strings of the first entry of a list of dictionaries; others are passed over. */
static void find_string(sd_bus_message *message, const char *key, char *value, size_t size)
{
	const char *name;
	const char *text;

	value[0] = '\0';
	while (sd_bus_message_enter_container(message, 'e', "sv") > 0) {
		cr_assert(sd_bus_message_read(message, "s", &name) > 0);
		if (strcmp(name, key) == 0 && sd_bus_message_read(message, "v", "s", &text) > 0)
			snprintf(value, size, "%s", text);
		else
			sd_bus_message_skip(message, "v");
		sd_bus_message_exit_container(message);
	}
}

static void expect_result_of(sd_bus_message *reply, const char *result)
{
	char found[32];

	cr_assert(sd_bus_message_enter_container(reply, 'a', "a{sv}") > 0);
	cr_assert(sd_bus_message_enter_container(reply, 'a', "{sv}") > 0);
	find_string(reply, "result", found, sizeof(found));
	cr_assert_str_eq(found, result);
}

Test(whole, check_tells_and_changes_nothing)
{
	BUS_FIXTURE fixture = bus_fixture_new(DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	VICTIM victim = victim_start("pair", NULL);
	SNAPSHOT before = snapshot_take(victim->pid);
	struct call call = {DSUD_METHOD_CHECK, PAIR_PATCH, NULL, &victim->pid, 1, 0};
	BUS_MESSAGE reply = send_call(bus, &call);

	expect_result_of(reply, "unchanged");
	snapshot_expect_same(before, SNAPSHOT_DATA);
	victim_expect(victim, "both", OLD_ANSWER);
}

/* Return: how many threads are listed. */
static int count_threads(sd_bus_message *reply)
{
	const char *name;
	int n = 0;

	cr_assert(sd_bus_message_enter_container(reply, 'a', "a{sv}") > 0);
	cr_assert(sd_bus_message_enter_container(reply, 'a', "{sv}") > 0);
	while (sd_bus_message_enter_container(reply, 'e', "sv") > 0) {
		cr_assert(sd_bus_message_read(reply, "s", &name) > 0);
		if (strcmp(name, "threads") != 0) {
			sd_bus_message_skip(reply, "v");
			sd_bus_message_exit_container(reply);
			continue;
		}
		cr_assert(sd_bus_message_enter_container(reply, 'v', "aa{sv}") > 0);
		cr_assert(sd_bus_message_enter_container(reply, 'a', "a{sv}") > 0);
		while (sd_bus_message_skip(reply, "a{sv}") > 0)
			n++;
		break;
	}
	return n;
}

Test(whole, stacks_of_all_threads)
{
	BUS_FIXTURE fixture = bus_fixture_new(DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	VICTIM victim = victim_start("threads", "7", NULL);
	struct call call = {DSUD_METHOD_STACKS, NULL, NULL, &victim->pid, 1, 0};
	BUS_MESSAGE reply = send_call(bus, &call);

	cr_assert_eq(count_threads(reply), 8);
}

/* Questions are asked with few rights: they must do for processes of others as well. */
Test(whole, processes_of_another_user)
{
	BUS_FIXTURE fixture = bus_fixture_new(DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	char setpriv[256];
	char program[160];
	char command[1024];
	char user[] = "--reuid=65534";
	char group[] = "--regid=65534";
	char groups[] = "--clear-groups";
	char *const argv[] = {setpriv, user, group, groups, program, NULL};

	snprintf(setpriv, sizeof(setpriv), "%s", need_program("setpriv", "util-linux"));
	/* The build directory may be out of reach for that user. */
	snprintf(program, sizeof(program), "%s/pair", fixture->directory);
	snprintf(command, sizeof(command), "install -m 755 '%s' '%s'",
		 build_path("tests/victims/pair"), program);
	cr_assert_eq(system(command), 0);

	VICTIM victim = victim_spawn(argv);
	struct call stacks = {DSUD_METHOD_STACKS, NULL, NULL, &victim->pid, 1, 0};
	struct call check = {DSUD_METHOD_CHECK, PAIR_PATCH, NULL, &victim->pid, 1, 0};

	cr_assert_str_eq(victim_hear(victim), "ready");
	BUS_MESSAGE answer = send_call(bus, &stacks);

	cr_assert_eq(count_threads(answer), 1);
	BUS_MESSAGE report = send_call(bus, &check);

	expect_result_of(report, "unchanged");
	expect_clean_round(bus, victim);
}

Test(whole, several_processes_in_one_update)
{
	BUS_FIXTURE fixture = bus_fixture_new(DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	VICTIM first = victim_start("pair", NULL);
	VICTIM second = victim_start("pair", NULL);
	pid_t pids[] = {first->pid, second->pid};
	struct call apply = {DSUD_METHOD_APPLY, PAIR_PATCH, NULL, pids, 2, 0};
	struct call revert = {DSUD_METHOD_REVERT, NULL, PAIR_ID, pids, 2, 0};
	char path[128];

	submit(bus, &apply, path);
	expect_outcome(bus, path, "applied");
	victim_expect(first, "both", NEW_ANSWER);
	victim_expect(second, "both", NEW_ANSWER);
	expect_listed(bus, first->pid, true);
	expect_listed(bus, second->pid, true);
	submit(bus, &revert, path);
	expect_outcome(bus, path, "reverted");
	expect_listed(bus, first->pid, false);
	expect_listed(bus, second->pid, false);
	victim_expect(first, "both", OLD_ANSWER);
	victim_expect(second, "both", OLD_ANSWER);
}

Test(whole, a_blocked_update_ends_with_its_deadline_or_its_cancelling)
{
	BUS_FIXTURE fixture = bus_fixture_new(DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	VICTIM victim = victim_start("hot", "1", "30000", NULL);
	char path[128];

	victim_expect(victim, "stuck", "ok");
	victim_expect_above(victim, "rounds", 1);
	SNAPSHOT before = snapshot_take(victim->pid);

	submit_apply(bus, HOT_PATCH, victim->pid, 300000, path);
	expect_outcome(bus, path, "blocked");
	cr_assert_str_eq(bus_report_string(bus, path, "error"), DSUD_ERROR_BLOCKED);
	snapshot_expect_same(before, SNAPSHOT_DATA);

	submit_apply(bus, HOT_PATCH, victim->pid, 30000000, path);
	/* It has looked at the stacks, and waits. */
	bus_await_string(bus, path, DSUD_IFACE_UPDATE, "Phase", "wait");
	cr_assert(sd_bus_call_method(bus, DSUD_BUS_NAME, path, DSUD_IFACE_UPDATE,
				     DSUD_METHOD_CANCEL, NULL, NULL, NULL) >= 0);
	expect_outcome(bus, path, "unchanged");
	cr_assert_str_eq(bus_get_string(bus, path, DSUD_IFACE_UPDATE, "State"),
			 DSUD_STATE_CANCELLED);
	snapshot_expect_same(before, SNAPSHOT_DATA);
	victim_expect_above(victim, "rounds", victim_ask_number(victim, "rounds"));
}

/* --- processes that cannot be changed ----------------------------------------------------- */

static void expect_refusal(sd_bus *bus, pid_t pid, const char *result, const char *error)
{
	char path[128];

	submit_apply(bus, PAIR_PATCH, pid, 0, path);
	expect_outcome(bus, path, result);
	cr_assert_str_eq(bus_report_string(bus, path, "error"), error, "%s",
			 bus_report_string(bus, path, "message"));
	expect_listed(bus, pid, false);
}

Test(whole, a_process_that_is_gone_and_one_that_is_a_zombie)
{
	BUS_FIXTURE fixture = bus_fixture_new(DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	siginfo_t info;

	kill(pid, SIGKILL);
	cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	expect_refusal(bus, pid, "refused", DSUD_ERROR_UNSUPPORTED_PROCESS);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	expect_refusal(bus, pid, "gone", DSUD_ERROR_NO_SUCH_PROCESS);
}

Test(whole, a_process_with_another_word_size)
{
	BUS_FIXTURE fixture = bus_fixture_new(DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	VICTIM victim = victim_start("single-m32", NULL);

	expect_refusal(bus, victim->pid, "refused", DSUD_ERROR_UNSUPPORTED_PROCESS);
}

Test(whole, a_process_that_is_traced)
{
	BUS_FIXTURE fixture = bus_fixture_new(DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	VICTIM victim = victim_start("pair", NULL);

	cr_assert_eq(ptrace(PTRACE_SEIZE, victim->pid, 0, 0), 0);
	expect_refusal(bus, victim->pid, "refused", DSUD_ERROR_PREFIX "AlreadyTraced");
	cr_assert_eq(ptrace(PTRACE_INTERRUPT, victim->pid, 0, 0), 0);
	cr_assert_eq(waitpid(victim->pid, NULL, __WALL), victim->pid);
	cr_assert_eq(ptrace(PTRACE_DETACH, victim->pid, 0, 0), 0);
	expect_clean_round(bus, victim);
}

Test(whole, a_patch_applied_twice_and_one_never_applied)
{
	BUS_FIXTURE fixture = bus_fixture_new(DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	VICTIM victim = victim_start("pair", NULL);
	struct call revert = {DSUD_METHOD_REVERT, NULL, "nobody", &victim->pid, 1, 0};
	char path[128];

	apply_pair(bus, victim->pid);
	submit_apply(bus, PAIR_PATCH, victim->pid, 0, path);
	expect_outcome(bus, path, "refused");
	cr_assert_str_eq(bus_report_string(bus, path, "error"),
			 DSUD_ERROR_PREFIX "AlreadyApplied");
	submit(bus, &revert, path);
	expect_outcome(bus, path, "refused");
	cr_assert_str_eq(bus_report_string(bus, path, "error"), DSUD_ERROR_PREFIX "NotApplied");
	victim_expect(victim, "both", NEW_ANSWER);
}

/* --- deaths ------------------------------------------------------------------------------- */

static void need_fault_points(void)
{
#ifndef DSU_FAULT_POINTS
	cr_skip_test("this build has no fault points");
#endif
}

Test(whole, a_new_daemon_reverts_what_another_applied)
{
	BUS_FIXTURE fixture = bus_fixture_new(DAEMON, false);
	VICTIM victim = victim_start("pair", NULL);

	{
		BUS bus = bus_fixture_private(fixture);

		apply_pair(bus, victim->pid);
	}
	bus_fixture_kill(fixture);
	victim_expect(victim, "both", NEW_ANSWER);
	bus_fixture_start(fixture, NULL);

	BUS bus = bus_fixture_private(fixture);

	expect_listed(bus, victim->pid, true);
	revert_pair(bus, victim->pid);
	victim_expect(victim, "both", OLD_ANSWER);
	expect_clean_round(bus, victim);
}

static const struct {
	const char *fault;
	const char *result;
	const char *answer;
} worker_deaths[] = {
	{"staged", "failed", OLD_ANSWER},
	{"site-written", "failed", OLD_ANSWER},
	{"before-commit", "failed", OLD_ANSWER},
	{"committed", "applied", NEW_ANSWER},
};

Test(whole, a_worker_that_dies_is_settled_and_told_truly)
{
	need_fault_points();
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(worker_deaths); i++) {
		BUS_FIXTURE fixture = bus_fixture_prepare(DAEMON, false);
		VICTIM victim = victim_start("pair", NULL);
		char path[128];

		setenv("DSUD_FAULT", worker_deaths[i].fault, 1);
		bus_fixture_start(fixture, NULL);
		unsetenv("DSUD_FAULT");
		{
			BUS bus = bus_fixture_private(fixture);

			submit_apply(bus, PAIR_PATCH, victim->pid, 0, path);
			expect_outcome(bus, path, worker_deaths[i].result);
			victim_expect(victim, "both", worker_deaths[i].answer);
		}
		/* A daemon whose workers live. */
		cr_assert_eq(bus_fixture_stop(fixture), 0);
		bus_fixture_start(fixture, NULL);

		BUS bus = bus_fixture_private(fixture);

		if (strcmp(worker_deaths[i].answer, NEW_ANSWER) == 0)
			revert_pair(bus, victim->pid);
		expect_clean_round(bus, victim);
	}
}

static void wait_for_end_of_daemon(struct bus_fixture *fixture)
{
	int status;

	cr_assert_eq(waitpid(fixture->daemon_pid, &status, 0), fixture->daemon_pid);
	cr_assert(WIFSIGNALED(status));
	fixture->daemon_pid = 0;
}

static const struct {
	const char *fault;
	const char *result;
	const char *answer;
} double_deaths[] = {
	{"site-written:1:kill-both", "unchanged", OLD_ANSWER},
	{"committed:1:kill-both", "applied", NEW_ANSWER},
};

Test(whole, a_daemon_that_dies_with_its_worker_is_settled_by_the_next)
{
	need_fault_points();
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(double_deaths); i++) {
		BUS_FIXTURE fixture = bus_fixture_prepare(DAEMON, false);
		VICTIM victim = victim_start("pair", NULL);
		char path[128];

		setenv("DSUD_FAULT", double_deaths[i].fault, 1);
		bus_fixture_start(fixture, NULL);
		unsetenv("DSUD_FAULT");
		{
			BUS bus = bus_fixture_private(fixture);

			submit_apply(bus, PAIR_PATCH, victim->pid, 0, path);
			wait_for_end_of_daemon(fixture);
		}
		victim_expect(victim, "both", double_deaths[i].answer);
		bus_fixture_start(fixture, NULL);

		BUS bus = bus_fixture_private(fixture);

		snprintf(path, sizeof(path), "%s/1", DSUD_PATH_UPDATES);
		expect_outcome(bus, path, double_deaths[i].result);
		victim_expect(victim, "both", double_deaths[i].answer);
		if (strcmp(double_deaths[i].answer, NEW_ANSWER) == 0)
			revert_pair(bus, victim->pid);
		expect_clean_round(bus, victim);
	}
}

Test(whole, a_worker_whose_daemon_dies_undoes_or_finishes)
{
	BUS_FIXTURE fixture = bus_fixture_prepare(DAEMON, false);
	VICTIM victim = victim_start("pair", NULL);
	char path[128];

	need_fault_points();
	setenv("DSUD_FAULT", "staged:1:kill-parent", 1);
	bus_fixture_start(fixture, NULL);
	unsetenv("DSUD_FAULT");
	{
		BUS bus = bus_fixture_private(fixture);

		submit_apply(bus, PAIR_PATCH, victim->pid, 0, path);
		wait_for_end_of_daemon(fixture);
	}
	/* The new daemon waits for the old worker's lock before it judges. */
	bus_fixture_start(fixture, NULL);

	BUS bus = bus_fixture_private(fixture);

	snprintf(path, sizeof(path), "%s/1", DSUD_PATH_UPDATES);
	bus_await_state(bus, path, DSUD_STATE_DONE, NULL);

	bool applied =
		strcmp(bus_get_string(bus, path, DSUD_IFACE_UPDATE, "Result"), "applied") == 0;

	victim_expect(victim, "both", applied ? NEW_ANSWER : OLD_ANSWER);
	if (applied)
		revert_pair(bus, victim->pid);
	expect_clean_round(bus, victim);
}

Test(whole, a_worker_that_hangs_in_the_middle_is_killed_and_undone)
{
	static const char *const extra[] = {"--grace=0.3", NULL};
	BUS_FIXTURE fixture = bus_fixture_prepare(DAEMON, false);
	VICTIM victim = victim_start("pair", NULL);
	char path[128];

	need_fault_points();
	setenv("DSUD_FAULT", "before-commit:1:hang", 1);
	bus_fixture_start(fixture, extra);
	unsetenv("DSUD_FAULT");

	BUS bus = bus_fixture_private(fixture);

	submit_apply(bus, PAIR_PATCH, victim->pid, 500000, path);
	expect_outcome(bus, path, "failed");
	cr_assert_not_null(strstr(bus_report_string(bus, path, "message"), "hung"));
	victim_expect(victim, "both", OLD_ANSWER);
}

/* --- memory ------------------------------------------------------------------------------- */

static long resident_kb(pid_t pid)
{
	INJ_CLEANUP(inj_file_guard) FILE *file = NULL;
	char path[64];
	char line[256];
	long kb = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	cr_assert_not_null(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "VmRSS: %ld kB", &kb) == 1)
			break;
	return kb;
}

Test(whole, an_idle_daemon_is_small_and_stays_so)
{
	BUS_FIXTURE fixture = bus_fixture_new(DAEMON, true);
	BUS bus = bus_fixture_private(fixture);
	VICTIM victim = victim_start("pair", NULL);

	cr_assert_lt(resident_kb(fixture->daemon_pid), 8192);
	for (int i = 0; i < 40; i++)
		expect_clean_round(bus, victim);
	cr_assert_lt(resident_kb(fixture->daemon_pid), 8192);
}
