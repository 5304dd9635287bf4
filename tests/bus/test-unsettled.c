/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Updates that leave something behind in a process which cannot be put right at once. Their
 * journals stay until nothing is
 * left: tried again by the running daemon, by the next one, and before anybody changes the process;
 * and told meanwhile.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "dsud/worker/subject.h"
#include "injector/base/clock.h"
#include "tests/bus/bus-fixture.h"

TestSuite(unsettled, .timeout = 120);

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

static void remove_script(const struct bus_fixture *fixture, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", fixture->scripts, name);
	cr_assert_eq(unlink(path), 0);
}

static int ignore(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	return 0;
}

static void expect_result(sd_bus *bus, const char *path, const char *result)
{
	bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
	cr_assert_str_eq(bus_get_string(bus, path, DSUD_IFACE_UPDATE, "Result"), result);
}

/* Tries that are over, and how many of them ended like this. */
static unsigned count_tries(sd_bus *bus, const char *result, unsigned *ret_n_all)
{
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	BUS_MESSAGE reply = NULL;
	struct {
		uint64_t number;
		const char *kind, *patch, *state, *result, *path;
	} one;
	unsigned n = 0;

	*ret_n_all = 0;
	cr_assert(sd_bus_call_method(bus, DSUD_BUS_NAME, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
				     DSUD_METHOD_LIST_UPDATES, &error, &reply, NULL) >= 0,
		  "%s", error.message);
	cr_assert(sd_bus_message_enter_container(reply, 'a', "(tsssso)") > 0);
	while (sd_bus_message_read(reply, "(tsssso)", &one.number, &one.kind, &one.patch,
				   &one.state, &one.result, &one.path) > 0) {
		if (strcmp(one.kind, DSUD_KIND_RECOVER) != 0 ||
		    strcmp(one.state, DSUD_STATE_DONE) != 0)
			continue;
		++*ret_n_all;
		n += strcmp(one.result, result) == 0;
	}
	return n;
}

/* Until so many tries have ended like this. Return: how many there were in all. */
static unsigned await_tries(sd_bus *bus, const char *result, unsigned n)
{
	uint64_t deadline_ns = inj_now_ns() + BUS_DEADLINE_MS * UINT64_C(1000000);
	sd_bus_slot *slot = NULL;
	unsigned n_all;

	cr_assert(sd_bus_match_signal(bus, &slot, NULL, NULL, NULL, NULL, ignore, NULL) >= 0);
	while (count_tries(bus, result, &n_all) < n) {
		cr_assert(inj_remaining_ns(deadline_ns) > 0, "%u tries, not %u that are %s", n_all,
			  n, result);
		if (sd_bus_process(bus, NULL) == 0)
			cr_assert(sd_bus_wait(bus, inj_remaining_ns(deadline_ns) / 1000) >= 0);
	}
	sd_bus_slot_unref(slot);
	return n_all;
}

/* Everything that a message holds, one string after the other. */
static void collect_strings(sd_bus_message *message, char *text, size_t size)
{
	const char *contents, *string;
	char type;

	while (sd_bus_message_peek_type(message, &type, &contents) > 0) {
		if (type == 's') {
			cr_assert(sd_bus_message_read(message, "s", &string) > 0);
			snprintf(text + strlen(text), size - strlen(text), "%s\n", string);
		} else if (contents) {
			cr_assert(sd_bus_message_enter_container(message, type, contents) > 0);
			collect_strings(message, text, size);
			cr_assert(sd_bus_message_exit_container(message) >= 0);
		} else {
			cr_assert(sd_bus_message_skip(message, (char[]){type, '\0'}) > 0);
		}
	}
}

/* What Status says of one process, or of all with pid 0. */
static const char *status_of(sd_bus *bus, pid_t pid)
{
	static char text[8192];
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	BUS_MESSAGE reply = NULL;
	char number[16];
	int r;

	snprintf(number, sizeof(number), "%d", (int)pid);
	r = pid ? sd_bus_call_method(bus, DSUD_BUS_NAME, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
				     DSUD_METHOD_STATUS, &error, &reply, "a(ss)", 1,
				     DSUD_SELECT_PID, number)
		: sd_bus_call_method(bus, DSUD_BUS_NAME, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
				     DSUD_METHOD_STATUS, &error, &reply, "a(ss)", 0);
	cr_assert(r >= 0, "%s", error.message);
	text[0] = '\0';
	collect_strings(reply, text, sizeof(text));
	return text;
}

Test(unsettled, is_tried_again_until_nothing_is_left)
{
	static const char *const extra[] = {"--retry=0.05", NULL};
	BUS_FIXTURE fixture = bus_fixture_prepare(SCRIPTED_DAEMON, false);
	pid_t pid = bus_fixture_sleeper();
	char path[128];

	bus_fixture_start(fixture, extra);

	BUS bus = bus_fixture_private(fixture);

	bus_fixture_write(fixture, "recover", "result unsettled");
	bus_apply_script(fixture, bus, "id one\nresult unsettled", pid, path);
	expect_result(bus, path, "failed");
	cr_assert_str_eq(bus_report_string(bus, path, "message"),
			 "the site could not be restored.");
	await_tries(bus, "failed", 1);
	cr_assert_eq(count_journals(fixture), 2);
	remove_script(fixture, "recover");
	await_tries(bus, "unchanged", 1);
	cr_assert_eq(count_journals(fixture), 0);
	cr_assert_null(strstr(status_of(bus, pid), "may be left"));
	bus_fixture_end(pid);
}

Test(unsettled, is_told_by_status)
{
	static const char *const extra[] = {"--retry=3600", NULL};
	BUS_FIXTURE fixture = bus_fixture_prepare(SCRIPTED_DAEMON, false);
	pid_t pid = bus_fixture_sleeper();
	pid_t other = bus_fixture_sleeper();
	char path[128];
	char number[16];

	bus_fixture_start(fixture, extra);

	BUS bus = bus_fixture_private(fixture);

	bus_apply_script(fixture, bus, "id one\nresult unsettled", pid, path);
	expect_result(bus, path, "failed");
	snprintf(number, sizeof(number), "process %d", (int)pid);
	cr_assert_not_null(strstr(status_of(bus, pid), "apply of one may be left"), "%s",
			   status_of(bus, pid));
	cr_assert_not_null(strstr(status_of(bus, pid),
				  "since the site could not be restored; dsud tries"));
	/* It carries no patch, but is among those that status lists. */
	cr_assert_not_null(strstr(status_of(bus, 0), number), "%s", status_of(bus, 0));
	cr_assert_null(strstr(status_of(bus, other), "may be left"));
	/* Once it is gone there is nothing to be told, and nothing to be kept. */
	bus_fixture_end(pid);
	cr_assert_null(strstr(status_of(bus, 0), "may be left"));
	cr_assert_eq(count_journals(fixture), 0);
	bus_fixture_end(other);
}

Test(unsettled, is_given_up_after_some_tries_but_settled_before_the_next_change)
{
	static const char *const extra[] = {"--retry=0.01", NULL};
	BUS_FIXTURE fixture = bus_fixture_prepare(SCRIPTED_DAEMON, false);
	pid_t pid = bus_fixture_sleeper();
	char path[128];

	bus_fixture_start(fixture, extra);

	BUS bus = bus_fixture_private(fixture);

	bus_fixture_write(fixture, "recover", "result unsettled");
	bus_apply_script(fixture, bus, "id one\nresult unsettled", pid, path);
	await_tries(bus, "failed", 5);
	cr_assert_eq(count_journals(fixture), 2);
	cr_assert_not_null(
		strstr(status_of(bus, pid), "tries again before the process is changed"), "%s",
		status_of(bus, pid));

	bus_apply_script(fixture, bus, "id two", pid, path);
	expect_result(bus, path, "applied");
	cr_assert_eq(await_tries(bus, "failed", 6), 6);
	cr_assert_eq(count_journals(fixture), 2);

	remove_script(fixture, "recover");
	bus_apply_script(fixture, bus, "id three", pid, path);
	expect_result(bus, path, "applied");
	cr_assert_eq(await_tries(bus, "applied", 1), 7);
	cr_assert_eq(count_journals(fixture), 0);
	cr_assert_null(strstr(status_of(bus, pid), "may be left"));
	bus_fixture_end(pid);
}

Test(unsettled, is_left_to_the_next_daemon)
{
	static const char *const extra[] = {"--retry=3600", NULL};
	BUS_FIXTURE fixture = bus_fixture_prepare(SCRIPTED_DAEMON, false);
	pid_t pid = bus_fixture_sleeper();
	char path[128];

	bus_fixture_start(fixture, extra);
	{
		BUS bus = bus_fixture_private(fixture);

		bus_apply_script(fixture, bus, "id one\nresult unsettled", pid, path);
		expect_result(bus, path, "failed");
	}
	cr_assert_eq(bus_fixture_stop(fixture), 0);
	cr_assert_eq(count_journals(fixture), 2);
	bus_fixture_start(fixture, extra);

	BUS bus = bus_fixture_private(fixture);

	await_tries(bus, "unchanged", 1);
	cr_assert_eq(count_journals(fixture), 0);
	bus_fixture_end(pid);
}

/* A worker that dies again and again while it settles is no reason to stop trying for ever. */
Test(unsettled, is_what_dead_recoveries_leave)
{
	static const char *const extra[] = {"--retry=0.05", NULL};
	BUS_FIXTURE fixture = bus_fixture_prepare(SCRIPTED_DAEMON, false);
	pid_t pid = bus_fixture_sleeper();
	char path[128];

	bus_fixture_start(fixture, extra);

	BUS bus = bus_fixture_private(fixture);

	bus_fixture_write(fixture, "recover", "die 9");
	bus_apply_script(fixture, bus, "id one\ncommit\ndie 9", pid, path);
	expect_result(bus, path, "failed");
	remove_script(fixture, "recover");
	await_tries(bus, "applied", 1);
	cr_assert_eq(count_journals(fixture), 0);
	bus_fixture_end(pid);
}

/* --- journals of other versions ----------------------------------------------------------- */

static void write_state(const struct bus_fixture *fixture, const char *prefix, const void *bytes,
			size_t length)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s-000102030405060708090a0b0c0d0e0f", fixture->state_dir,
		 prefix);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert(fd >= 0, "%s", path);
	cr_assert_eq(write(fd, bytes, length), (ssize_t)length);
	close(fd);
}

static void write_leftover(const struct bus_fixture *fixture, const char *magic, pid_t pid)
{
	char journal[4096] = "";
	char boot[64] = "";
	char targets[256];
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	cr_assert(read(fd, boot, sizeof(boot) - 1) > 0);
	close(fd);
	snprintf(targets, sizeof(targets), "boot %s%d %" PRIu64 "\n", boot, (int)pid,
		 dsud_subject_look(pid).start_ticks);
	memcpy(journal, magic, 8);
	cr_assert_eq(mkdir(fixture->state_dir, 0700), 0);
	write_state(fixture, "targets", targets, strlen(targets));
	write_state(fixture, "journal", journal, sizeof(journal));
}

Test(unsettled, journals_of_another_version_are_left_to_it)
{
	BUS_FIXTURE fixture = bus_fixture_prepare(SCRIPTED_DAEMON, false);
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	INJ_CLOSE int patch = bus_fixture_script(fixture, "id one");
	pid_t pid = bus_fixture_sleeper();
	pid_t other = bus_fixture_sleeper();
	char path[128];

	write_leftover(fixture, "DSUJRNL2", pid);
	bus_fixture_start(fixture, NULL);

	BUS bus = bus_fixture_private(fixture);

	cr_assert_not_null(strstr(status_of(bus, pid), "another version of dsud has written"), "%s",
			   status_of(bus, pid));
	cr_assert_not_null(strstr(status_of(bus, pid), "start that version once"));
	cr_assert_lt(bus_apply(bus, patch, pid, NULL, &error), 0);
	cr_assert_str_eq(error.name, DSUD_ERROR_UNSUPPORTED_PROCESS);
	cr_assert_not_null(strstr(error.message, "another version of dsud has written"), "%s",
			   error.message);
	cr_assert_eq(count_journals(fixture), 2);
	cr_assert_eq(await_tries(bus, "", 0), 0, "it was settled");
	/* Others are not concerned. */
	bus_apply_script(fixture, bus, "id one", other, path);
	expect_result(bus, path, "applied");
	/* And when the process is gone, so is the matter. */
	bus_fixture_end(pid);
	cr_assert_null(strstr(status_of(bus, 0), "another version"));
	cr_assert_eq(count_journals(fixture), 0);
	bus_fixture_end(other);
}

/* The one who writes it dies before the first word: an empty journal is no foreign one. */
Test(unsettled, journals_that_never_began_are_settled)
{
	BUS_FIXTURE fixture = bus_fixture_prepare(SCRIPTED_DAEMON, false);
	pid_t pid = bus_fixture_sleeper();

	write_leftover(fixture, "\0\0\0\0\0\0\0", pid);
	bus_fixture_start(fixture, NULL);

	BUS bus = bus_fixture_private(fixture);

	await_tries(bus, "unchanged", 1);
	cr_assert_eq(count_journals(fixture), 0);
	bus_fixture_end(pid);
}
