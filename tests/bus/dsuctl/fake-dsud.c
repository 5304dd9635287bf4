/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A daemon for tests of dsuctl: speaks the contract on a socket, touches no process. The name of
 * the patch (up to its first dot) chooses what happens to an update; see `scenes`. Everything that
 * was asked is told back in the report's notes, so that a test can see what arrived. Prints
 * "ready", then a line for each thing that a test may have to wait for. Ends with its standard
 * input.
 *
 *   fake-dsud SOCKET
 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "dsud/contract.h"

#define UPDATE_PATH DSUD_PATH_UPDATES "/1"

static sd_event *loop;
static char scene[64];
static char asked[4096];

static void must(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "fake-dsud: %s: %s\n", what, strerror(-r));
	exit(1);
}

static void tell(const char *word)
{
	printf("%s\n", word);
	fflush(stdout);
}

static bool is_scene(const char *name)
{
	return strcmp(scene, name) == 0;
}

/* Reports: one target, as the contract has it. */

static int add_function(sd_bus_message *m, const char *via)
{
	return sd_bus_message_append(m, "aa{sv}", 1, 7,
				     "module", "s", "server",
				     "build_id", "s", "00ff",
				     "name", "s", "hello",
				     "address", "s", "0x401000",
				     "replacement", "s", "0x7f0000001000",
				     "via", "s", via,
				     "new_name", "s", "hello_v2");
}

static void add_functions(sd_bus_message *m, const char *key)
{
	must(sd_bus_message_open_container(m, 'e', "sv"), "entry");
	must(sd_bus_message_append(m, "s", key), "key");
	must(sd_bus_message_open_container(m, 'v', "aa{sv}"), "variant");
	must(add_function(m, "stub"), "function");
	must(sd_bus_message_close_container(m), "variant");
	must(sd_bus_message_close_container(m), "entry");
}

static void add_target(sd_bus_message *m, unsigned pid, const char *result, const char *error,
		       const char *message)
{
	must(sd_bus_message_open_container(m, 'a', "{sv}"), "target");
	must(sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}{sv}{sv}",
				   "pid", "u", pid,
				   "patch", "s", "hello-v2",
				   "result", "s", result,
				   "protocol", "s", "safe-redefine",
				   "attempts", "u", 2,
				   "held_ns", "t", (uint64_t)81234,
				   "total_ns", "t", (uint64_t)4123456), "facts");
	add_functions(m, "functions");
	if (*error)
		must(sd_bus_message_append(m, "{sv}{sv}", "error", "s", error, "message", "s",
					   message), "error");
	if (strcmp(result, "blocked") == 0 || is_scene("waiting"))
		must(sd_bus_message_append(m, "{sv}", "blockers", "aa{sv}", 1, 6,
					   "tid", "u", pid + 1,
					   "comm", "s", "worker\033[31m",
					   "function", "s", "hello",
					   "frame", "u", 2,
					   "address", "s", "0x401010",
					   "reliable", "b", 1), "blockers");
	must(sd_bus_message_append(m, "{sv}{sv}", "comm", "s", "server", "notes", "as", 1, asked),
	     "notes");
	must(sd_bus_message_close_container(m), "target");
}

static void add_report(sd_bus_message *m)
{
	must(sd_bus_message_open_container(m, 'a', "a{sv}"), "report");
	if (is_scene("blocked"))
		add_target(m, 4711, "blocked", DSUD_ERROR_BLOCKED, "Thread 4712 stayed in hello.");
	else if (is_scene("slow") || is_scene("stubborn"))
		add_target(m, 4711, "unchanged", DSUD_ERROR_CANCELLED, "It was cancelled.");
	else if (is_scene("gone"))
		add_target(m, 4711, "gone", DSUD_ERROR_PREFIX "ProcessGone", "It ended.");
	else if (is_scene("hostile"))
		add_target(m, 4711, "refused", DSUD_ERROR_PREFIX "NoSuchSymbol",
			   "\033[2J\aNo function \x1b]0;evil\n here.");
	else if (is_scene("unchanged") || is_scene("waiting"))
		add_target(m, 4711, "unchanged", "", "");
	else if (is_scene("reverted"))
		add_target(m, 4711, "reverted", "", "");
	else
		add_target(m, 4711, "applied", "", "");
	if (is_scene("mixed"))
		add_target(m, 4800, "refused", DSUD_ERROR_PREFIX "NoSuchSymbol", "No hello there.");
	must(sd_bus_message_close_container(m), "report");
}

/* What was asked, for the notes. */

static void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *format, ...)
{
	size_t used = strlen(asked);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(asked + used, sizeof(asked) - used, format, arguments);
	va_end(arguments);
}

static void read_patch(sd_bus_message *m)
{
	char link[40], target[256] = "";
	struct stat status;
	const char *name;
	int fd;

	must(sd_bus_message_read(m, "hs", &fd, &name), "patch");
	must(fstat(fd, &status) < 0 ? -errno : 0, "fstat");
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	must(readlink(link, target, sizeof(target) - 1) < 0 ? -errno : 0, "readlink");
	note("patch=%s bytes=%lld%s ", name, (long long)status.st_size,
	     strncmp(target, "/memfd:", 7) == 0 ? "" : " of a file");
	snprintf(scene, sizeof(scene), "%.*s", (int)strcspn(name, "."), name);
}

static void read_targets(sd_bus_message *m)
{
	const char *kind, *value;

	must(sd_bus_message_enter_container(m, 'a', "(ss)"), "targets");
	while (sd_bus_message_read(m, "(ss)", &kind, &value) > 0)
		note("%s=%s ", kind, value);
	must(sd_bus_message_exit_container(m), "targets");
}

static void read_options(sd_bus_message *m)
{
	const char *key, *text;
	uint64_t number;
	int fd;

	must(sd_bus_message_enter_container(m, 'a', "{sv}"), "options");
	while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
		must(sd_bus_message_read(m, "s", &key), "option");
		if (strcmp(key, DSUD_OPTION_TIMEOUT) == 0) {
			must(sd_bus_message_read(m, "v", "t", &number), key);
			note("timeout=%llu ", (unsigned long long)number);
		} else if (strcmp(key, DSUD_OPTION_PROTOCOL) == 0) {
			must(sd_bus_message_read(m, "v", "s", &text), key);
			note("protocol=%s ", text);
		} else {
			must(sd_bus_message_read(m, "v", "h", &fd), key);
			note("%s=given ", key);
		}
		must(sd_bus_message_exit_container(m), "option");
	}
	must(sd_bus_message_exit_container(m), "options");
}

/* Signals of the one update. */

static void emit_completed(sd_bus *bus)
{
	sd_bus_message *m;

	must(sd_bus_message_new_signal(bus, &m, UPDATE_PATH, DSUD_IFACE_UPDATE,
				       DSUD_SIGNAL_COMPLETED), "signal");
	if (is_scene("garbage"))
		must(sd_bus_message_append(m, "s", "no report"), "garbage");
	else
		add_report(m);
	must(sd_bus_send(bus, m, NULL), "send");
	sd_bus_message_unref(m);
}

static void emit_progress(sd_bus *bus)
{
	must(sd_bus_emit_signal(bus, UPDATE_PATH, DSUD_IFACE_UPDATE, DSUD_SIGNAL_PROGRESS, "a{sv}",
				5, "phase", "s", "wait", "pid", "u", 4711, "attempt", "u", 3,
				"remaining_usec", "t", (uint64_t)7500000, "text", "s",
				"worker(4712) is in hello"), "progress");
}

static void emit_events(sd_bus *bus)
{
	must(sd_bus_emit_signal(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, DSUD_SIGNAL_UPDATE_NEW,
				"o", UPDATE_PATH), "new");
	must(sd_bus_emit_signal(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
				DSUD_SIGNAL_UPDATE_PROGRESS, "oa{sv}", UPDATE_PATH, 2, "phase", "s",
				"wait", "attempt", "u", 3), "progress");
	must(sd_bus_emit_signal(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
				DSUD_SIGNAL_UPDATE_COMPLETED, "oa{sv}", UPDATE_PATH, 0), "end");
}

/* An update is started: reply, and then what the scene says. */
static int start(sd_bus_message *m, sd_bus_error *error)
{
	sd_bus *bus = sd_bus_message_get_bus(m);

	if (is_scene("busy"))
		return sd_bus_error_set(error, DSUD_ERROR_BUSY, "Too many updates.");
	if (is_scene("denied"))
		return sd_bus_error_set(error, DSUD_ERROR_ACCESS_DENIED, "Not for you.");
	if (is_scene("early"))
		emit_completed(bus);
	must(sd_bus_reply_method_return(m, "o", UPDATE_PATH), "reply");
	if (is_scene("early"))
		return 1;
	if (is_scene("die")) {
		sd_bus_flush(bus);
		exit(0);
	}
	if (is_scene("slow") || is_scene("stubborn") || is_scene("won"))
		emit_progress(bus);
	else
		emit_completed(bus);
	sd_bus_flush(bus);
	tell("started");
	return 1;
}

static int on_apply(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	asked[0] = '\0';
	read_patch(m);
	read_targets(m);
	read_options(m);
	return start(m, error);
}

static int on_revert(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *id;

	asked[0] = '\0';
	must(sd_bus_message_read(m, "s", &id), "id");
	snprintf(scene, sizeof(scene), "%s", id);
	note("id=%s ", id);
	read_targets(m);
	read_options(m);
	return start(m, error);
}

static int on_check(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	sd_bus_message *reply;

	asked[0] = '\0';
	read_patch(m);
	read_targets(m);
	read_options(m);
	must(sd_bus_message_new_method_return(m, &reply), "reply");
	add_report(reply);
	must(sd_bus_send(NULL, reply, NULL), "send");
	sd_bus_message_unref(reply);
	return 1;
}

static int on_cancel(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	sd_bus *bus = sd_bus_message_get_bus(m);

	must(sd_bus_reply_method_return(m, ""), "reply");
	if (!is_scene("stubborn"))
		emit_completed(bus);
	sd_bus_flush(bus);
	tell("cancelled");
	return 1;
}

static void add_status(sd_bus_message *m)
{
	must(sd_bus_message_open_container(m, 'a', "{sv}"), "process");
	must(sd_bus_message_append(m, "{sv}{sv}{sv}", "pid", "u", 4711, "comm", "s", "server",
				   "exe", "s", "/usr/bin/server"), "facts");
	must(sd_bus_message_open_container(m, 'e', "sv"), "entry");
	must(sd_bus_message_append(m, "s", "patches"), "key");
	must(sd_bus_message_open_container(m, 'v', "aa{sv}"), "variant");
	must(sd_bus_message_open_container(m, 'a', "a{sv}"), "patches");
	must(sd_bus_message_open_container(m, 'a', "{sv}"), "patch");
	must(sd_bus_message_append(m, "{sv}{sv}{sv}{sv}{sv}", "id", "s", "hello-v2", "version", "s",
				   "1.0", "state", "s", "active", "applied_at", "s",
				   "2024-05-06T07:08:09+00:00", "protocol", "s", "safe-redefine"),
	     "patch");
	add_functions(m, "functions");
	for (int i = 0; i < 5; i++)
		must(sd_bus_message_close_container(m), "close");
}

static int on_status(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	sd_bus_message *reply;

	asked[0] = '\0';
	read_targets(m);
	must(sd_bus_message_new_method_return(m, &reply), "reply");
	must(sd_bus_message_open_container(reply, 'a', "a{sv}"), "list");
	if (strstr(asked, "pid=1 "))
		must(sd_bus_message_append(reply, "a{sv}", 4, "pid", "u", 1, "result", "s",
					   "refused", "error", "s", DSUD_ERROR_NO_SUCH_PROCESS,
					   "message", "s", "There is no process 1."), "error");
	else if (strstr(asked, "comm=none "))
		;
	else
		add_status(reply);
	/* Somebody's process that only looks patched, where nobody was named. */
	if (asked[0] == '\0')
		must(sd_bus_message_append(reply, "a{sv}", 3, "pid", "u", 4712, "error", "s",
					   DSUD_ERROR_UNSUPPORTED_PROCESS, "message", "s",
					   "Its records are forged."), "odd one");
	must(sd_bus_message_close_container(reply), "list");
	must(sd_bus_send(NULL, reply, NULL), "send");
	sd_bus_message_unref(reply);
	return 1;
}

static int on_stacks(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	asked[0] = '\0';
	read_targets(m);
	read_options(m);
	return sd_bus_reply_method_return(
		m, "aa{sv}", 1, 4, "pid", "u", 4711, "comm", "s", "server", "notes", "as", 1, asked,
		"threads", "aa{sv}", 2,
			4, "tid", "u", 4711, "comm", "s", "server", "reliable", "b", 1,
			"frames", "aa{sv}", 2,
				6, "frame", "u", 0, "address", "s", "0x401010", "function", "s",
				"hello", "offset", "t", (uint64_t)16, "module", "s", "server",
				"mark", "s", "patched",
				6, "frame", "u", 1, "address", "s", "0x401100", "function", "s",
				"main", "offset", "t", (uint64_t)256, "module", "s", "server",
				"mark", "s", "to-be-patched",
			4, "tid", "u", 4712, "comm", "s", "worker", "reliable", "b", 0,
			"frames", "aa{sv}", 1,
				6, "frame", "u", 0, "address", "s", "0x7f00", "function", "s", "",
				"offset", "t", (uint64_t)0, "module", "s", "", "mark", "s", "");
}

static int on_list_updates(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	return sd_bus_reply_method_return(m, "a(tsssso)", 2, (uint64_t)1, "apply", "hello-v2",
					  "running", "", UPDATE_PATH, (uint64_t)2, "apply", "old",
					  "done", "applied", DSUD_PATH_UPDATES "/2");
}

static int get_property(sd_bus *bus, const char *path, const char *interface, const char *property,
			sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	if (strcmp(property, "Number") == 0)
		return sd_bus_message_append(reply, "t", (uint64_t)1);
	if (strcmp(property, "Attempt") == 0)
		return sd_bus_message_append(reply, "u", 3);
	if (strcmp(property, "Targets") == 0)
		return sd_bus_message_append(reply, "au", 2, 4711, 4800);
	if (strcmp(property, "Report") == 0) {
		add_report(reply);
		return 0;
	}
	return sd_bus_message_append(reply, "s",
				     strcmp(property, "Kind") == 0    ? "apply"
				     : strcmp(property, "Patch") == 0 ? "hello-v2"
				     : strcmp(property, "State") == 0 ? "running"
								      : "wait");
}

#define PROPERTY(name, type) SD_BUS_PROPERTY(name, type, get_property, 0, 0)

static const sd_bus_vtable manager_table[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Apply", "hsa(ss)a{sv}", "o", on_apply, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Revert", "sa(ss)a{sv}", "o", on_revert, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Check", "hsa(ss)a{sv}", "aa{sv}", on_check, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Stacks", "a(ss)a{sv}", "aa{sv}", on_stacks, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Status", "a(ss)", "aa{sv}", on_status, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("ListUpdates", "", "a(tsssso)", on_list_updates, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static const sd_bus_vtable update_table[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Cancel", "", "", on_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
	PROPERTY("Number", "t"),
	PROPERTY("Kind", "s"),
	PROPERTY("Patch", "s"),
	PROPERTY("State", "s"),
	PROPERTY("Phase", "s"),
	PROPERTY("Attempt", "u"),
	PROPERTY("Targets", "au"),
	/* As dsud has it: not among all properties, because it is not for everybody. */
	SD_BUS_PROPERTY("Report", "aa{sv}", get_property, 0,
			SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION |
				SD_BUS_VTABLE_PROPERTY_EXPLICIT),
	SD_BUS_VTABLE_END,
};

static sd_bus *last_connection;

static int on_connection(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	sd_id128_t id;
	sd_bus *bus;

	must(peer < 0 ? -errno : 0, "accept");
	must(sd_id128_randomize(&id), "id");
	must(sd_bus_new(&bus), "bus");
	must(sd_bus_set_fd(bus, peer, peer), "fd");
	must(sd_bus_set_server(bus, 1, id), "server");
	must(sd_bus_start(bus), "start");
	must(sd_bus_add_object_vtable(bus, NULL, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, manager_table,
				      NULL), "manager");
	must(sd_bus_add_object_vtable(bus, NULL, UPDATE_PATH, DSUD_IFACE_UPDATE, update_table,
				      NULL), "update");
	must(sd_bus_attach_event(bus, loop, 0), "attach");
	/* Kept until the end; a test opens a handful. */
	last_connection = bus;
	tell("connected");
	return 0;
}

/* Commands on standard input: "events" for the monitor, "die"; its end ends us. */
static int on_input(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	char line[64];
	ssize_t length = read(fd, line, sizeof(line) - 1);

	if (length <= 0)
		return sd_event_exit(loop, 0);
	line[length] = '\0';
	if (strcmp(line, "die\n") == 0)
		exit(0);
	if (strcmp(line, "events\n") == 0)
		emit_events(last_connection);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (argc != 2 || strlen(argv[1]) >= sizeof(address.sun_path) || fd < 0)
		return 2;
	strcpy(address.sun_path, argv[1]);
	must(bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0, "bind");
	must(listen(fd, 8) < 0 ? -errno : 0, "listen");
	must(sd_event_new(&loop), "loop");
	must(sd_event_add_io(loop, NULL, fd, EPOLLIN, on_connection, NULL), "socket");
	must(sd_event_add_io(loop, NULL, STDIN_FILENO, EPOLLIN, on_input, NULL), "input");
	tell("ready");
	must(sd_event_loop(loop), "loop");
	return 0;
}
