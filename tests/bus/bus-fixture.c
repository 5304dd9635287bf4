/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the daemons and buses that tests start, and their directory. Nothing sleeps: readiness comes
 * by sd_notify(), changes come as signals on the bus, ends come by waitpid().
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "injector/base/clock.h"
#include "tests/bus/bus-fixture.h"
#include "tests/support/need.h"
#include "tests/support/victim.h"

/* Lets the real polkit have its name. */
#define POLKIT_CONFIG "/usr/share/dbus-1/system.d/org.freedesktop.PolicyKit1.conf"

/* The policy that is installed, and otherwise everything a test needs. */
static const char bus_config[] =
	"<busconfig>\n"
	" <type>system</type>\n"
	" <listen>unix:path=%s/bus</listen>\n"
	" <auth>EXTERNAL</auth>\n"
	" <policy context=\"default\">\n"
	"  <allow user=\"*\"/>\n"
	"  <deny own=\"*\"/>\n"
	"  <deny send_type=\"method_call\"/>\n"
	"  <allow send_type=\"signal\"/>\n"
	"  <allow send_requested_reply=\"true\" send_type=\"method_return\"/>\n"
	"  <allow send_requested_reply=\"true\" send_type=\"error\"/>\n"
	"  <allow receive_type=\"method_call\"/>\n"
	"  <allow receive_type=\"method_return\"/>\n"
	"  <allow receive_type=\"error\"/>\n"
	"  <allow receive_type=\"signal\"/>\n"
	"  <allow send_destination=\"org.freedesktop.DBus\"/>\n"
	" </policy>\n"
	" <policy user=\"root\">\n"
	"  <allow own=\"org.freedesktop.PolicyKit1\"/>\n"
	"  <allow send_destination=\"org.freedesktop.PolicyKit1\"/>\n"
	" </policy>\n"
	" <include ignore_missing=\"yes\">" POLKIT_CONFIG "</include>\n"
	" <include>%s</include>\n"
	"</busconfig>\n";

/* --- processes ---------------------------------------------------------------------------- */

static void die_with(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
}

static int wait_for_end(pid_t pid)
{
	INJ_CLOSE int pidfd = pidfd_open(pid, 0);
	struct pollfd polled = {.fd = pidfd, .events = POLLIN};
	int status;

	cr_assert(pidfd >= 0, "no process %d", (int)pid);
	if (poll(&polled, 1, BUS_DEADLINE_MS) != 1) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		cr_assert_fail("process %d does not end", (int)pid);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return status;
}

void bus_fixture_end(pid_t pid)
{
	kill(pid, SIGKILL);
	wait_for_end(pid);
}

pid_t bus_fixture_sleeper(void)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	cr_assert(pid >= 0);
	if (pid == 0) {
		die_with(parent);
		for (;;)
			pause();
	}
	return pid;
}

static int count_message(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	return 0;
}

/* Any signal is a reason to look again. */
static void wait_for_signal(sd_bus *bus, uint64_t deadline_ns)
{
	int r = sd_bus_process(bus, NULL);

	cr_assert(r >= 0, "the connection is gone");
	if (r > 0)
		return;
	cr_assert(inj_remaining_ns(deadline_ns) > 0, "nothing happens any more");
	r = sd_bus_wait(bus, inj_remaining_ns(deadline_ns) / 1000);
	cr_assert(r >= 0 || r == -EINTR);
}

/* --- system bus --------------------------------------------------------------------------- */

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	cr_assert_not_null(file, "cannot write %s", path);
	fputs(text, file);
	cr_assert_eq(fclose(file), 0);
}

static void read_address(int fd, char *buffer, size_t size)
{
	struct pollfd polled = {.fd = fd, .events = POLLIN};
	ssize_t n;

	cr_assert_eq(poll(&polled, 1, BUS_DEADLINE_MS), 1, "dbus-daemon does not start");
	n = read(fd, buffer, size - 1);
	cr_assert(n > 0, "dbus-daemon does not start");
	buffer[n] = '\0';
	/* Its guid is another one after a restart, and clients would insist on the first. */
	buffer[strcspn(buffer, ",\n")] = '\0';
}

static void start_bus(struct bus_fixture *fixture)
{
	const char *dbus = need_program("dbus-daemon", "dbus");
	char config[8192];
	char config_path[160];
	char option[200];
	pid_t parent = getpid();
	int pipe_fds[2];

	snprintf(config, sizeof(config), bus_config, fixture->directory,
		 source_path("dsud/data/org.dsud1.conf"));
	snprintf(config_path, sizeof(config_path), "%s/bus.conf", fixture->directory);
	write_file(config_path, config);
	snprintf(option, sizeof(option), "--config-file=%s", config_path);
	cr_assert_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	fixture->dbus_pid = fork();
	if (fixture->dbus_pid == 0) {
		die_with(parent);
		dup2(pipe_fds[1], 3);
		execl(dbus, dbus, option, "--nofork", "--nopidfile", "--print-address=3", NULL);
		_exit(127);
	}
	close(pipe_fds[1]);
	read_address(pipe_fds[0], fixture->bus_address, sizeof(fixture->bus_address));
	close(pipe_fds[0]);
}

void bus_fixture_restart_bus(struct bus_fixture *fixture)
{
	if (fixture->dbus_pid > 0)
		bus_fixture_end(fixture->dbus_pid);
	start_bus(fixture);
}

/* --- the daemon --------------------------------------------------------------------------- */

static void open_notify(struct bus_fixture *fixture)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", fixture->directory);
	unlink(address.sun_path);
	fixture->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(fixture->notify_fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

struct bus_fixture *bus_fixture_prepare(const char *program, bool with_system_bus)
{
	struct bus_fixture *fixture = calloc(1, sizeof(*fixture));

	need_root();
	cr_assert_not_null(fixture);
	strcpy(fixture->directory, "/tmp/dsud-test-XXXXXX");
	cr_assert_not_null(mkdtemp(fixture->directory));
	/* A client with another user id comes here. */
	cr_assert_eq(chmod(fixture->directory, 0755), 0);
	snprintf(fixture->program, sizeof(fixture->program), "%s", build_path(program));
	snprintf(fixture->socket_path, sizeof(fixture->socket_path), "%s/private",
		 fixture->directory);
	snprintf(fixture->state_dir, sizeof(fixture->state_dir), "%s/state", fixture->directory);
	snprintf(fixture->scripts, sizeof(fixture->scripts), "%s/scripts", fixture->directory);
	cr_assert_eq(mkdir(fixture->scripts, 0700), 0);
	fixture->notify_fd = -1;
	if (with_system_bus)
		start_bus(fixture);
	return fixture;
}

static void exec_daemon(const struct bus_fixture *fixture, const char *const *extra)
{
	const char *argv[16];
	char socket_option[160];
	char state_option[160];
	char notify[160];
	size_t n = 0;

	snprintf(socket_option, sizeof(socket_option), "--socket=%s", fixture->socket_path);
	snprintf(state_option, sizeof(state_option), "--state-dir=%s", fixture->state_dir);
	snprintf(notify, sizeof(notify), "%s/notify", fixture->directory);
	argv[n++] = fixture->program;
	if (!fixture->without_socket)
		argv[n++] = socket_option;
	argv[n++] = state_option;
	argv[n++] = fixture->bus_address[0] ? "--system-bus=yes" : "--no-system-bus";
	while (extra && *extra && n < 15)
		argv[n++] = *extra++;
	argv[n] = NULL;
	setenv("NOTIFY_SOCKET", notify, 1);
	setenv("DSUD_SCRIPTS", fixture->scripts, 1);
	setenv("DBUS_SYSTEM_BUS_ADDRESS", fixture->bus_address, 1);
	execv(fixture->program, (char *const *)argv);
	_exit(127);
}

pid_t bus_fixture_spawn(struct bus_fixture *fixture, const char *const *extra, int errors)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	cr_assert(pid >= 0);
	if (pid > 0)
		return pid;
	die_with(parent);
	if (errors >= 0)
		dup2(errors, STDERR_FILENO);
	exec_daemon(fixture, extra);
	_exit(127);
}

static void await_ready(struct bus_fixture *fixture)
{
	INJ_CLOSE int pidfd = pidfd_open(fixture->daemon_pid, 0);
	struct pollfd polled[] = {
		{.fd = fixture->notify_fd, .events = POLLIN},
		{.fd = pidfd, .events = POLLIN},
	};
	char text[512];

	for (;;) {
		cr_assert(poll(polled, 2, BUS_DEADLINE_MS) > 0, "the daemon does not get ready");
		if (polled[0].revents) {
			ssize_t n = recv(fixture->notify_fd, text, sizeof(text) - 1, 0);

			text[n > 0 ? n : 0] = '\0';
			if (strstr(text, "READY=1"))
				return;
		} else {
			cr_assert(!polled[1].revents, "the daemon ended instead of getting ready");
		}
	}
}

void bus_fixture_start(struct bus_fixture *fixture, const char *const *extra)
{
	open_notify(fixture);
	fixture->daemon_pid = bus_fixture_spawn(fixture, extra, -1);
	await_ready(fixture);
	/* Nobody reads it from here on. */
	inj_close_guard(&fixture->notify_fd);
	fixture->notify_fd = -1;
}

struct bus_fixture *bus_fixture_new(const char *program, bool with_system_bus)
{
	struct bus_fixture *fixture = bus_fixture_prepare(program, with_system_bus);

	bus_fixture_start(fixture, NULL);
	return fixture;
}

int bus_fixture_stop(struct bus_fixture *fixture)
{
	pid_t pid = fixture->daemon_pid;

	fixture->daemon_pid = 0;
	cr_assert_eq(kill(pid, SIGTERM), 0);
	return wait_for_end(pid);
}

void bus_fixture_kill(struct bus_fixture *fixture)
{
	bus_fixture_end(fixture->daemon_pid);
	fixture->daemon_pid = 0;
}

int bus_fixture_fail(struct bus_fixture *fixture, const char *const *extra, char *text, size_t size)
{
	INJ_CLOSE int errors = memfd_create("errors", MFD_CLOEXEC);
	pid_t pid = bus_fixture_spawn(fixture, extra, errors);
	int status = wait_for_end(pid);
	ssize_t n = pread(errors, text, size - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	cr_assert(WIFEXITED(status), "it was killed");
	return WEXITSTATUS(status);
}

void bus_fixture_await_name(const struct bus_fixture *fixture)
{
	uint64_t deadline_ns = inj_now_ns() + BUS_DEADLINE_MS * UINT64_C(1000000);
	BUS bus = bus_fixture_system(fixture);

	cr_assert(sd_bus_match_signal(bus, NULL, "org.freedesktop.DBus", NULL, NULL,
				      "NameOwnerChanged", count_message, NULL) >= 0);
	while (sd_bus_get_name_creds(bus, DSUD_BUS_NAME, 0, NULL) < 0)
		wait_for_signal(bus, deadline_ns);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	return remove(path);
}

void bus_fixture_free(struct bus_fixture *fixture)
{
	if (!fixture)
		return;
	if (fixture->daemon_pid > 0)
		bus_fixture_stop(fixture);
	if (fixture->dbus_pid > 0)
		bus_fixture_end(fixture->dbus_pid);
	inj_close_guard(&fixture->notify_fd);
	nftw(fixture->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(fixture);
}

/* --- clients ------------------------------------------------------------------------------ */

sd_bus *bus_fixture_private(const struct bus_fixture *fixture)
{
	char address[160];
	sd_bus *bus = NULL;

	snprintf(address, sizeof(address), "unix:path=%s", fixture->socket_path);
	cr_assert(sd_bus_new(&bus) >= 0);
	cr_assert(sd_bus_set_address(bus, address) >= 0);
	cr_assert(sd_bus_start(bus) >= 0, "cannot connect to %s", fixture->socket_path);
	return bus;
}

sd_bus *bus_fixture_system(const struct bus_fixture *fixture)
{
	sd_bus *bus = NULL;

	cr_assert(sd_bus_new(&bus) >= 0);
	cr_assert(sd_bus_set_address(bus, fixture->bus_address) >= 0);
	cr_assert(sd_bus_set_bus_client(bus, 1) >= 0);
	cr_assert(sd_bus_start(bus) >= 0, "cannot connect to %s", fixture->bus_address);
	return bus;
}

int bus_fixture_script(const struct bus_fixture *fixture, const char *text)
{
	int fd = memfd_create("script", MFD_CLOEXEC);

	cr_assert(fd >= 0);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return fd;
}

static void script_path(const struct bus_fixture *fixture, const char *name, char path[static 256])
{
	snprintf(path, 256, "%s/%s", fixture->scripts, name);
}

void bus_fixture_write(const struct bus_fixture *fixture, const char *name, const char *text)
{
	char path[256];

	script_path(fixture, name, path);
	write_file(path, text);
}

void bus_fixture_gate(const struct bus_fixture *fixture, const char *name)
{
	char path[256];

	script_path(fixture, name, path);
	cr_assert_eq(mkfifo(path, 0600), 0);
}

void bus_fixture_open_gate(const struct bus_fixture *fixture, const char *name)
{
	char path[256];
	int fd;

	/* Opening waits for the reader; closing tells it. */
	script_path(fixture, name, path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	cr_assert(fd >= 0);
	cr_assert_eq(write(fd, "", 1), 1);
	close(fd);
}

int bus_apply(sd_bus *bus, int patch_fd, pid_t pid, const char **ret_path, sd_bus_error *error)
{
	static char path[128];
	BUS_MESSAGE reply = NULL;
	char text[16];
	const char *found;
	int r;

	snprintf(text, sizeof(text), "%d", (int)pid);
	r = sd_bus_call_method(bus, DSUD_BUS_NAME, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER,
			       DSUD_METHOD_APPLY, error, &reply, "hsa(ss)a{sv}", patch_fd, "script",
			       1, DSUD_SELECT_PID, text, 0);
	if (r < 0)
		return r;
	cr_assert(sd_bus_message_read(reply, "o", &found) > 0);
	snprintf(path, sizeof(path), "%s", found);
	if (ret_path)
		*ret_path = path;
	return 0;
}

void bus_apply_script(const struct bus_fixture *fixture, sd_bus *bus, const char *script,
		      pid_t pid, char *path)
{
	INJ_CLOSE int fd = bus_fixture_script(fixture, script);
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	const char *found;
	int r = bus_apply(bus, fd, pid, &found, &error);

	cr_assert(r >= 0, "Apply: %s: %s", error.name, error.message);
	strcpy(path, found);
}

const char *bus_get_string(sd_bus *bus, const char *path, const char *interface,
			   const char *property)
{
	static char value[512];
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	INJ_FREE char *text = NULL;
	int r = sd_bus_get_property_string(bus, DSUD_BUS_NAME, path, interface, property, &error,
					   &text);

	if (r < 0 && sd_bus_error_has_name(&error, SD_BUS_ERROR_UNKNOWN_OBJECT))
		return "(gone)";
	cr_assert(r >= 0, "%s %s: %s", path, property, error.message);
	snprintf(value, sizeof(value), "%s", text);
	return value;
}

unsigned bus_get_u32(sd_bus *bus, const char *path, const char *interface, const char *property)
{
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	uint32_t value;
	int r = sd_bus_get_property_trivial(bus, DSUD_BUS_NAME, path, interface, property, &error,
					    'u', &value);

	cr_assert(r >= 0, "%s %s: %s", path, property, error.message);
	return value;
}

static void await(sd_bus *bus, const char *path, const char *interface, const char *property,
		  const char *value, const char *other)
{
	uint64_t deadline_ns = inj_now_ns() + BUS_DEADLINE_MS * UINT64_C(1000000);
	sd_bus_slot *slot = NULL;

	cr_assert(sd_bus_match_signal(bus, &slot, NULL, NULL, NULL, NULL, count_message, NULL) >=
		  0);
	for (;;) {
		const char *now = bus_get_string(bus, path, interface, property);

		if (strcmp(now, value) == 0 || (other && strcmp(now, other) == 0))
			break;
		wait_for_signal(bus, deadline_ns);
	}
	sd_bus_slot_unref(slot);
}

void bus_await_state(sd_bus *bus, const char *path, const char *state, const char *other)
{
	await(bus, path, DSUD_IFACE_UPDATE, "State", state, other);
}

void bus_await_string(sd_bus *bus, const char *path, const char *interface, const char *property,
		      const char *value)
{
	await(bus, path, interface, property, value, NULL);
}

const char *bus_report_string(sd_bus *bus, const char *path, const char *key)
{
	static char value[1024];
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	BUS_MESSAGE reply = NULL;
	const char *name;
	const char *text;
	int r = sd_bus_get_property(bus, DSUD_BUS_NAME, path, DSUD_IFACE_UPDATE, "Report", &error,
				    &reply, "aa{sv}");

	cr_assert(r >= 0, "%s Report: %s", path, error.message);
	value[0] = '\0';
	cr_assert(sd_bus_message_enter_container(reply, 'a', "a{sv}") > 0);
	cr_assert(sd_bus_message_enter_container(reply, 'a', "{sv}") > 0, "the report is empty");
	while (sd_bus_message_enter_container(reply, 'e', "sv") > 0) {
		cr_assert(sd_bus_message_read(reply, "s", &name) > 0);
		if (strcmp(name, key) == 0 && sd_bus_message_read(reply, "v", "s", &text) > 0)
			snprintf(value, sizeof(value), "%s", text);
		else
			sd_bus_message_skip(reply, "v");
		sd_bus_message_exit_container(reply);
	}
	return value;
}
