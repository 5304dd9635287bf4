/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls that must not work: each gets its own error with a sentence, nothing is kept of it, and the
 * daemon goes on. Limits hold.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/bus/bus-fixture.h"
#include "tests/support/victim.h"

static void expect_error(const sd_bus_error *error, int r, const char *name, const char *part)
{
	cr_assert_lt(r, 0, "the call was accepted");
	cr_assert_str_eq(error->name, name, "%s: %s", error->name, error->message);
	cr_assert_not_null(strstr(error->message, part), "'%s' does not say '%s'", error->message,
			   part);
}

static void expect_no_update(sd_bus *bus)
{
	cr_assert_eq(bus_get_u32(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, "NUpdates"), 0);
}

static void expect_bad_patch(sd_bus *bus, int fd, const char *part)
{
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	int r = bus_apply(bus, fd, 1, NULL, &error);

	expect_error(&error, r, DSUD_ERROR_BAD_PATCH, part);
	expect_no_update(bus);
}

Test(bad_calls, patches_that_are_no_files)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	INJ_CLOSE int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	INJ_CLOSE int directory = open("/", O_RDONLY | O_CLOEXEC);
	INJ_CLOSE int empty = memfd_create("empty", MFD_CLOEXEC);
	INJ_CLOSE int huge = memfd_create("huge", MFD_CLOEXEC);
	INJ_CLOSE int path_only = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	int ends[2];

	cr_assert_eq(ftruncate(huge, (off_t)DSUD_MAX_PATCH_BYTES + 1), 0);
	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	expect_bad_patch(bus, null, "regular file");
	expect_bad_patch(bus, directory, "regular file");
	expect_bad_patch(bus, ends[0], "regular file");
	expect_bad_patch(bus, empty, "empty");
	expect_bad_patch(bus, huge, "larger");
	expect_bad_patch(bus, path_only, "reading");
	close(ends[0]);
	close(ends[1]);
}

Test(bad_calls, a_patch_changed_after_the_call_does_not_matter)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	INJ_CLOSE int fd = bus_fixture_script(fixture, "id one");
	pid_t pid = bus_fixture_sleeper();
	const char *path;
	char blocker[128];

	/* The update waits in the queue while its file is overwritten. */
	bus_fixture_gate(fixture, "gate");
	bus_apply_script(fixture, bus, "id first\nwait gate", pid, blocker);
	cr_assert(bus_apply(bus, fd, pid, &path, &error) >= 0);
	cr_assert_eq(pwrite(fd, "id two", 6, 0), 6);
	bus_fixture_open_gate(fixture, "gate");
	bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
	cr_assert_str_eq(bus_report_string(bus, path, "patch"), "one");
	bus_fixture_end(pid);
}

/* --- arguments ---------------------------------------------------------------------------- */

static const struct {
	const char *selector;
	const char *value;
	const char *error;
	const char *part;
} bad_targets[] = {
	{"port", "80", SD_BUS_ERROR_INVALID_ARGS, "selector 'port'"},
	{"pid", "", SD_BUS_ERROR_INVALID_ARGS, "is no process id"},
	{"pid", "x", SD_BUS_ERROR_INVALID_ARGS, "is no process id"},
	{"pid", "-1", SD_BUS_ERROR_INVALID_ARGS, "is no process id"},
	{"pid", "0", SD_BUS_ERROR_INVALID_ARGS, "is no process id"},
	{"pid", "12 ", SD_BUS_ERROR_INVALID_ARGS, "is no process id"},
	{"pid", "99999999999999999999", SD_BUS_ERROR_INVALID_ARGS, "is no process id"},
	{"exe", "bin/true", SD_BUS_ERROR_INVALID_ARGS, "absolute path"},
	{"exe", "/nonexistent/program", DSUD_ERROR_NO_SUCH_PROCESS, "/nonexistent/program"},
	{"comm", "no such name", DSUD_ERROR_NO_SUCH_PROCESS, "no such name"},
	{"comm", "kthreadd", DSUD_ERROR_NO_SUCH_PROCESS, "kthreadd"},
	{"unit", "no-such-unit.service", DSUD_ERROR_NO_SUCH_PROCESS, "no-such-unit"},
};

Test(bad_calls, targets_that_name_nothing)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(bad_targets); i++) {
		BUS_ERROR error = SD_BUS_ERROR_NULL;
		int r = sd_bus_call_method(bus, DSUD_BUS_NAME, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
					   DSUD_METHOD_REVERT, &error, NULL, "sa(ss)a{sv}", "one",
					   1, bad_targets[i].selector, bad_targets[i].value, 0);

		expect_error(&error, r, bad_targets[i].error, bad_targets[i].part);
	}
	expect_no_update(bus);
}

Test(bad_calls, no_target_at_all)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	int r = sd_bus_call_method(bus, DSUD_BUS_NAME, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
				   DSUD_METHOD_REVERT, &error, NULL, "sa(ss)a{sv}", "one", 0, 0);

	expect_error(&error, r, SD_BUS_ERROR_INVALID_ARGS, "No target");
}

Test(bad_calls, the_daemon_itself)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	INJ_CLOSE int fd = bus_fixture_script(fixture, "id one");
	int r = bus_apply(bus, fd, fixture->daemon_pid, NULL, &error);

	expect_error(&error, r, DSUD_ERROR_UNSUPPORTED_PROCESS, "dsud itself");
	expect_no_update(bus);
}

static int revert_many(sd_bus *bus, int n, sd_bus_error *error)
{
	BUS_MESSAGE call = NULL;

	cr_assert(sd_bus_message_new_method_call(bus, &call, DSUD_BUS_NAME, DSUD_PATH_ROOT,
						 DSUD_IFACE_MANAGER, DSUD_METHOD_REVERT) >= 0);
	cr_assert(sd_bus_message_append(call, "s", "one") >= 0);
	cr_assert(sd_bus_message_open_container(call, 'a', "(ss)") >= 0);
	for (int i = 0; i < n; i++) {
		char text[16];

		snprintf(text, sizeof(text), "%d", 2000000 + i);
		cr_assert(sd_bus_message_append(call, "(ss)", DSUD_SELECT_PID, text) >= 0);
	}
	cr_assert(sd_bus_message_close_container(call) >= 0);
	cr_assert(sd_bus_message_append(call, "a{sv}", 0) >= 0);
	return sd_bus_call(bus, call, 0, error, NULL);
}

Test(bad_calls, too_many_targets)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	int r = revert_many(bus, DSUD_MAX_TARGETS_PER_UPDATE + 1, &error);

	expect_error(&error, r, DSUD_ERROR_BUSY, "Split");
	cr_assert_geq(revert_many(bus, DSUD_MAX_TARGETS_PER_UPDATE, NULL), 0);
}

static const struct {
	const char *name;
	const char *type;
	uint64_t number;
	const char *text;
	const char *part;
} bad_options[] = {
	{"timeout", "t", 1, NULL, "option 'timeout'"},
	{"timeout_usec", "s", 0, "10", "type t"},
	{"timeout_usec", "t", 0, NULL, "from 1"},
	{"timeout_usec", "t", UINT64_MAX, NULL, "from 1"},
	{"hold_budget_usec", "t", 0, NULL, "from 1"},
	{"protocol", "s", 0, "no-such-protocol", "no-such-protocol"},
	{"patch", "s", 0, "x", "option 'patch'"},
};

Test(bad_calls, options_that_are_not_known)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(bad_options); i++) {
		BUS_ERROR error = SD_BUS_ERROR_NULL;
		bool is_text = bad_options[i].text != NULL;
		int r = is_text ? sd_bus_call_method(bus, DSUD_BUS_NAME, DSUD_PATH_ROOT,
						     DSUD_IFACE_MANAGER, DSUD_METHOD_REVERT, &error,
						     NULL, "sa(ss)a{sv}", "one", 1, "pid", "1", 1,
						     bad_options[i].name, "s", bad_options[i].text)
				: sd_bus_call_method(bus, DSUD_BUS_NAME, DSUD_PATH_ROOT,
						     DSUD_IFACE_MANAGER, DSUD_METHOD_REVERT, &error,
						     NULL, "sa(ss)a{sv}", "one", 1, "pid", "1", 1,
						     bad_options[i].name, "t",
						     bad_options[i].number);

		expect_error(&error, r, SD_BUS_ERROR_INVALID_ARGS, bad_options[i].part);
	}
	expect_no_update(bus);
}

Test(bad_calls, an_option_that_stands_twice)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	int r = sd_bus_call_method(bus, DSUD_BUS_NAME, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
				   DSUD_METHOD_REVERT, &error, NULL, "sa(ss)a{sv}", "one", 1, "pid",
				   "1", 2, "timeout_usec", "t", UINT64_C(5), "timeout_usec", "t",
				   UINT64_C(6));

	expect_error(&error, r, SD_BUS_ERROR_INVALID_ARGS, "twice");
}

Test(bad_calls, names_that_cannot_be_shown)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	char longest[300];
	const char *const names[] = {"", "a\nb", longest};

	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(names); i++) {
		BUS_ERROR error = SD_BUS_ERROR_NULL;
		int r = sd_bus_call_method(bus, DSUD_BUS_NAME, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
					   DSUD_METHOD_REVERT, &error, NULL, "sa(ss)a{sv}",
					   names[i], 1, "pid", "1", 0);

		expect_error(&error, r, SD_BUS_ERROR_INVALID_ARGS, "patch id");
	}
}

Test(bad_calls, objects_that_are_not_there)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	static const char *const paths[] = {
		DSUD_PATH_UPDATES "/1",  DSUD_PATH_UPDATES "/0", DSUD_PATH_UPDATES "/x",
		DSUD_PATH_UPDATES "/99999999999999999999999", DSUD_PATH_UPDATES, "/",
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(paths); i++) {
		BUS_ERROR error = SD_BUS_ERROR_NULL;
		int r = sd_bus_call_method(bus, DSUD_BUS_NAME, paths[i], DSUD_IFACE_UPDATE,
					   DSUD_METHOD_CANCEL, &error, NULL, NULL);

		cr_assert_lt(r, 0, "%s is there", paths[i]);
		cr_assert(sd_bus_error_has_name(&error, SD_BUS_ERROR_UNKNOWN_OBJECT) ||
				  sd_bus_error_has_name(&error, SD_BUS_ERROR_UNKNOWN_METHOD) ||
				  sd_bus_error_has_name(&error, SD_BUS_ERROR_UNKNOWN_INTERFACE),
			  "%s: %s", paths[i], error.name);
	}
}

/* --- limits ------------------------------------------------------------------------------- */

Test(bad_calls, one_connection_cannot_fill_the_queue)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	BUS other = bus_fixture_private(fixture);
	BUS third = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	INJ_CLOSE int fd = bus_fixture_script(fixture, "id one");
	char path[128];

	bus_fixture_gate(fixture, "gate");
	bus_apply_script(fixture, bus, "id one\nwait gate", pid, path);
	for (int i = 1; i < DSUD_MAX_PER_CONNECTION; i++)
		cr_assert_geq(bus_apply(bus, fd, pid, NULL, NULL), 0, "at %d", i);

	BUS_ERROR error = SD_BUS_ERROR_NULL;

	expect_error(&error, bus_apply(bus, fd, pid, NULL, &error), DSUD_ERROR_BUSY,
		     "This connection");
	for (int i = 0; i < DSUD_MAX_PER_CONNECTION; i++)
		cr_assert_geq(bus_apply(other, fd, pid, NULL, NULL), 0, "at %d", i);
	/* One of these runs, so that one more fits into the queue. */
	cr_assert_geq(bus_apply(third, fd, pid, NULL, NULL), 0);

	BUS_ERROR full = SD_BUS_ERROR_NULL;

	expect_error(&full, bus_apply(third, fd, pid, NULL, &full), DSUD_ERROR_BUSY, "waiting");
	cr_assert_eq(bus_get_u32(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, "NUpdates"),
		     DSUD_MAX_QUEUED + 1);
	/* Stopping cancels them all. */
	cr_assert_eq(bus_fixture_stop(fixture), 0);
	bus_fixture_end(pid);
}

Test(bad_calls, finished_updates_are_forgotten)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	char first[128];
	char path[128];

	bus_apply_script(fixture, bus, "result refused", pid, first);
	for (int i = 0; i < DSUD_MAX_FINISHED; i++) {
		bus_apply_script(fixture, bus, "result refused", pid, path);
		bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
	}
	bus_await_string(bus, first, DSUD_IFACE_UPDATE, "State", "(gone)");
	cr_assert_str_eq(bus_get_string(bus, path, DSUD_IFACE_UPDATE, "State"), DSUD_STATE_DONE);
	bus_fixture_end(pid);
}

static int connect_to(const struct bus_fixture *fixture)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, fixture->socket_path);
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

Test(bad_calls, idle_connections_are_limited_and_garbage_ends_them)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	int fds[DSUD_MAX_CONNECTIONS];
	char byte;

	for (int i = 0; i < DSUD_MAX_CONNECTIONS; i++)
		fds[i] = connect_to(fixture);

	INJ_CLOSE int turned_away = connect_to(fixture);

	cr_assert_eq(read(turned_away, &byte, 1), 0);
	/* Whoever does not speak D-Bus is disconnected, and makes room. */
	cr_assert_eq(write(fds[0], "GET / HTTP/1.0\r\n\r\n", 18), 18);
	while (read(fds[0], &byte, 1) > 0)
		;
	BUS bus = bus_fixture_private(fixture);

	cr_assert_str_eq(bus_get_string(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, "Version"),
			 DSU_VERSION);
	for (int i = 0; i < DSUD_MAX_CONNECTIONS; i++)
		close(fds[i]);
}
