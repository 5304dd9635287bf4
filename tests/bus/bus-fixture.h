/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_BUS_BUS_FIXTURE_H
#define TESTS_BUS_BUS_FIXTURE_H

#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>

#include "dsud/contract.h"
#include "injector/base/cleanup.h"
#include "injector/base/types.h"

/*
 * A daemon of our own with its socket, its state and, if wanted, a system bus in a temporary
 * directory. Whatever happens to the test, all of it ends with the test process. What goes wrong
 * here fails the test at once.
 */
struct bus_fixture {
	char directory[64];
	char socket_path[128];
	char state_dir[128];
	char scripts[128];     /* where the scripted daemon's processes keep their patches */
	char bus_address[256]; /* "" without a system bus */
	char program[512];
	pid_t dbus_pid;
	pid_t daemon_pid;      /* 0: not running */
	int notify_fd;         /* what sd_notify() says */
	bool without_socket;   /* the daemon is not told socket_path */
};

/* program: below the build directory: "dsud/dsud", or the scripted one. */
#define SCRIPTED_DAEMON "tests/bus/dsud-scripted"

/* Make the directory, start the bus and the daemon, wait until it is ready. */
struct bus_fixture *bus_fixture_new(const char *program, bool with_system_bus);
/* Make the directory and the bus only. */
struct bus_fixture *bus_fixture_prepare(const char *program, bool with_system_bus);
/* Stop the daemon politely, end the bus, remove the directory. NULL is fine. */
void bus_fixture_free(struct bus_fixture *fixture);
INJ_DEFINE_GUARD(struct bus_fixture *, bus_fixture_free, bus_fixture_guard)
#define BUS_FIXTURE INJ_CLEANUP(bus_fixture_guard) struct bus_fixture *

/*
 * Start the daemon. extra: options, ended by NULL, may be NULL; errors: standard error goes to this
 * descriptor, -1: as the test's.
 * Return: its pid. The caller waits for readiness or for its end.
 */
pid_t bus_fixture_spawn(struct bus_fixture *fixture, const char *const *extra, int errors);
/* The same, until it is ready; it becomes the fixture's daemon. */
void bus_fixture_start(struct bus_fixture *fixture, const char *const *extra);
/* End the system bus, and start another one at the same address. */
void bus_fixture_restart_bus(struct bus_fixture *fixture);
/* Wait until the daemon owns its name. */
void bus_fixture_await_name(const struct bus_fixture *fixture);
/* SIGTERM. Return: its exit status as of waitpid(2). */
int bus_fixture_stop(struct bus_fixture *fixture);
/* SIGKILL. */
void bus_fixture_kill(struct bus_fixture *fixture);
/* Start another one that is to fail. Return: its exit code; text: what it said. */
int bus_fixture_fail(struct bus_fixture *fixture, const char *const *extra, char *text,
		     size_t size);

/* Connections; fail the test when there is none. Free with sd_bus_flush_close_unref(). */
sd_bus *bus_fixture_private(const struct bus_fixture *fixture);
sd_bus *bus_fixture_system(const struct bus_fixture *fixture);
INJ_DEFINE_GUARD(sd_bus *, sd_bus_close_unref, bus_guard)
INJ_DEFINE_GUARD(sd_bus_message *, sd_bus_message_unref, bus_message_guard)
#define BUS INJ_CLEANUP(bus_guard) sd_bus *
#define BUS_MESSAGE INJ_CLEANUP(bus_message_guard) sd_bus_message *
#define BUS_ERROR INJ_CLEANUP(sd_bus_error_free) sd_bus_error

/* A process that does nothing, to be named as a target. It dies with the test. */
pid_t bus_fixture_sleeper(void);
/* Kill and reap. */
void bus_fixture_end(pid_t pid);

/* A patch that is this script. Return: descriptor. */
int bus_fixture_script(const struct bus_fixture *fixture, const char *text);
/* A file below fixture->scripts. */
void bus_fixture_write(const struct bus_fixture *fixture, const char *name, const char *text);
/* A FIFO on which a script waits; the second lets it go on. */
void bus_fixture_gate(const struct bus_fixture *fixture, const char *name);
void bus_fixture_open_gate(const struct bus_fixture *fixture, const char *name);

/*
 * Call Apply. Return: 0 and the update's path, or negative errno with error.
 */
int bus_apply(sd_bus *bus, int patch_fd, pid_t pid, const char **ret_path, sd_bus_error *error);
/* Call it with this script; fail the test unless it is accepted. path: 128 bytes. */
void bus_apply_script(const struct bus_fixture *fixture, sd_bus *bus, const char *script,
		      pid_t pid, char *path);

/* Wait until the update's property State has one of two values. */
void bus_await_state(sd_bus *bus, const char *path, const char *state, const char *other);
/* Wait until a property has this value. */
void bus_await_string(sd_bus *bus, const char *path, const char *interface, const char *property,
		      const char *value);
/* A string property, in a buffer of the test process; "(gone)" when there is no such object. */
const char *bus_get_string(sd_bus *bus, const char *path, const char *interface,
			   const char *property);
unsigned bus_get_u32(sd_bus *bus, const char *path, const char *interface, const char *property);

/*
 * A string in the report of a settled update. Return: the value, in a buffer of the test process;
 * "" when the key is not there.
 */
const char *bus_report_string(sd_bus *bus, const char *path, const char *key);

#define BUS_DEADLINE_MS 60000

#endif
