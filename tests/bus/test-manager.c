/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What clients see: the interfaces as documented, the objects as they come and go, the reports with
 * the keys of the contract, on the private socket and on the system bus alike.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/bus/bus-fixture.h"
#include "tests/support/victim.h"

/* --- introspection ------------------------------------------------------------------------ */

static void introspect_to_file(sd_bus *bus, const char *path, const char *file_name)
{
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	BUS_MESSAGE reply = NULL;
	const char *text;
	FILE *file;
	int r = sd_bus_call_method(bus, DSUD_BUS_NAME, path, "org.freedesktop.DBus.Introspectable",
				   "Introspect", &error, &reply, NULL);

	cr_assert(r >= 0, "%s: %s", path, error.message);
	cr_assert(sd_bus_message_read(reply, "s", &text) > 0);
	file = fopen(file_name, "we");
	cr_assert_not_null(file);
	fputs(text, file);
	cr_assert_eq(fclose(file), 0);
}

static void expect_documented(const struct bus_fixture *fixture, sd_bus *bus, const char *path,
			      const char *document)
{
	char file_name[160];
	char command[2048];

	snprintf(file_name, sizeof(file_name), "%s/introspection.xml", fixture->directory);
	introspect_to_file(bus, path, file_name);
	snprintf(command, sizeof(command), "python3 '%s/tests/bus/compare-introspection.py'",
		 source_path(""));
	snprintf(command + strlen(command), sizeof(command) - strlen(command),
		 " '%s/dsud/data/%s' '%s'", source_path(""), document, file_name);
	cr_assert_eq(system(command), 0, "%s is not as %s says", path, document);
}

static void expect_all_documented(bool on_system_bus)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, on_system_bus);
	BUS bus = on_system_bus ? bus_fixture_system(fixture) : bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	char update[128];
	char target[64];

	bus_apply_script(fixture, bus, "id one", pid, update);
	bus_await_state(bus, update, DSUD_STATE_DONE, NULL);
	snprintf(target, sizeof(target), "%s/%d", DSUD_PATH_TARGETS, (int)pid);
	expect_documented(fixture, bus, DSUD_PATH_ROOT, "org.dsud1.Manager.xml");
	expect_documented(fixture, bus, update, "org.dsud1.Update.xml");
	expect_documented(fixture, bus, target, "org.dsud1.Target.xml");
	bus_fixture_end(pid);
}

Test(manager, is_as_documented_on_the_private_socket)
{
	expect_all_documented(false);
}

Test(manager, is_as_documented_on_the_system_bus)
{
	expect_all_documented(true);
}

/* --- updates ------------------------------------------------------------------------------ */

/* The keys of one dictionary, in order, joined by blanks; nested values are passed over. */
static void read_keys(sd_bus_message *message, char *keys, size_t size)
{
	const char *name;

	keys[0] = '\0';
	cr_assert(sd_bus_message_enter_container(message, 'a', "{sv}") > 0);
	while (sd_bus_message_enter_container(message, 'e', "sv") > 0) {
		cr_assert(sd_bus_message_read(message, "s", &name) > 0);
		snprintf(keys + strlen(keys), size - strlen(keys), "%s%s", keys[0] ? " " : "",
			 name);
		sd_bus_message_skip(message, "v");
		sd_bus_message_exit_container(message);
	}
	sd_bus_message_exit_container(message);
}

static sd_bus_message *get_report(sd_bus *bus, const char *path)
{
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;
	int r = sd_bus_get_property(bus, DSUD_BUS_NAME, path, DSUD_IFACE_UPDATE, "Report", &error,
				    &reply, "aa{sv}");

	cr_assert(r >= 0, "%s", error.message);
	return reply;
}

Test(manager, apply_reports_with_the_keys_of_the_contract)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	char path[128];
	char keys[512];

	bus_apply_script(fixture, bus, "id one\nfunctions 2", pid, path);
	bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
	cr_assert_str_eq(bus_get_string(bus, path, DSUD_IFACE_UPDATE, "Result"), "applied");
	cr_assert_str_eq(bus_get_string(bus, path, DSUD_IFACE_UPDATE, "Patch"), "one");
	cr_assert_str_eq(bus_get_string(bus, path, DSUD_IFACE_UPDATE, "Kind"), "apply");
	cr_assert_str_eq(bus_report_string(bus, path, "result"), "applied");

	BUS_MESSAGE report = get_report(bus, path);

	cr_assert(sd_bus_message_enter_container(report, 'a', "a{sv}") > 0);
	read_keys(report, keys, sizeof(keys));
	cr_assert_str_eq(keys, "pid patch result protocol attempts held_ns total_ns functions comm "
			       "exe version n_threads phases notes");
	bus_fixture_end(pid);
}

Test(manager, trouble_is_told_with_error_message_and_blockers)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	char path[128];
	char keys[512];

	bus_apply_script(fixture, bus, "id one\nresult blocked", pid, path);
	bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
	cr_assert_str_eq(bus_get_string(bus, path, DSUD_IFACE_UPDATE, "Result"), "blocked");
	cr_assert_str_eq(bus_report_string(bus, path, "error"), DSUD_ERROR_BLOCKED);
	cr_assert_str_not_empty(bus_report_string(bus, path, "message"));

	BUS_MESSAGE report = get_report(bus, path);

	cr_assert(sd_bus_message_enter_container(report, 'a', "a{sv}") > 0);
	read_keys(report, keys, sizeof(keys));
	cr_assert_str_eq(keys,
			 "pid patch result protocol attempts held_ns total_ns functions error "
			 "message blockers comm exe version n_threads phases notes");
	cr_assert_eq(bus_get_u32(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, "NTargets"), 0);
	bus_fixture_end(pid);
}

static int count_progress(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	char keys[256];

	read_keys(message, keys, sizeof(keys));
	cr_assert_str_eq(keys, "pid phase attempt remaining_usec text");
	++*(int *)userdata;
	return 0;
}

static int count_any(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	++*(int *)userdata;
	return 0;
}

Test(manager, progress_and_completion_are_told_to_other_clients_too)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, true);
	BUS bus = bus_fixture_private(fixture);
	BUS watcher = bus_fixture_system(fixture);
	pid_t pid = bus_fixture_sleeper();
	int n_progress = 0;
	int n_completed = 0;
	int n_new = 0;
	char path[128];

	cr_assert(sd_bus_match_signal(watcher, NULL, DSUD_BUS_NAME, NULL, DSUD_IFACE_UPDATE,
				      DSUD_SIGNAL_PROGRESS, count_progress, &n_progress) >= 0);
	cr_assert(sd_bus_match_signal(watcher, NULL, DSUD_BUS_NAME, NULL, DSUD_IFACE_MANAGER,
				      DSUD_SIGNAL_UPDATE_COMPLETED, count_any, &n_completed) >= 0);
	cr_assert(sd_bus_match_signal(watcher, NULL, DSUD_BUS_NAME, NULL, DSUD_IFACE_MANAGER,
				      DSUD_SIGNAL_UPDATE_NEW, count_any, &n_new) >= 0);
	bus_apply_script(fixture, bus, "id one\nprogress 3", pid, path);
	bus_await_state(watcher, path, DSUD_STATE_DONE, NULL);
	while (n_completed == 0) {
		if (sd_bus_process(watcher, NULL) == 0)
			cr_assert(sd_bus_wait(watcher, BUS_DEADLINE_MS * 1000u) > 0);
	}
	cr_assert_eq(n_progress, 3);
	cr_assert_eq(n_new, 1);
	cr_assert_eq(n_completed, 1);
	bus_fixture_end(pid);
}

/* A target that blocks for minutes would otherwise flood everybody who listens. */
Test(manager, attempts_that_come_fast_are_not_all_told)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	int n_progress = 0;
	char path[128];

	cr_assert(sd_bus_match_signal(bus, NULL, NULL, NULL, DSUD_IFACE_UPDATE,
				      DSUD_SIGNAL_PROGRESS, count_any, &n_progress) >= 0);
	bus_apply_script(fixture, bus, "id one\nprogress 100", pid, path);
	bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
	while (sd_bus_process(bus, NULL) > 0)
		;
	cr_assert_geq(n_progress, 10);
	cr_assert_lt(n_progress, 50);
	bus_fixture_end(pid);
}

static void revert(sd_bus *bus, const char *id, pid_t pid, char *path)
{
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	BUS_MESSAGE reply = NULL;
	const char *found;
	char text[16];

	snprintf(text, sizeof(text), "%d", (int)pid);
	cr_assert(sd_bus_call_method(bus, DSUD_BUS_NAME, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
				     DSUD_METHOD_REVERT, &error, &reply, "sa(ss)a{sv}", id, 1,
				     DSUD_SELECT_PID, text, 0) >= 0,
		  "%s", error.message);
	cr_assert(sd_bus_message_read(reply, "o", &found) > 0);
	strcpy(path, found);
}

Test(manager, a_target_stands_on_the_bus_while_it_is_patched)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	char update[128];
	char target[64];

	snprintf(target, sizeof(target), "%s/%d", DSUD_PATH_TARGETS, (int)pid);
	bus_apply_script(fixture, bus, "id one", pid, update);
	bus_await_string(bus, target, DSUD_IFACE_TARGET, "Comm", "scripted");
	cr_assert_eq(bus_get_u32(bus, target, DSUD_IFACE_TARGET, "Pid"), (unsigned)pid);
	cr_assert_eq(bus_get_u32(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, "NTargets"), 1);
	revert(bus, "one", pid, update);
	bus_await_string(bus, target, DSUD_IFACE_TARGET, "Comm", "(gone)");
	bus_fixture_end(pid);
}

Test(manager, a_target_that_ends_leaves_the_bus)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	char update[128];
	char target[64];

	snprintf(target, sizeof(target), "%s/%d", DSUD_PATH_TARGETS, (int)pid);
	bus_apply_script(fixture, bus, "id one", pid, update);
	bus_await_string(bus, target, DSUD_IFACE_TARGET, "Comm", "scripted");
	bus_fixture_end(pid);
	bus_await_string(bus, target, DSUD_IFACE_TARGET, "Comm", "(gone)");
}

Test(manager, the_object_manager_lists_objects_without_addresses)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	BUS_MESSAGE reply = NULL;
	pid_t pid = bus_fixture_sleeper();
	const char *path;
	char update[128];
	int n_objects = 0;

	bus_apply_script(fixture, bus, "id one\nfunctions 1", pid, update);
	bus_await_state(bus, update, DSUD_STATE_DONE, NULL);
	cr_assert(sd_bus_call_method(bus, DSUD_BUS_NAME, DSUD_PATH_ROOT,
				     "org.freedesktop.DBus.ObjectManager", "GetManagedObjects",
				     &error, &reply, NULL) >= 0,
		  "%s", error.message);
	cr_assert(sd_bus_message_enter_container(reply, 'a', "{oa{sa{sv}}}") > 0);
	while (sd_bus_message_enter_container(reply, 'e', "oa{sa{sv}}") > 0) {
		const char *interface;

		cr_assert(sd_bus_message_read(reply, "o", &path) > 0);
		cr_assert(sd_bus_message_enter_container(reply, 'a', "{sa{sv}}") > 0);
		while (sd_bus_message_enter_container(reply, 'e', "sa{sv}") > 0) {
			char keys[512];

			cr_assert(sd_bus_message_read(reply, "s", &interface) > 0);
			read_keys(reply, keys, sizeof(keys));
			cr_assert_null(strstr(keys, "Report"));
			cr_assert_null(strstr(keys, "Patches"));
			n_objects += strncmp(interface, DSUD_BUS_NAME, 9) == 0;
			sd_bus_message_exit_container(reply);
		}
		sd_bus_message_exit_container(reply);
		sd_bus_message_exit_container(reply);
	}
	/* One update, one target; the manager itself stands at the root of the tree. */
	cr_assert_geq(n_objects, 2);
	bus_fixture_end(pid);
}

/* --- questions ---------------------------------------------------------------------------- */

static sd_bus_message *ask_status(sd_bus *bus, pid_t pid)
{
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;
	char text[16];
	int r;

	snprintf(text, sizeof(text), "%d", (int)pid);
	r = pid ? sd_bus_call_method(bus, DSUD_BUS_NAME, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
				     DSUD_METHOD_STATUS, &error, &reply, "a(ss)", 1,
				     DSUD_SELECT_PID, text)
		: sd_bus_call_method(bus, DSUD_BUS_NAME, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
				     DSUD_METHOD_STATUS, &error, &reply, "a(ss)", 0);
	cr_assert(r >= 0, "%s", error.message);
	return reply;
}

Test(manager, status_finds_what_no_update_told_of)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	char name[16];
	char target[64];
	char keys[256];

	/* As a child that a patched process forked. */
	snprintf(name, sizeof(name), "%d", (int)pid);
	snprintf(target, sizeof(target), "%s/%d", DSUD_PATH_TARGETS, (int)pid);
	bus_fixture_write(fixture, name, "one\n");

	BUS_MESSAGE reply = ask_status(bus, 0);

	cr_assert(sd_bus_message_enter_container(reply, 'a', "a{sv}") > 0);
	read_keys(reply, keys, sizeof(keys));
	cr_assert_str_eq(keys, "pid comm exe patches notes");
	bus_await_string(bus, target, DSUD_IFACE_TARGET, "Comm", "scripted");

	/* And it goes when the next look does not meet it any more. */
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", fixture->scripts, name);
	cr_assert_eq(unlink(path), 0);
	sd_bus_message_unref(ask_status(bus, 0));
	bus_await_string(bus, target, DSUD_IFACE_TARGET, "Comm", "(gone)");
	bus_fixture_end(pid);
}

Test(manager, status_of_an_unpatched_process_is_empty)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	BUS_MESSAGE reply = ask_status(bus, pid);
	char keys[256];

	cr_assert(sd_bus_message_enter_container(reply, 'a', "a{sv}") > 0);
	read_keys(reply, keys, sizeof(keys));
	cr_assert_str_eq(keys, "pid comm exe patches notes");
	cr_assert_eq(sd_bus_message_at_end(reply, 0), 1);
	bus_fixture_end(pid);
}

static sd_bus_message *start_check(const struct bus_fixture *fixture, sd_bus *bus, pid_t pid,
				   const char *script, sd_bus_message_handler_t handler,
				   void *userdata)
{
	INJ_CLOSE int fd = bus_fixture_script(fixture, script);
	sd_bus_message *call = NULL;
	char text[16];

	snprintf(text, sizeof(text), "%d", (int)pid);
	cr_assert(sd_bus_message_new_method_call(bus, &call, DSUD_BUS_NAME, DSUD_PATH_ROOT,
						 DSUD_IFACE_MANAGER, DSUD_METHOD_CHECK) >= 0);
	cr_assert(sd_bus_message_append(call, "hsa(ss)a{sv}", fd, "script", 1, DSUD_SELECT_PID,
					text, 0) >= 0);
	cr_assert(sd_bus_call_async(bus, NULL, call, handler, userdata, UINT64_MAX) >= 0);
	return call;
}

Test(manager, a_question_does_not_keep_others_waiting)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	int n_answers = 0;

	bus_fixture_gate(fixture, "gate");

	BUS_MESSAGE call =
		start_check(fixture, bus, pid, "id one\nwait gate", count_any, &n_answers);

	/* This is answered while the worker of the other waits. */
	sd_bus_message_unref(ask_status(bus, pid));
	cr_assert_eq(n_answers, 0);
	bus_fixture_open_gate(fixture, "gate");
	while (n_answers == 0) {
		if (sd_bus_process(bus, NULL) == 0)
			cr_assert(sd_bus_wait(bus, BUS_DEADLINE_MS * 1000u) > 0);
	}
	bus_fixture_end(pid);
}

Test(manager, a_question_whose_caller_is_gone_is_cancelled)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, true);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	char path[128];

	for (int i = 0; i < 2; i++) {
		BUS asker = i ? bus_fixture_system(fixture) : bus_fixture_private(fixture);
		char gate[16];
		char script[64];

		snprintf(gate, sizeof(gate), "gate%d", i);
		snprintf(script, sizeof(script), "wait %s", gate);
		bus_fixture_gate(fixture, gate);

		BUS_MESSAGE call = start_check(fixture, asker, pid, script, count_any, NULL);

		/* It has arrived when a later call on the same connection is answered. */
		sd_bus_message_unref(ask_status(asker, pid));
		/* An update of the same process waits behind the question. */
		bus_apply_script(fixture, bus, i ? "id two" : "id one", pid, path);
		cr_assert_str_eq(bus_get_string(bus, path, DSUD_IFACE_UPDATE, "State"),
				 DSUD_STATE_QUEUED);
		asker = sd_bus_close_unref(asker);
		bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
	}
	bus_fixture_end(pid);
}

/* --- order -------------------------------------------------------------------------------- */

Test(manager, updates_of_one_process_run_one_after_the_other)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	pid_t other_pid = bus_fixture_sleeper();
	char first[128];
	char second[128];
	char other[128];

	bus_fixture_gate(fixture, "gate");
	bus_apply_script(fixture, bus, "id one\nwait gate", pid, first);
	bus_apply_script(fixture, bus, "id two", pid, second);
	bus_apply_script(fixture, bus, "id three", other_pid, other);
	/* The other process is not kept waiting. */
	bus_await_state(bus, other, DSUD_STATE_DONE, NULL);
	cr_assert_str_eq(bus_get_string(bus, first, DSUD_IFACE_UPDATE, "State"),
			 DSUD_STATE_RUNNING);
	cr_assert_str_eq(bus_get_string(bus, second, DSUD_IFACE_UPDATE, "State"),
			 DSUD_STATE_QUEUED);
	cr_assert_eq(bus_get_u32(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, "NUpdates"), 2);
	bus_fixture_open_gate(fixture, "gate");
	bus_await_state(bus, second, DSUD_STATE_DONE, NULL);
	cr_assert_str_eq(bus_get_string(bus, first, DSUD_IFACE_UPDATE, "State"), DSUD_STATE_DONE);
	bus_fixture_end(pid);
	bus_fixture_end(other_pid);
}

static void cancel(sd_bus *bus, const char *path)
{
	BUS_ERROR error = SD_BUS_ERROR_NULL;

	cr_assert(sd_bus_call_method(bus, DSUD_BUS_NAME, path, DSUD_IFACE_UPDATE,
				     DSUD_METHOD_CANCEL, &error, NULL, NULL) >= 0,
		  "%s", error.message);
}

Test(manager, a_running_and_a_queued_update_can_be_cancelled)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	char running[128];
	char queued[128];

	bus_fixture_gate(fixture, "gate");
	bus_apply_script(fixture, bus, "id one\nwait gate", pid, running);
	bus_apply_script(fixture, bus, "id two", pid, queued);
	bus_await_string(bus, running, DSUD_IFACE_UPDATE, "Phase", "wait");
	cancel(bus, queued);
	cr_assert_str_eq(bus_get_string(bus, queued, DSUD_IFACE_UPDATE, "State"),
			 DSUD_STATE_CANCELLED);
	cr_assert_str_eq(bus_report_string(bus, queued, "error"), DSUD_ERROR_CANCELLED);
	cancel(bus, running);
	bus_await_state(bus, running, DSUD_STATE_CANCELLED, NULL);
	cr_assert_str_eq(bus_report_string(bus, running, "error"), DSUD_ERROR_CANCELLED);
	cr_assert_eq(bus_get_u32(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, "NTargets"), 0);
	/* A second time changes nothing. */
	cancel(bus, running);
	bus_fixture_end(pid);
}
