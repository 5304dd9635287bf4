/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Deaths and ends: of workers, of the daemon, of both. Whoever comes next settles what was left,
 * and what is told is what the targets carry.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/bus/bus-fixture.h"
#include "tests/support/victim.h"

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

static void expect_settled(const struct bus_fixture *fixture, sd_bus *bus, const char *path,
			   const char *result)
{
	bus_await_state(bus, path, DSUD_STATE_DONE, DSUD_STATE_CANCELLED);
	cr_assert_str_eq(bus_get_string(bus, path, DSUD_IFACE_UPDATE, "Result"), result, "%s",
			 bus_report_string(bus, path, "message"));
	cr_assert_eq(count_journals(fixture), 0);
}

/* --- workers ------------------------------------------------------------------------------ */

Test(restart, a_worker_killed_before_its_commit_changed_nothing)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	char path[128];

	bus_apply_script(fixture, bus, "id one\ndie 9", pid, path);
	expect_settled(fixture, bus, path, "failed");
	cr_assert_str_eq(bus_report_string(bus, path, "error"), DSUD_ERROR_INTERNAL);
	cr_assert_not_null(strstr(bus_report_string(bus, path, "message"), "signal 9"));
	cr_assert_not_null(strstr(bus_report_string(bus, path, "message"), "as it was"));
	cr_assert_eq(bus_get_u32(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, "NTargets"), 0);
	bus_fixture_end(pid);
}

Test(restart, a_worker_killed_after_its_commit_applied)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	char path[128];

	bus_apply_script(fixture, bus, "id one\ncommit\ndie 11", pid, path);
	expect_settled(fixture, bus, path, "applied");
	cr_assert_eq(bus_get_u32(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, "NTargets"), 1);
	bus_fixture_end(pid);
}

Test(restart, a_worker_that_says_nothing_is_not_believed)
{
	static const char *const scripts[] = {"id one\nexit", "id one\nbabble"};
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	char path[128];

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(scripts); i++) {
		bus_apply_script(fixture, bus, scripts[i], pid, path);
		expect_settled(fixture, bus, path, "failed");
	}
	bus_fixture_end(pid);
}

Test(restart, a_worker_that_hangs_is_killed_and_its_work_settled)
{
	static const char *const extra[] = {"--grace=0.2", NULL};
	BUS_FIXTURE fixture = bus_fixture_prepare(SCRIPTED_DAEMON, false);
	pid_t pid = bus_fixture_sleeper();
	char path[128];

	bus_fixture_start(fixture, extra);

	BUS bus = bus_fixture_private(fixture);

	bus_fixture_gate(fixture, "gate");
	bus_apply_script(fixture, bus, "id one\nstay gate", pid, path);
	bus_await_string(bus, path, DSUD_IFACE_UPDATE, "Phase", "wait");
	/* Its own deadline is far away, but one that is cancelled has only the grace. */
	cr_assert(sd_bus_call_method(bus, DSUD_BUS_NAME, path, DSUD_IFACE_UPDATE,
				     DSUD_METHOD_CANCEL, NULL, NULL, NULL) >= 0);
	expect_settled(fixture, bus, path, "unchanged");
	cr_assert_str_eq(bus_get_string(bus, path, DSUD_IFACE_UPDATE, "State"),
			 DSUD_STATE_CANCELLED);
	cr_assert_str_eq(bus_report_string(bus, path, "error"), DSUD_ERROR_CANCELLED);
	cr_assert_not_null(strstr(bus_report_string(bus, path, "message"), "hung"));
	bus_fixture_end(pid);
}

Test(restart, recoveries_that_die_leave_the_journal_to_the_next_daemon)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	pid_t pid = bus_fixture_sleeper();
	char path[128];
	char recover[256];

	bus_fixture_write(fixture, "recover", "die 9");
	{
		BUS bus = bus_fixture_private(fixture);

		bus_apply_script(fixture, bus, "id one\ncommit\ndie 9", pid, path);
		bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
		cr_assert_str_eq(bus_get_string(bus, path, DSUD_IFACE_UPDATE, "Result"), "failed");
		cr_assert_not_null(strstr(bus_report_string(bus, path, "message"), "journal"));
	}
	cr_assert_eq(count_journals(fixture), 2);
	cr_assert_eq(bus_fixture_stop(fixture), 0);
	cr_assert_eq(count_journals(fixture), 2);
	snprintf(recover, sizeof(recover), "%s/recover", fixture->scripts);
	cr_assert_eq(unlink(recover), 0);
	bus_fixture_start(fixture, NULL);

	BUS bus = bus_fixture_private(fixture);

	snprintf(path, sizeof(path), "%s/1", DSUD_PATH_UPDATES);
	expect_settled(fixture, bus, path, "applied");
	cr_assert_str_eq(bus_get_string(bus, path, DSUD_IFACE_UPDATE, "Kind"), "recover");
	bus_fixture_end(pid);
}

Test(restart, a_recovery_that_fails_leaves_the_journal_to_the_next_daemon)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	pid_t pid = bus_fixture_sleeper();
	char path[128];
	char recover[256];

	bus_fixture_write(fixture, "recover", "result blocked");
	{
		BUS bus = bus_fixture_private(fixture);

		bus_apply_script(fixture, bus, "id one\ncommit\ndie 9", pid, path);
		bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
		/* "Blocked" would say that the process is as it was. */
		cr_assert_str_eq(bus_get_string(bus, path, DSUD_IFACE_UPDATE, "Result"), "failed");
		cr_assert_not_null(strstr(bus_report_string(bus, path, "message"), "signal 9"));
		cr_assert_not_null(strstr(bus_report_string(bus, path, "message"), "inside f"));
		cr_assert_not_null(strstr(bus_report_string(bus, path, "message"), "journal"));
	}
	cr_assert_eq(count_journals(fixture), 2);
	/* The next one does no better. */
	cr_assert_eq(bus_fixture_stop(fixture), 0);
	bus_fixture_start(fixture, NULL);
	snprintf(path, sizeof(path), "%s/1", DSUD_PATH_UPDATES);
	{
		BUS bus = bus_fixture_private(fixture);

		bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
		cr_assert_str_eq(bus_get_string(bus, path, DSUD_IFACE_UPDATE, "Result"), "failed");
	}
	cr_assert_eq(count_journals(fixture), 2);
	cr_assert_eq(bus_fixture_stop(fixture), 0);
	snprintf(recover, sizeof(recover), "%s/recover", fixture->scripts);
	cr_assert_eq(unlink(recover), 0);
	bus_fixture_start(fixture, NULL);

	BUS bus = bus_fixture_private(fixture);

	expect_settled(fixture, bus, path, "applied");
	bus_fixture_end(pid);
}

Test(restart, what_a_worker_could_not_take_away_is_settled_by_another)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	char first[128], second[128];

	bus_apply_script(fixture, bus, "id one\nleave\nresult blocked", pid, first);
	bus_await_state(bus, first, DSUD_STATE_DONE, NULL);
	cr_assert_str_eq(bus_get_string(bus, first, DSUD_IFACE_UPDATE, "Result"), "blocked");
	/* Numbers are given in order; the first is the look for patched processes. */
	snprintf(second, sizeof(second), "%s/3", DSUD_PATH_UPDATES);
	expect_settled(fixture, bus, second, "unchanged");
	cr_assert_str_eq(bus_get_string(bus, second, DSUD_IFACE_UPDATE, "Kind"), "recover");
	cr_assert_str_eq(bus_get_string(bus, first, DSUD_IFACE_UPDATE, "Id"),
			 strdupa(bus_get_string(bus, second, DSUD_IFACE_UPDATE, "Id")));
	cr_assert_eq(bus_get_u32(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, "NTargets"), 0);
	bus_fixture_end(pid);
}

/* --- the daemon --------------------------------------------------------------------------- */

Test(restart, a_new_daemon_finds_the_patched_processes)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, true);
	pid_t pid = bus_fixture_sleeper();
	char path[128];
	char target[64];

	snprintf(target, sizeof(target), "%s/%d", DSUD_PATH_TARGETS, (int)pid);
	{
		BUS bus = bus_fixture_private(fixture);

		bus_apply_script(fixture, bus, "id one", pid, path);
		bus_await_state(bus, path, DSUD_STATE_DONE, NULL);
	}
	cr_assert_eq(bus_fixture_stop(fixture), 0);
	cr_assert_neq(access(fixture->socket_path, F_OK), 0, "the socket is left behind");
	bus_fixture_start(fixture, NULL);

	/* It is there as soon as the daemon listens. */
	BUS bus = bus_fixture_system(fixture);

	cr_assert_str_eq(bus_get_string(bus, target, DSUD_IFACE_TARGET, "Comm"), "scripted");
	bus_fixture_end(pid);
}

Test(restart, a_killed_daemon_is_replaced_and_its_update_settled)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	pid_t pid = bus_fixture_sleeper();
	char path[128];

	bus_fixture_gate(fixture, "gate");
	{
		BUS bus = bus_fixture_private(fixture);

		bus_apply_script(fixture, bus, "id one\nwait gate", pid, path);
		bus_await_string(bus, path, DSUD_IFACE_UPDATE, "Phase", "wait");
	}
	/* The worker sees the end of the daemon and undoes; the socket and the journal stay. */
	bus_fixture_kill(fixture);
	cr_assert_eq(access(fixture->socket_path, F_OK), 0);
	cr_assert_eq(count_journals(fixture), 2);
	bus_fixture_start(fixture, NULL);

	BUS bus = bus_fixture_private(fixture);

	snprintf(path, sizeof(path), "%s/1", DSUD_PATH_UPDATES);
	expect_settled(fixture, bus, path, "unchanged");
	cr_assert_eq(bus_get_u32(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, "NTargets"), 0);
	bus_fixture_end(pid);
}

Test(restart, leftovers_of_processes_that_are_gone_are_removed)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	pid_t pid = bus_fixture_sleeper();
	char path[128];

	bus_fixture_gate(fixture, "gate");
	{
		BUS bus = bus_fixture_private(fixture);

		bus_apply_script(fixture, bus, "id one\nwait gate", pid, path);
		bus_await_string(bus, path, DSUD_IFACE_UPDATE, "Phase", "wait");
	}
	bus_fixture_kill(fixture);
	bus_fixture_end(pid);
	cr_assert_eq(count_journals(fixture), 2);
	bus_fixture_start(fixture, NULL);
	cr_assert_eq(count_journals(fixture), 0);

	BUS bus = bus_fixture_private(fixture);

	snprintf(path, sizeof(path), "%s/1", DSUD_PATH_UPDATES);
	cr_assert_str_eq(bus_get_string(bus, path, DSUD_IFACE_UPDATE, "State"), "(gone)");
}

static int note_state(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
	*(bool *)userdata = true;
	return 0;
}

Test(restart, stopping_undoes_what_runs)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	BUS bus = bus_fixture_private(fixture);
	pid_t pid = bus_fixture_sleeper();
	bool completed = false;
	char path[128];
	char name[256];

	bus_fixture_gate(fixture, "gate");
	bus_apply_script(fixture, bus, "id one\nwait gate", pid, path);
	bus_await_string(bus, path, DSUD_IFACE_UPDATE, "Phase", "wait");
	cr_assert(sd_bus_match_signal(bus, NULL, NULL, path, DSUD_IFACE_UPDATE,
				      DSUD_SIGNAL_COMPLETED, note_state, &completed) >= 0);
	cr_assert_eq(bus_fixture_stop(fixture), 0);
	/* What was sent before the end is still there to be read. */
	while (sd_bus_process(bus, NULL) > 0)
		;
	cr_assert(completed, "clients were not told");
	cr_assert_eq(count_journals(fixture), 0);
	snprintf(name, sizeof(name), "%s/%d", fixture->scripts, (int)pid);
	cr_assert_neq(access(name, F_OK), 0, "it was applied");
	bus_fixture_end(pid);
}

Test(restart, a_system_bus_that_goes_away_is_met_again)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, true);

	for (int i = 0; i < 2; i++) {
		bus_fixture_restart_bus(fixture);
		bus_fixture_await_name(fixture);

		BUS bus = bus_fixture_system(fixture);

		cr_assert_str_eq(bus_get_string(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, "Version"),
				 DSU_VERSION);
	}
}

Test(restart, a_system_bus_that_comes_later_is_met)
{
	static const char *const extra[] = {"--system-bus=auto", NULL};
	BUS_FIXTURE fixture = bus_fixture_prepare(SCRIPTED_DAEMON, true);
	char path[160];

	/* No bus while the daemon starts. */
	bus_fixture_end(fixture->dbus_pid);
	snprintf(path, sizeof(path), "%s/bus", fixture->directory);
	cr_assert_eq(unlink(path), 0);
	fixture->dbus_pid = 0;
	bus_fixture_start(fixture, extra);
	{
		BUS bus = bus_fixture_private(fixture);

		cr_assert_str_eq(bus_get_string(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, "Version"),
				 DSU_VERSION);
	}
	bus_fixture_restart_bus(fixture);
	bus_fixture_await_name(fixture);
}

/* --- two daemons -------------------------------------------------------------------------- */

Test(restart, a_second_daemon_on_the_same_socket_is_refused)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	char option[192];
	const char *const extra[] = {option, NULL};
	char text[1024];

	snprintf(option, sizeof(option), "--state-dir=%s/other", fixture->directory);
	cr_assert_eq(bus_fixture_fail(fixture, extra, text, sizeof(text)), 1);
	cr_assert_not_null(strstr(text, "Another dsud listens"), "%s", text);
	cr_assert_not_null(strstr(text, fixture->socket_path), "%s", text);

	/* The first one goes on. */
	BUS bus = bus_fixture_private(fixture);

	cr_assert_str_eq(bus_get_string(bus, DSUD_PATH_ROOT, DSUD_IFACE_MANAGER, "Version"),
			 DSU_VERSION);
}

Test(restart, a_second_daemon_on_the_same_state_is_refused)
{
	BUS_FIXTURE fixture = bus_fixture_new(SCRIPTED_DAEMON, false);
	char option[192];
	const char *const extra[] = {option, NULL};
	char text[1024];

	snprintf(option, sizeof(option), "--socket=%s/other", fixture->directory);
	cr_assert_eq(bus_fixture_fail(fixture, extra, text, sizeof(text)), 1);
	cr_assert_not_null(strstr(text, "state directory"), "%s", text);
}

Test(restart, a_socket_of_another_program_is_left_alone)
{
	BUS_FIXTURE fixture = bus_fixture_prepare(SCRIPTED_DAEMON, false);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	INJ_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char text[1024];

	strcpy(address.sun_path, fixture->socket_path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(fd, 5), 0);
	cr_assert_eq(bus_fixture_fail(fixture, NULL, text, sizeof(text)), 1);
	cr_assert_not_null(strstr(text, "Another program listens"), "%s", text);
	cr_assert_eq(access(fixture->socket_path, F_OK), 0);
}

Test(restart, a_file_in_the_place_of_the_socket_is_left_alone)
{
	BUS_FIXTURE fixture = bus_fixture_prepare(SCRIPTED_DAEMON, false);
	INJ_CLOSE int fd = open(fixture->socket_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	char text[1024];

	cr_assert(fd >= 0);
	cr_assert_eq(bus_fixture_fail(fixture, NULL, text, sizeof(text)), 1);
	cr_assert_not_null(strstr(text, "is no socket"), "%s", text);
	cr_assert_eq(access(fixture->socket_path, F_OK), 0);
}

Test(restart, a_state_directory_that_others_may_write_is_refused)
{
	BUS_FIXTURE fixture = bus_fixture_prepare(SCRIPTED_DAEMON, false);
	char text[1024];

	cr_assert_eq(mkdir(fixture->state_dir, 0700), 0);
	cr_assert_eq(chmod(fixture->state_dir, 0777), 0);
	cr_assert_eq(bus_fixture_fail(fixture, NULL, text, sizeof(text)), 1);
	cr_assert_not_null(strstr(text, "Others may write"), "%s", text);
}

Test(restart, without_root_it_says_so)
{
	BUS_FIXTURE fixture = bus_fixture_prepare(SCRIPTED_DAEMON, false);
	INJ_CLOSE int errors = memfd_create("errors", MFD_CLOEXEC);
	INJ_CLOSE int program = open(fixture->program, O_RDONLY | O_CLOEXEC);
	pid_t pid = fork();
	int status;
	char text[256] = "";

	if (pid == 0) {
		char name[] = "dsud";
		char *const argv[] = {name, NULL};

		dup2(errors, STDERR_FILENO);
		/* The build directory may be out of reach for others. */
		if (setgid(65534) < 0 || setuid(65534) < 0)
			_exit(126);
		fexecve(program, argv, (char *const[]){NULL});
		_exit(127);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(pread(errors, text, sizeof(text) - 1, 0) > 0);
	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 6, "%d: %s", WEXITSTATUS(status), text);
	cr_assert_not_null(strstr(text, "root"), "%s", text);
}

/* --- a full disk -------------------------------------------------------------------------- */

static void fill(const char *directory)
{
	char name[160];
	char block[4096];
	int fd;

	memset(block, 'x', sizeof(block));
	snprintf(name, sizeof(name), "%s/full", directory);
	fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	cr_assert(fd >= 0);
	while (write(fd, block, sizeof(block)) > 0)
		;
	cr_assert_eq(errno, ENOSPC);
	close(fd);
}

Test(restart, a_full_state_directory_refuses_and_touches_nothing)
{
	BUS_FIXTURE fixture = bus_fixture_prepare(SCRIPTED_DAEMON, false);
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	INJ_CLOSE int fd = bus_fixture_script(fixture, "id one");
	pid_t pid = bus_fixture_sleeper();
	char name[256];

	/* Seen by this test and its daemon only. */
	cr_assert_eq(unshare(CLONE_NEWNS), 0);
	cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	cr_assert_eq(mkdir(fixture->state_dir, 0700), 0);
	cr_assert_eq(mount("tmpfs", fixture->state_dir, "tmpfs", 0, "size=64k,mode=0700"), 0);
	bus_fixture_start(fixture, NULL);
	fill(fixture->state_dir);

	BUS bus = bus_fixture_private(fixture);

	cr_assert_lt(bus_apply(bus, fd, pid, NULL, &error), 0);
	cr_assert_str_eq(error.name, DSUD_ERROR_INTERNAL);
	cr_assert_not_null(strstr(error.message, fixture->state_dir), "%s", error.message);
	cr_assert_not_null(strstr(error.message, "No space left"), "%s", error.message);
	cr_assert_eq(count_journals(fixture), 0);
	snprintf(name, sizeof(name), "%s/%d", fixture->scripts, (int)pid);
	cr_assert_neq(access(name, F_OK), 0);
	/* With room it works. */
	snprintf(name, sizeof(name), "%s/full", fixture->state_dir);
	cr_assert_eq(unlink(name), 0);
	cr_assert_geq(bus_apply(bus, fd, pid, NULL, NULL), 0);
	cr_assert_eq(bus_fixture_stop(fixture), 0);
	cr_assert_eq(umount2(fixture->state_dir, MNT_DETACH), 0);
	bus_fixture_end(pid);
}
