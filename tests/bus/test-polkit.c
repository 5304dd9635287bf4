/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Users other than root on the system bus: polkit decides. One that the test plays, in every mood,
 * and the real one. Clients are processes of their own, as nobody, and tell through shared memory.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "injector/base/clock.h"
#include "tests/bus/authority.h"
#include "tests/support/need.h"
#include "tests/support/victim.h"

#define NOBODY 65534
#define OTHER 1 /* daemon; a bus takes only users that have a name */

/* What a client was told. */
struct told {
	int r;
	char name[128];
	char message[512];
	char path[128];
	char other[128]; /* name of a second answer */
};

struct client {
	const char *address;
	uid_t uid;
	bool interactive;
	const char *method;
	pid_t target;
	void (*then)(sd_bus *bus, struct told *told); /* with the same connection, may be NULL */
};

static struct told *new_told(void)
{
	struct told *told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert(told != MAP_FAILED);
	return told;
}

static int append_arguments(sd_bus_message *call, const struct client *client)
{
	INJ_CLOSE int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char pid[16];
	int r = 0;

	snprintf(pid, sizeof(pid), "%d", (int)client->target);
	if (strcmp(client->method, DSUD_METHOD_APPLY) == 0 ||
	    strcmp(client->method, DSUD_METHOD_CHECK) == 0)
		r = sd_bus_message_append(call, "hs", fd, "script");
	else if (strcmp(client->method, DSUD_METHOD_REVERT) == 0)
		r = sd_bus_message_append(call, "s", "one");
	if (r >= 0)
		r = sd_bus_message_append(call, "a(ss)", 1, DSUD_SELECT_PID, pid);
	if (r >= 0 && strcmp(client->method, DSUD_METHOD_STATUS) != 0)
		r = sd_bus_message_append(call, "a{sv}", 0);
	return r;
}

static int call_as(const struct client *client, sd_bus *bus, sd_bus_error *error,
		   sd_bus_message **ret)
{
	BUS_MESSAGE call = NULL;
	int r = sd_bus_message_new_method_call(bus, &call, DSUD_BUS_NAME, DSUD_PATH_ROOT,
					       DSUD_IFACE_MANAGER, client->method);

	if (r >= 0)
		r = sd_bus_message_set_allow_interactive_authorization(call, client->interactive);
	if (r >= 0)
		r = append_arguments(call, client);
	return r < 0 ? r : sd_bus_call(bus, call, 60000000, error, ret);
}

/* In the child: no assertion, those belong to the test. */
static void behave(const struct client *client, struct told *told)
{
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	BUS_MESSAGE reply = NULL;
	sd_bus *bus = NULL;
	const char *path;

	if (setgroups(0, NULL) < 0 || setgid(client->uid) < 0 || setuid(client->uid) < 0 ||
	    sd_bus_new(&bus) < 0 || sd_bus_set_address(bus, client->address) < 0 ||
	    sd_bus_set_bus_client(bus, 1) < 0 || sd_bus_start(bus) < 0)
		_exit(1);
	told->r = call_as(client, bus, &error, &reply);
	snprintf(told->name, sizeof(told->name), "%s", error.name ? error.name : "");
	snprintf(told->message, sizeof(told->message), "%s", error.message ? error.message : "");
	if (told->r >= 0 && sd_bus_message_has_signature(reply, "o") &&
	    sd_bus_message_read(reply, "o", &path) > 0)
		snprintf(told->path, sizeof(told->path), "%s", path);
	if (client->then)
		client->then(bus, told);
	_exit(0);
}

static pid_t begin(const struct client *client, struct told *told)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	cr_assert(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		behave(client, told);
	}
	return pid;
}

static void finish(pid_t pid)
{
	int status;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the client failed");
}

static struct told *ask(const struct client *client)
{
	struct told *told = new_told();

	finish(begin(client, told));
	return told;
}

static void expect_denied(const struct told *told, const char *part)
{
	cr_assert_lt(told->r, 0, "the call was let through");
	cr_assert_str_eq(told->name, DSUD_ERROR_ACCESS_DENIED, "%s: %s", told->name, told->message);
	cr_assert_not_null(strstr(told->message, part), "'%s' does not say '%s'", told->message,
			   part);
}

/* --- moods -------------------------------------------------------------------------------- */

static const struct {
	const char *method;
	const char *action;
} actions[] = {
	{DSUD_METHOD_APPLY, DSUD_ACTION_APPLY},    {DSUD_METHOD_REVERT, DSUD_ACTION_REVERT},
	{DSUD_METHOD_CHECK, DSUD_ACTION_INSPECT},  {DSUD_METHOD_STACKS, DSUD_ACTION_INSPECT},
	{DSUD_METHOD_STATUS, DSUD_ACTION_INSPECT},
};

Test(polkit, each_method_has_its_action)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, true);
	struct authority *authority = authority_start(fixture, AUTHORITY_NO);
	pid_t pid = bus_fixture_sleeper();

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(actions); i++) {
		struct client client = {fixture->bus_address, NOBODY, .target = pid,
					.method = actions[i].method};

		expect_denied(ask(&client), "polkit says no");
		cr_assert_str_eq(authority->action, actions[i].action);
		cr_assert_eq(strncmp(authority->subject, "system-bus-name name :", 22), 0, "%s",
			     authority->subject);
		cr_assert_eq(authority->flags, 0);
		cr_assert_eq(authority->n_asked, i + 1);
	}
	bus_fixture_end(pid);
}

static void read_and_cancel(sd_bus *bus, struct told *told)
{
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	BUS_MESSAGE reply = NULL;
	int r = sd_bus_get_property(bus, DSUD_BUS_NAME, told->path, DSUD_IFACE_UPDATE, "Report",
				    &error, &reply, "aa{sv}");

	if (r >= 0)
		r = sd_bus_call_method(bus, DSUD_BUS_NAME, told->path, DSUD_IFACE_UPDATE,
				       DSUD_METHOD_CANCEL, &error, NULL, NULL);
	snprintf(told->other, sizeof(told->other), "%s", r < 0 ? error.name : "fine");
}

Test(polkit, whom_it_lets_may_and_keeps_a_hand_on_the_update)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, true);
	struct authority *authority = authority_start(fixture, AUTHORITY_YES);
	pid_t pid = bus_fixture_sleeper();
	struct client client = {fixture->bus_address, NOBODY, true, DSUD_METHOD_REVERT, pid,
				read_and_cancel};
	struct told *told = ask(&client);

	cr_assert_geq(told->r, 0, "%s: %s", told->name, told->message);
	cr_assert_eq(authority->flags, 1, "the person may be asked");
	cr_assert_str_eq(told->other, "fine");
	/* Neither needed another question. */
	cr_assert_eq(authority->n_asked, 1);
	bus_fixture_end(pid);
}

static void read_first_report(sd_bus *bus, struct told *told)
{
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	BUS_MESSAGE reply = NULL;
	int r = sd_bus_get_property(bus, DSUD_BUS_NAME, DSUD_PATH_UPDATES "/2", DSUD_IFACE_UPDATE,
				    "Report", &error, &reply, "aa{sv}");

	snprintf(told->other, sizeof(told->other), "%s", r < 0 ? error.name : "fine");
}

Test(polkit, reports_of_others_stay_closed)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, true);
	pid_t pid = bus_fixture_sleeper();
	struct client client = {fixture->bus_address, NOBODY, false, DSUD_METHOD_REVERT, pid,
				read_first_report};
	BUS bus = bus_fixture_system(fixture);
	char path[128];

	bus_apply_script(fixture, bus, "id one", pid, path);
	cr_assert_str_eq(path, DSUD_PATH_UPDATES "/2");
	bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
	authority_start(fixture, AUTHORITY_YES);

	struct told *told = ask(&client);

	cr_assert_geq(told->r, 0, "%s: %s", told->name, told->message);
	cr_assert_str_eq(told->other, DSUD_ERROR_ACCESS_DENIED);
	bus_fixture_end(pid);
}

static const struct {
	enum authority_mood mood;
	bool interactive;
	const char *part;
} refusals[] = {
	{AUTHORITY_NO, true, "polkit says no"},
	{AUTHORITY_CHALLENGE, false, "did not allow to ask"},
	{AUTHORITY_CHALLENGE, true, "nobody could be asked"},
	{AUTHORITY_BROKEN, false, "bro?ken ?[31mred"},
	{AUTHORITY_NONSENSE, false, "polkit says no"},
	{AUTHORITY_DIES, false, "did not answer in time"},
};

Test(polkit, anything_but_a_yes_is_a_no)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, true);
	BUS bus = bus_fixture_system(fixture);
	pid_t pid = bus_fixture_sleeper();
	struct authority *authority = authority_start(fixture, AUTHORITY_NO);

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(refusals); i++) {
		struct client client = {fixture->bus_address, NOBODY, refusals[i].interactive,
					DSUD_METHOD_REVERT, pid, NULL};

		authority->mood = refusals[i].mood;
		expect_denied(ask(&client), refusals[i].part);
	}
	cr_assert_eq(bus_get_u32(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, "NUpdates"), 0);
	bus_fixture_end(pid);
}

Test(polkit, without_it_only_root_may)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, true);
	BUS bus = bus_fixture_system(fixture);
	pid_t pid = bus_fixture_sleeper();
	struct client client = {fixture->bus_address, NOBODY, true, DSUD_METHOD_APPLY, pid, NULL};
	char path[128];

	expect_denied(ask(&client), "polkit does not run here");
	bus_apply_script(fixture, bus, "id one", pid, path);
	bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
	bus_fixture_end(pid);
}

Test(polkit, root_is_never_asked_about)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, true);
	struct authority *authority = authority_start(fixture, AUTHORITY_SILENT);
	BUS bus = bus_fixture_system(fixture);
	pid_t pid = bus_fixture_sleeper();
	char path[128];

	bus_apply_script(fixture, bus, "id one", pid, path);
	bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
	cr_assert_eq(authority->n_asked, 0);
	bus_fixture_end(pid);
}

/* --- silence ------------------------------------------------------------------------------ */

Test(polkit, silence_ends_in_a_no_and_holds_up_nobody_else)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, true);
	struct authority *authority = authority_start(fixture, AUTHORITY_SILENT);
	BUS bus = bus_fixture_system(fixture);
	pid_t pid = bus_fixture_sleeper();
	struct client client = {fixture->bus_address, NOBODY, false, DSUD_METHOD_APPLY, pid, NULL};
	struct told *told = new_told();
	pid_t waiting = begin(&client, told);
	char path[128];

	authority_await(authority);
	bus_apply_script(fixture, bus, "id one", pid, path);
	bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
	cr_assert_eq(told->r, 0, "it waits");
	finish(waiting);
	expect_denied(told, "did not answer in time (10 seconds");
	authority_await(authority);
	cr_assert_eq(authority->n_cancelled, 1);
	bus_fixture_end(pid);
}

Test(polkit, a_caller_that_goes_away_takes_its_question_along)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, true);
	struct authority *authority = authority_start(fixture, AUTHORITY_SILENT);
	BUS bus = bus_fixture_system(fixture);
	pid_t pid = bus_fixture_sleeper();
	struct client client = {fixture->bus_address, NOBODY, true, DSUD_METHOD_APPLY, pid, NULL};
	pid_t waiting = begin(&client, new_told());

	authority_await(authority);
	bus_fixture_end(waiting);
	authority_await(authority);
	cr_assert_eq(authority->n_cancelled, 1);
	/* A yes that comes now is for nobody. */
	authority_relent(authority);
	cr_assert_eq(bus_get_u32(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, "NUpdates"), 0);
	cr_assert_str_eq(bus_get_string(bus, DSUD_PATH_UPDATES "/2", DSUD_IFACE_UPDATE, "State"),
			 "(gone)");
	bus_fixture_end(pid);
}

Test(polkit, one_user_cannot_fill_the_waiting_room)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, true);
	struct authority *authority = authority_start(fixture, AUTHORITY_SILENT);
	pid_t pid = bus_fixture_sleeper();
	struct client client = {fixture->bus_address, NOBODY, true, DSUD_METHOD_REVERT, pid, NULL};
	struct client other = client;
	struct told *told;
	pid_t waiting[5];

	for (int i = 0; i < 4; i++) {
		waiting[i] = begin(&client, new_told());
		authority_await(authority);
	}
	told = ask(&client);
	cr_assert_str_eq(told->name, DSUD_ERROR_BUSY, "%s", told->message);
	/* Somebody else is heard. */
	other.uid = OTHER;
	waiting[4] = begin(&other, new_told());
	authority_await(authority);
	cr_assert_eq(authority->n_asked, 5);
	authority_relent(authority);
	for (int i = 0; i < 5; i++)
		finish(waiting[i]);
	bus_fixture_end(pid);
}

/* --- the real one ------------------------------------------------------------------------- */

#define POLKITD "/usr/lib/polkit-1/polkitd"

static void write_rules(void)
{
	static const char rules[] =
		"polkit.addRule(function(action, subject) {\n"
		"  if (action.id == 'org.dsud1.revert' && subject.user == 'nobody')\n"
		"    return polkit.Result.YES;\n"
		"});\n";
	FILE *file = fopen("/etc/polkit-1/rules.d/10-dsud.rules", "we");

	if (!file || fputs(rules, file) < 0 || fclose(file) != 0 ||
	    chmod("/etc/polkit-1/rules.d/10-dsud.rules", 0644) < 0)
		_exit(1);
}

/* Actions and rules of polkitd stand at fixed places: it gets a file system of its own there. */
static pid_t start_polkitd(const struct bus_fixture *fixture)
{
	pid_t parent = getpid();
	pid_t pid = fork();
	char command[1024];

	cr_assert(pid >= 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(command, sizeof(command), "cp '%s' /usr/share/polkit-1/actions/",
		 source_path("dsud/data/org.dsud1.policy"));
	if (getppid() != parent || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/usr/share/polkit-1/actions", "tmpfs", 0, "mode=755") < 0 ||
	    mount("tmpfs", "/etc/polkit-1/rules.d", "tmpfs", 0, "mode=755") < 0 ||
	    system(command) != 0)
		_exit(1);
	write_rules();
	setenv("DBUS_SYSTEM_BUS_ADDRESS", fixture->bus_address, 1);
	execl(POLKITD, POLKITD, "--no-debug", NULL);
	_exit(1);
}

static void await_polkitd(const struct bus_fixture *fixture, pid_t polkitd)
{
	uint64_t deadline_ns = inj_now_ns() + BUS_DEADLINE_MS * UINT64_C(1000000);
	BUS bus = bus_fixture_system(fixture);

	cr_assert(sd_bus_add_match(bus, NULL,
				   "type='signal',member='NameOwnerChanged',"
				   "arg0='org.freedesktop.PolicyKit1'",
				   NULL, NULL) >= 0);
	while (sd_bus_get_name_creds(bus, "org.freedesktop.PolicyKit1", 0, NULL) < 0) {
		cr_assert(inj_now_ns() < deadline_ns && waitpid(polkitd, NULL, WNOHANG) == 0,
			  "polkitd does not start");
		if (sd_bus_process(bus, NULL) == 0)
			sd_bus_wait(bus, 1000000);
	}
}

Test(polkit, the_real_one_knows_our_actions_and_obeys_its_rules)
{
	need_file(POLKITD, "polkitd");

	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, true);
	pid_t polkitd = start_polkitd(fixture);
	pid_t pid = bus_fixture_sleeper();
	struct client client = {fixture->bus_address, NOBODY, false, DSUD_METHOD_REVERT, pid, NULL};
	struct told *told;

	await_polkitd(fixture, polkitd);
	told = ask(&client);
	cr_assert_geq(told->r, 0, "%s: %s", told->name, told->message);
	client.method = DSUD_METHOD_APPLY;
	expect_denied(ask(&client), "asks for a password first");
	client.method = DSUD_METHOD_STACKS;
	expect_denied(ask(&client), "asks for a password first");
	client.uid = OTHER;
	client.method = DSUD_METHOD_REVERT;
	expect_denied(ask(&client), "asks for a password first");
	bus_fixture_end(polkitd);
	bus_fixture_end(pid);
}
