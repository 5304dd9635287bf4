/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who may do what. The client runs as nobody, in a process of its own; it tells by its exit status.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/bus/bus-fixture.h"

#define NOBODY 65534

enum verdict {
	GRANTED = 10,
	DENIED,      /* org.dsud1.Error.AccessDenied or the bus's own */
	UNREACHABLE,
	OTHER,
};

static enum verdict judge(int r, const sd_bus_error *error)
{
	if (r >= 0)
		return GRANTED;
	if (sd_bus_error_has_name(error, DSUD_ERROR_ACCESS_DENIED) ||
	    sd_bus_error_has_name(error, SD_BUS_ERROR_ACCESS_DENIED))
		return DENIED;
	fprintf(stderr, "%d %s %s\n", r, error->name, error->message);
	return OTHER;
}

/* As nobody, without any assertion: those belong to the test's process. */
static enum verdict as_nobody(const char *address, bool is_bus,
			      enum verdict (*body)(sd_bus *bus, const char *path), const char *path)
{
	pid_t pid = fork();
	int status;

	cr_assert(pid >= 0);
	if (pid == 0) {
		sd_bus *bus = NULL;

		if (setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
			_exit(OTHER);
		if (sd_bus_new(&bus) < 0 || sd_bus_set_address(bus, address) < 0 ||
		    sd_bus_set_bus_client(bus, is_bus) < 0)
			_exit(OTHER);
		_exit(sd_bus_start(bus) < 0 ? UNREACHABLE : body(bus, path));
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
	return (enum verdict)WEXITSTATUS(status);
}

static enum verdict try_list(sd_bus *bus, const char *path)
{
	BUS_ERROR error = SD_BUS_ERROR_NULL;

	return judge(sd_bus_call_method(bus, DSUD_BUS_NAME, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
					DSUD_METHOD_LIST_UPDATES, &error, NULL, NULL),
		     &error);
}

static enum verdict try_revert(sd_bus *bus, const char *path)
{
	BUS_ERROR error = SD_BUS_ERROR_NULL;

	return judge(sd_bus_call_method(bus, DSUD_BUS_NAME, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
					DSUD_METHOD_REVERT, &error, NULL, "sa(ss)a{sv}", "one", 1,
					"pid", "1", 0),
		     &error);
}

static enum verdict try_status(sd_bus *bus, const char *path)
{
	BUS_ERROR error = SD_BUS_ERROR_NULL;

	return judge(sd_bus_call_method(bus, DSUD_BUS_NAME, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
					DSUD_METHOD_STATUS, &error, NULL, "a(ss)", 0),
		     &error);
}

static enum verdict try_cancel(sd_bus *bus, const char *path)
{
	BUS_ERROR error = SD_BUS_ERROR_NULL;

	return judge(sd_bus_call_method(bus, DSUD_BUS_NAME, path, DSUD_IFACE_UPDATE,
					DSUD_METHOD_CANCEL, &error, NULL, NULL),
		     &error);
}

static enum verdict try_state(sd_bus *bus, const char *path)
{
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	INJ_FREE char *state = NULL;

	return judge(sd_bus_get_property_string(bus, DSUD_BUS_NAME, path, DSUD_IFACE_UPDATE,
						"State", &error, &state),
		     &error);
}

static enum verdict try_report(sd_bus *bus, const char *path)
{
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	BUS_MESSAGE reply = NULL;

	return judge(sd_bus_get_property(bus, DSUD_BUS_NAME, path, DSUD_IFACE_UPDATE, "Report",
					 &error, &reply, "aa{sv}"),
		     &error);
}

Test(access, the_private_socket_is_for_root)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	char address[160];

	snprintf(address, sizeof(address), "unix:path=%s", fixture->socket_path);
	cr_assert_eq(as_nobody(address, false, try_list, NULL), UNREACHABLE);
	/* Whoever gets through all the same is heard, but only to be told no. */
	cr_assert_eq(chmod(fixture->socket_path, 0666), 0);
	cr_assert_eq(as_nobody(address, false, try_list, NULL), DENIED);
	cr_assert_eq(as_nobody(address, false, try_revert, NULL), DENIED);
}

Test(access, on_the_system_bus_everybody_may_list_and_root_may_change)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, true);
	BUS bus = bus_fixture_system(fixture);
	pid_t pid = bus_fixture_sleeper();
	char path[128];

	bus_apply_script(fixture, bus, "id one\nfunctions 1", pid, path);
	bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
	cr_assert_eq(as_nobody(fixture->bus_address, true, try_list, path), GRANTED);
	cr_assert_eq(as_nobody(fixture->bus_address, true, try_state, path), GRANTED);
	cr_assert_eq(as_nobody(fixture->bus_address, true, try_report, path), DENIED);
	cr_assert_eq(as_nobody(fixture->bus_address, true, try_status, path), DENIED);
	cr_assert_eq(as_nobody(fixture->bus_address, true, try_revert, path), DENIED);
	cr_assert_eq(as_nobody(fixture->bus_address, true, try_cancel, path), DENIED);
	cr_assert_eq(try_report(bus, path), GRANTED);
	bus_fixture_end(pid);
}
