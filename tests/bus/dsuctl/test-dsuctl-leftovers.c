/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What goes wrong around an update, as an operator meets it: workers that hang, debuggers that come
 * in between, a full disk, records of another version of dsud. The victim goes on, and what is said
 * is true and helps.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <unistd.h>

#include "injector/abi/ledger.h"
#include "injector/base/clock.h"
#include "tests/bus/bus-fixture.h"
#include "tests/bus/dsuctl/cli.h"
#include "tests/support/child.h"
#include "tests/support/need.h"
#include "tests/support/snapshot.h"
#include "tests/support/victim.h"

#define DAEMON "dsud/dsud"
#define PAIR_PATCH "tests/patches/live/pair-v2.so"
#define HOT_PATCH "tests/patches/live/hot-v2.so"
#define OLD_ANSWER "2 20"
#define NEW_ANSWER "200 2000"

TestSuite(leftovers, .timeout = 200);

static char connection[256];
static char pid_option[32];

static void need_fault_points(void)
{
#ifndef DSU_FAULT_POINTS
	cr_skip_test("this build has no fault points");
#endif
}

static void start_daemon(struct bus_fixture *fixture, const char *const *extra, const char *fault)
{
	if (fault)
		setenv("DSUD_FAULT", fault, 1);
	bus_fixture_start(fixture, extra);
	unsetenv("DSUD_FAULT");
	snprintf(connection, sizeof(connection), "--socket=%s", fixture->socket_path);
}

static void point_at(const struct victim *victim)
{
	snprintf(pid_option, sizeof(pid_option), "--pid=%d", (int)victim->pid);
}

static int count_journals(const struct bus_fixture *fixture)
{
	INJ_CLEANUP(inj_dir_guard) DIR *listing = opendir(fixture->state_dir);
	struct dirent *entry;
	int n = 0;

	cr_assert_not_null(listing);
	while ((entry = readdir(listing)))
		n += strncmp(entry->d_name, "journal-", 8) == 0 ||
		     strncmp(entry->d_name, "targets-", 8) == 0;
	return n;
}

static void expect_clean_round(struct victim *victim)
{
	CLI apply = {0}, revert = {0};

	RUN(&apply, connection, "apply", build_path(PAIR_PATCH), pid_option);
	cli_expect_code(&apply, 0);
	victim_expect(victim, "both", NEW_ANSWER);
	RUN(&revert, connection, "revert", "pair-v2", pid_option);
	cli_expect_code(&revert, 0);
	victim_expect(victim, "both", OLD_ANSWER);
}

/* --- workers that hang -------------------------------------------------------------------- */

static const struct {
	const char *point;
	bool back; /* reverting */
	bool new;  /* the version that runs in the end */
} hangs[] = {
	/* A thread is borrowed; nothing is held; all are held; let go again. */
	{"staged", false, false},    {"linked", false, false},	 {"held", false, false},
	{"site-written", false, false}, {"installed", false, false}, {"committed", false, true},
	{"promoted", false, true},   {"released", false, true},	 {"before-revert", true, true},
	{"demoted", true, true},     {"reverted", true, false},
};

static void hang_at(size_t i)
{
	static const char *const extra[] = {"--grace=0.3", NULL};
	BUS_FIXTURE fixture = bus_fixture_prepare(DAEMON, false);
	VICTIM victim = victim_start("pair", NULL);
	CLI change = {0};
	char fault[64];

	point_at(victim);
	if (hangs[i].back) {
		CLI apply = {0};

		start_daemon(fixture, NULL, NULL);
		RUN(&apply, connection, "apply", build_path(PAIR_PATCH), pid_option);
		cli_expect_code(&apply, 0);
		cr_assert_eq(bus_fixture_stop(fixture), 0);
	}
	snprintf(fault, sizeof(fault), "%s:1:hang", hangs[i].point);
	start_daemon(fixture, extra, fault);
	RUN(&change, connection, "--timeout=0.3", hangs[i].back ? "revert" : "apply",
	    hangs[i].back ? "pair-v2" : build_path(PAIR_PATCH), pid_option);
	cr_assert(change.code == 0 || change.code == 1, "%s: %d: %s", fault, change.code,
		  change.err);
	cr_assert_not_null(strstr(change.err, "hung and was killed"), "%s: %s", fault, change.err);
	victim_expect(victim, "both", hangs[i].new ? NEW_ANSWER : OLD_ANSWER);
	cr_assert_eq(count_journals(fixture), 0, "%s", fault);
	cr_assert_eq(bus_fixture_stop(fixture), 0);

	start_daemon(fixture, NULL, NULL);
	if (hangs[i].new) {
		CLI revert = {0};

		RUN(&revert, connection, "revert", "pair-v2", pid_option);
		cli_expect_code(&revert, 0);
	}
	expect_clean_round(victim);
}

Test(leftovers, a_worker_that_hangs_is_ended_at_the_deadline)
{
	need_root();
	need_fault_points();
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(hangs); i++)
		hang_at(i);
}

/* The deadline is far away, but nobody is held for so long. */
Test(leftovers, a_worker_that_hangs_in_a_hold_does_not_wait_for_the_deadline)
{
	BUS_FIXTURE fixture = NULL;
	VICTIM victim = NULL;
	CLI change = {0};

	need_root();
	need_fault_points();
	fixture = bus_fixture_prepare(DAEMON, false);
	victim = victim_start("pair", NULL);
	point_at(victim);
	start_daemon(fixture, NULL, "site-written:1:hang");
	RUN(&change, connection, "--timeout=3600", "apply", build_path(PAIR_PATCH), pid_option);
	cli_expect_code(&change, 1);
	cli_expect_err(&change, "signal 9");
	victim_expect(victim, "both", OLD_ANSWER);
	cr_assert_eq(count_journals(fixture), 0);
	cr_assert_eq(bus_fixture_stop(fixture), 0);
	start_daemon(fixture, NULL, NULL);
	expect_clean_round(victim);
}

/* --- debuggers ---------------------------------------------------------------------------- */

static pid_t await_child_of(pid_t pid)
{
	uint64_t deadline_ns = inj_now_ns() + VICTIM_DEADLINE_MS * UINT64_C(1000000);
	char path[64], text[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	for (;;) {
		INJ_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = read(fd, text, sizeof(text) - 1);

		text[n > 0 ? n : 0] = '\0';
		if (atoi(text) > 0)
			return atoi(text);
		cr_assert(inj_remaining_ns(deadline_ns) > 0, "no worker comes");
		sched_yield();
	}
}

/* Requests for one process come one after the other. */
static void await_earlier(void)
{
	CLI revert = {0};

	RUN(&revert, connection, "revert", "nobody", pid_option);
	cli_expect_code(&revert, 4);
}

static void trace(void *argument)
{
	const pid_t *pid = argument;

	cr_assert_eq(ptrace(PTRACE_SEIZE, *pid, 0, 0), 0);
	child_ready();
	child_rest();
}

/* Ask until it says something, or no longer says it. */
static void await_status(const char *part, bool there)
{
	uint64_t deadline_ns = inj_now_ns() + BUS_DEADLINE_MS * UINT64_C(1000000);

	for (;;) {
		CLI status = {0};

		RUN(&status, connection, "status", pid_option);
		if ((strstr(status.err, part) != NULL) == there)
			return;
		cr_assert(inj_remaining_ns(deadline_ns) > 0, "%s%s", status.out, status.err);
	}
}

/* The worker stands between two attempts, nothing is held. Then it dies before it goes on, or it
 * goes on. */
static void attach_in_between(bool dies)
{
	static const char *const extra[] = {"--retry=0.1", NULL};
	BUS_FIXTURE fixture = bus_fixture_prepare(DAEMON, false);
	VICTIM victim = victim_start("hot", "1", "30000", NULL);
	SNAPSHOT before = NULL;
	CLI change = {0};
	pid_t worker, debugger;

	victim_expect(victim, "stuck", "ok");
	victim_expect_above(victim, "rounds", 0);
	point_at(victim);
	before = snapshot_take(victim->pid);
	start_daemon(fixture, extra, "released:1:stop");
	cli_start(&change, (const char *const[]){connection, "--timeout=60", "apply",
						 build_path(HOT_PATCH), pid_option, NULL});
	worker = await_child_of(fixture->daemon_pid);
	child_await_state(worker, "T");
	cr_assert_eq(kill(fixture->daemon_pid, SIGSTOP), 0);
	child_await_state(fixture->daemon_pid, "T");
	if (dies) {
		cr_assert_eq(kill(worker, SIGKILL), 0);
		child_await_state(worker, "Z");
	}
	debugger = child_start(trace, &victim->pid);
	if (!dies)
		cr_assert_eq(kill(worker, SIGCONT), 0);
	cr_assert_eq(kill(fixture->daemon_pid, SIGCONT), 0);
	cli_wait(&change);
	cr_assert_neq(change.code, 0);
	cli_expect_err(&change, "may be left");
	cr_assert_eq(count_journals(fixture), 2);
	await_status("may be left", true);
	await_status("traced", true);

	child_end(debugger);
	await_status("may be left", false);
	await_earlier();
	cr_assert_eq(count_journals(fixture), 0);
	snapshot_expect_same(before, SNAPSHOT_DATA);
	victim_expect_above(victim, "rounds", victim_ask_number(victim, "rounds"));
	victim_expect(victim, "version", "1");
}

/* What cannot be undone because of it is told, and gone as soon as the debugger is. */
Test(leftovers, a_debugger_keeps_an_update_from_being_settled)
{
	need_root();
	need_fault_points();
	attach_in_between(true);
	attach_in_between(false);
}

/* --- a full disk -------------------------------------------------------------------------- */

static void fill(const char *path)
{
	char block[4096];
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	memset(block, 'x', sizeof(block));
	cr_assert(fd >= 0);
	while (write(fd, block, sizeof(block)) > 0)
		;
	cr_assert_eq(errno, ENOSPC);
	close(fd);
}

Test(leftovers, a_full_state_directory_refuses_and_leaves_nothing)
{
	BUS_FIXTURE fixture = NULL;
	VICTIM victim = NULL;
	SNAPSHOT before = NULL;
	CLI apply = {0}, revert = {0};
	char path[256];

	need_root();
	fixture = bus_fixture_prepare(DAEMON, false);
	victim = victim_start("pair", NULL);
	point_at(victim);
	/* Seen by this test and its daemon only. */
	cr_assert_eq(unshare(CLONE_NEWNS), 0);
	cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	cr_assert_eq(mkdir(fixture->state_dir, 0700), 0);
	cr_assert_eq(mount("tmpfs", fixture->state_dir, "tmpfs", 0, "size=128k,mode=0700"), 0);
	start_daemon(fixture, NULL, NULL);
	snprintf(path, sizeof(path), "%s/full", fixture->state_dir);
	fill(path);
	before = snapshot_take(victim->pid);
	RUN(&apply, connection, "apply", build_path(PAIR_PATCH), pid_option);
	cli_expect_code(&apply, 1);
	cli_expect_err(&apply, "No space left");
	cli_expect_err(&apply, fixture->state_dir);
	cr_assert_eq(count_journals(fixture), 0);
	snapshot_expect_same(before, SNAPSHOT_DATA);
	victim_expect(victim, "both", OLD_ANSWER);

	cr_assert_eq(unlink(path), 0);
	expect_clean_round(victim);

	/* Taking back needs a journal, too, and leaves the new version whole without one. */
	CLI again = {0};

	RUN(&again, connection, "apply", build_path(PAIR_PATCH), pid_option);
	cli_expect_code(&again, 0);
	fill(path);
	RUN(&revert, connection, "revert", "pair-v2", pid_option);
	cli_expect_code(&revert, 1);
	cli_expect_err(&revert, "No space left");
	victim_expect(victim, "both", NEW_ANSWER);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(bus_fixture_stop(fixture), 0);
	cr_assert_eq(umount2(fixture->state_dir, MNT_DETACH), 0);
}

/* --- records of another version ----------------------------------------------------------- */

/* Where the record of the only patch lies: at the start of its memory, which nobody else maps
 * read-only. */
static unsigned long long find_record(pid_t pid)
{
	INJ_CLEANUP(inj_file_guard) FILE *maps = NULL;
	char path[64], line[1024];
	unsigned long long start, offset;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	cr_assert_not_null(maps);
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "/memfd:dsu:") && strstr(line, " r--p ") &&
		    sscanf(line, "%llx-%*x r--p %llx", &start, &offset) == 2 && offset == 0)
			return start;
	cr_assert_fail("there is no record");
	return 0;
}

static void set_version(const struct victim *victim, uint32_t version)
{
	unsigned long long record = find_record(victim->pid);
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)victim->pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	cr_assert_eq(pwrite(fd, &version, sizeof(version),
			    (off_t)(record + offsetof(struct dsu_ledger, version))),
		     (ssize_t)sizeof(version));
	close(fd);
}

static void expect_refused(const char *verb, const char *what)
{
	CLI change = {0};

	RUN(&change, connection, verb, what, pid_option);
	cli_expect_code(&change, 4);
	cli_expect_err(&change, "another version of dsud");
	cli_expect_err(&change, "ledger format 2, and this one knows 1");
	cli_expect_err(&change, "start that version");
}

/* A newer dsud patched the process, then an older one was installed again. */
Test(leftovers, a_record_of_another_version_is_told_and_left_alone)
{
	BUS_FIXTURE fixture = NULL;
	VICTIM victim = NULL;
	CLI apply = {0}, status = {0}, other = {0}, revert = {0};

	need_root();
	fixture = bus_fixture_prepare(DAEMON, false);
	victim = victim_start("pair", NULL);
	point_at(victim);
	start_daemon(fixture, NULL, NULL);
	RUN(&apply, connection, "apply", build_path(PAIR_PATCH), pid_option);
	cli_expect_code(&apply, 0);
	cr_assert_eq(bus_fixture_stop(fixture), 0);
	set_version(victim, 2);

	SNAPSHOT before = snapshot_take(victim->pid);

	start_daemon(fixture, NULL, NULL);
	RUN(&status, connection, "status", pid_option);
	cli_expect_code(&status, 0);
	cli_expect_out(&status, "pair-v2");
	cli_expect_out(&status, "unknown");
	cli_expect_err(&status, "Patch pair-v2 was applied by another version of dsud");
	expect_refused("apply", build_path(HOT_PATCH));
	expect_refused("apply", build_path(PAIR_PATCH));
	expect_refused("check", build_path(PAIR_PATCH));
	expect_refused("revert", "pair-v2");
	snapshot_expect_same(before, SNAPSHOT_DATA);
	victim_expect(victim, "both", NEW_ANSWER);

	/* The right version again. */
	set_version(victim, DSU_LEDGER_VERSION);
	RUN(&other, connection, "status", pid_option);
	cli_expect_out(&other, "active");
	RUN(&revert, connection, "revert", "pair-v2", pid_option);
	cli_expect_code(&revert, 0);
	victim_expect(victim, "both", OLD_ANSWER);
}
