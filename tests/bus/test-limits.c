/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Clients that ask for too much, too often, or never listen. The daemon stays small, says no to
 * them, and serves the others meanwhile.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/bus/authority.h"

#define NOBODY 65534
/* What a daemon may grow by; unlimited, each of these tests makes it grow by gigabytes. */
#define MAX_GROWTH_KB (400L << 10)

static long resident_kb(pid_t pid)
{
	INJ_CLEANUP(inj_file_guard) FILE *file = NULL;
	char path[64];
	char line[256];
	long kb = -1;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	cr_assert_not_null(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "VmHWM: %ld kB", &kb) == 1)
			break;
	return kb;
}

static void expect_small(const struct bus_fixture *fixture)
{
#ifndef __SANITIZE_ADDRESS__
	cr_assert_lt(resident_kb(fixture->daemon_pid), MAX_GROWTH_KB);
#endif
}

static void expect_served(sd_bus *bus)
{
	cr_assert_str_eq(bus_get_string(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, "Version"),
			 DSU_VERSION);
}

static int connect_to(const struct bus_fixture *fixture)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_geq(fd, 0);
	strcpy(address.sun_path, fixture->socket_path);
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* --- who never reads ---------------------------------------------------------------------- */

/* A connection by which the other side can be spoken to while nothing it says is read. */
static int deaf_client(const struct bus_fixture *fixture)
{
	static const char hello[] = "\0AUTH EXTERNAL 30\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
	int fd = connect_to(fixture);

	cr_assert_eq(write(fd, hello, sizeof(hello) - 1), (ssize_t)sizeof(hello) - 1);
	return fd;
}

/* The other side has closed: reading comes to an end. */
static void expect_dropped(int fd)
{
	char buffer[65536];
	struct pollfd polled = {.fd = fd, .events = POLLIN};
	ssize_t n;

	do {
		cr_assert_eq(poll(&polled, 1, BUS_DEADLINE_MS), 1, "it was not disconnected");
		n = read(fd, buffer, sizeof(buffer));
	} while (n > 0);
}

/* The bytes of one method call without a body, little endian; serial: 1 and up. */
static size_t make_call(char *to, uint32_t serial, const char *path, const char *interface,
			const char *member, const char *signature)
{
	const struct {
		char code, type;
		const char *value;
	} fields[] = {
		{1, 'o', path},
		{2, 's', interface},
		{3, 's', member},
		{8, 'g', signature},
	};
	size_t at = 16;

	memset(to, 0, 512);
	memcpy(to, "l\1\0\1", 4);
	memcpy(to + 8, &serial, sizeof(serial));
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(fields); i++) {
		uint32_t length = (uint32_t)strlen(fields[i].value);

		if (length == 0)
			continue;
		at = (at + 7) & ~(size_t)7;
		to[at] = fields[i].code;
		to[at + 1] = 1;
		to[at + 2] = fields[i].type;
		at += 4;
		if (fields[i].type == 'g') {
			to[at++] = (char)length;
		} else {
			memcpy(to + at, &length, sizeof(length));
			at += sizeof(length);
		}
		strcpy(to + at, fields[i].value);
		at += length + 1;
	}
	uint32_t n_fields = (uint32_t)(at - 16);

	memcpy(to + 12, &n_fields, sizeof(n_fields));
	return (at + 7) & ~(size_t)7;
}

Test(limits, a_client_that_never_reads_is_disconnected)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	INJ_CLOSE int deaf = deaf_client(fixture);
	char path[128];

	/* Each report is some megabytes for everybody who is connected. */
	for (int i = 0; i < 130; i++) {
		bus_apply_script(fixture, bus, "functions 16000\nresult refused", pid, path);
		bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
	}
	expect_dropped(deaf);
	expect_small(fixture);
	bus_fixture_end(pid);
}

Test(limits, answers_that_are_not_read_are_not_piled_up)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	INJ_CLOSE int deaf = deaf_client(fixture);
	char path[128];
	char call[512];
	size_t length;

	bus_apply_script(fixture, bus, "functions 16000\nresult refused", pid, path);
	bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
	/* GetAll leaves reports out; Get of one does not, and its body names it. */
	length = make_call(call, 1, path, "org.freedesktop.DBus.Properties", "Get", "ss");
	{
		static const char body[] = "\x10\0\0\0org.dsud1.Update\0\0\0\0\6\0\0\0Report";
		uint32_t n = sizeof(body);

		memcpy(call + 4, &n, sizeof(n));
		memcpy(call + length, body, sizeof(body));
		length += sizeof(body);
	}
	for (uint32_t serial = 1; serial <= 1000; serial++) {
		memcpy(call + 8, &serial, sizeof(serial));
		if (send(deaf, call, length, MSG_NOSIGNAL) < 0)
			break;
	}
	expect_dropped(deaf);
	expect_served(bus);
	expect_small(fixture);
	bus_fixture_end(pid);
}

/* --- too many ----------------------------------------------------------------------------- */

static size_t count_lines(int fd, const char *part)
{
	INJ_CLOSE int again = dup(fd);
	INJ_CLEANUP(inj_file_guard) FILE *file = NULL;
	char line[1024];
	size_t n = 0;

	cr_assert_eq(lseek(fd, 0, SEEK_SET), 0);
	file = fdopen(again, "r");
	cr_assert_not_null(file);
	inj_take_fd(&again);
	while (fgets(line, sizeof(line), file))
		n += strstr(line, part) != NULL;
	return n;
}

/* Start the daemon with its words in a file of ours. */
static struct bus_fixture *start_listened(int *ret_words)
{
	struct bus_fixture *fixture = bus_fixture_prepare(SCRIPTED_DAEMON, false);
	int saved = dup(STDERR_FILENO);

	*ret_words = memfd_create("words", MFD_CLOEXEC);
	cr_assert_geq(*ret_words, 0);
	fflush(stderr);
	dup2(*ret_words, STDERR_FILENO);
	bus_fixture_start(fixture, NULL);
	dup2(saved, STDERR_FILENO);
	close(saved);
	return fixture;
}

Test(limits, a_crowd_at_the_door_is_turned_away_quietly)
{
	INJ_CLOSE int words = -1;
	BUS_FIXTURE fixture = start_listened(&words);
	BUS bus = bus_fixture_private(fixture);
	int fds[500];
	char byte;

	expect_served(bus);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(fds); i++)
		fds[i] = connect_to(fixture);
	/* The last one was turned away, so all before it were met. */
	cr_assert_eq(read(fds[INJ_ARRAY_LENGTH(fds) - 1], &byte, 1), 0);
	expect_served(bus);
	cr_assert_eq(count_lines(words, "clients are connected already"), 1);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(fds); i++)
		close(fds[i]);
	/* There is room again, once it has noticed. */
	for (bool served = false; !served;) {
		BUS other = bus_fixture_private(fixture);
		uint32_t n;

		served = sd_bus_get_property_trivial(other, DSUD_BUS_NAME, DSUD_PATH_ROOT,
						     DSUD_IFACE_MANAGER, "NUpdates", NULL, 'u',
						     &n) >= 0;
	}
}

Test(limits, without_descriptors_it_neither_spins_nor_forgets_anybody)
{
	INJ_CLOSE int words = -1;
	int fds[60];

	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &(struct rlimit){1024, 1024}), 0);

	BUS_FIXTURE fixture = start_listened(&words);
	BUS bus = bus_fixture_private(fixture);

	expect_served(bus);
	cr_assert_eq(prlimit(fixture->daemon_pid, RLIMIT_NOFILE, &(struct rlimit){24, 1024}, NULL),
		     0);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(fds); i++)
		fds[i] = connect_to(fixture);
	/* Each turn of its loop would tell, if it turned because of those at the door. */
	for (int i = 0; i < 300; i++)
		expect_served(bus);
	cr_assert_geq(count_lines(words, "cannot accept clients"), 1);
	cr_assert_leq(count_lines(words, "cannot accept clients"), 20);
	/* An update needs descriptors, too; it is told, and nothing is left of it. */
	pid_t pid = bus_fixture_sleeper();
	INJ_CLOSE int fd = bus_fixture_script(fixture, "id one");
	BUS_ERROR error = SD_BUS_ERROR_NULL;

	cr_assert_lt(bus_apply(bus, fd, pid, NULL, &error), 0);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(fds); i++)
		close(fds[i]);
	cr_assert_eq(
		prlimit(fixture->daemon_pid, RLIMIT_NOFILE, &(struct rlimit){1024, 1024}, NULL), 0);
	BUS other = bus_fixture_private(fixture);
	char path[128];

	bus_apply_script(fixture, other, "id one", pid, path);
	bus_await_state(other, path, DSUD_STATE_DONE, NULL);
	bus_fixture_end(pid);
}

Test(limits, thousands_of_updates_leave_nothing_behind)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	char path[128];
	long early_kb = 0;

	for (int i = 0; i < 2000; i++) {
		bus_apply_script(fixture, bus, "result refused", pid, path);
		bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
		if (i == 200)
			early_kb = resident_kb(fixture->daemon_pid);
	}
#ifndef __SANITIZE_ADDRESS__
	cr_assert_lt(resident_kb(fixture->daemon_pid) - early_kb, 1024);
#endif
	bus_fixture_end(pid);
}

/* --- too large ---------------------------------------------------------------------------- */

static int revert_named(sd_bus *bus, const char *selector, const char *value, size_t n,
			sd_bus_error *error)
{
	BUS_MESSAGE call = NULL;

	cr_assert(sd_bus_message_new_method_call(bus, &call, DSUD_BUS_NAME, DSUD_PATH_ROOT,
						 DSUD_IFACE_MANAGER, DSUD_METHOD_REVERT) >= 0);
	cr_assert(sd_bus_message_append(call, "s", "one") >= 0);
	cr_assert(sd_bus_message_open_container(call, 'a', "(ss)") >= 0);
	for (size_t i = 0; i < n; i++)
		cr_assert(sd_bus_message_append(call, "(ss)", selector, value) >= 0);
	cr_assert(sd_bus_message_close_container(call) >= 0);
	cr_assert(sd_bus_message_append(call, "a{sv}", 0) >= 0);
	return sd_bus_call(bus, call, 0, error, NULL);
}

Test(limits, huge_lists_are_refused)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	BUS_ERROR many = SD_BUS_ERROR_NULL;
	BUS_ERROR searches = SD_BUS_ERROR_NULL;
	pid_t pid = bus_fixture_sleeper();
	char text[16];

	snprintf(text, sizeof(text), "%d", (int)pid);
	cr_assert_lt(revert_named(bus, DSUD_SELECT_PID, text, 1000000, &many), 0);
	cr_assert_str_eq(many.name, DSUD_ERROR_BUSY, "%s", many.message);
	cr_assert_lt(revert_named(bus, DSUD_SELECT_COMM, "test-bus-limits", 17, &searches), 0);
	cr_assert_str_eq(searches.name, DSUD_ERROR_BUSY, "%s", searches.message);
	cr_assert_not_null(strstr(searches.message, "by exe, comm or unit"));
	cr_assert_geq(revert_named(bus, DSUD_SELECT_PID, text, 200, NULL), 0);
	expect_small(fixture);
	bus_fixture_end(pid);
}

/* --- the system bus ----------------------------------------------------------------------- */

/* In a process of its own, as nobody: large calls, one after the other, answers unread. */
static pid_t start_flood(const struct bus_fixture *fixture, size_t n_targets)
{
	pid_t parent = getpid();
	pid_t pid = fork();
	BUS_MESSAGE call = NULL;
	sd_bus *bus = NULL;

	cr_assert(pid >= 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 ||
	    setuid(NOBODY) < 0 || sd_bus_new(&bus) < 0 ||
	    sd_bus_set_address(bus, fixture->bus_address) < 0 ||
	    sd_bus_set_bus_client(bus, 1) < 0 || sd_bus_start(bus) < 0)
		_exit(1);
	for (;;) {
		if (sd_bus_message_new_method_call(bus, &call, DSUD_BUS_NAME, DSUD_PATH_ROOT,
						   DSUD_IFACE_MANAGER, DSUD_METHOD_REVERT) < 0 ||
		    sd_bus_message_append(call, "s", "one") < 0 ||
		    sd_bus_message_open_container(call, 'a', "(ss)") < 0)
			_exit(1);
		for (size_t i = 0; i < n_targets; i++)
			sd_bus_message_append(call, "(ss)", "exe",
					      "/a/rather/long/path/to/nothing");
		if (sd_bus_message_close_container(call) < 0 ||
		    sd_bus_message_append(call, "a{sv}", 0) < 0 ||
		    sd_bus_send(bus, call, NULL) < 0 || sd_bus_flush(bus) < 0)
			_exit(0);
		call = sd_bus_message_unref(call);
		while (sd_bus_process(bus, NULL) > 0)
			;
	}
}

Test(limits, a_flood_from_another_user_drowns_nobody)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, true);
	struct authority *authority = authority_start(fixture, AUTHORITY_SILENT);
	BUS bus = bus_fixture_system(fixture);
	pid_t pid = bus_fixture_sleeper();
	pid_t floods[] = {
		start_flood(fixture, 100),
		start_flood(fixture, 100),
		start_flood(fixture, 50000),
		start_flood(fixture, 50000),
	};
	char path[128];

	/* They have come through to polkit, and go on. */
	authority_await(authority);
	for (int i = 0; i < 20; i++) {
		bus_apply_script(fixture, bus, "result refused", pid, path);
		bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
	}
	cr_assert_leq(authority->n_asked, 32);
	expect_small(fixture);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(floods); i++)
		bus_fixture_end(floods[i]);
	bus_fixture_end(pid);
}
