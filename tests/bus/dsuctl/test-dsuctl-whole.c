/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dsuctl, dsud and a running program: the main job, over a socket and over a bus. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/bus/authority.h"
#include "tests/bus/dsuctl/cli.h"
#include "tests/support/need.h"
#include "tests/support/victim.h"

#define PATCH(name) "tests/bus/dsuctl/awkward-" name ".so"

static char connection[256];
static char pid_option[32];

static struct victim *start_victim(void)
{
	char *argv[] = {(char *)build_path("tests/bus/dsuctl/awkward"), NULL};
	struct victim *victim = victim_spawn(argv);

	cr_assert_str_eq(victim_hear(victim), "ready");
	snprintf(pid_option, sizeof(pid_option), "--pid=%d", (int)victim->pid);
	return victim;
}

static struct bus_fixture *start_daemon(void)
{
	return bus_fixture_new("dsud/dsud", false);
}

static void connect_to(const struct bus_fixture *fixture)
{
	snprintf(connection, sizeof(connection), "--socket=%s", fixture->socket_path);
}

static void expect_one_patch(const struct cli *cli, const char *id)
{
	json_t *document = cli_document(cli);
	json_t *processes = json_object_get(document, "processes");
	json_t *patches = json_object_get(json_array_get(processes, 0), "patches");

	cr_assert_eq(json_array_size(processes), 1, "%s", cli->out);
	cr_assert_eq(json_array_size(patches), *id ? 1 : 0, "%s", cli->out);
	if (*id) {
		json_t *patch = json_array_get(patches, 0);

		cr_assert_str_eq(json_string_value(json_object_get(patch, "id")), id);
		cr_assert_str_eq(json_string_value(json_object_get(patch, "state")), "active");
	}
	json_decref(document);
}

/* check, apply, status, stacks, revert; connect: the option that leads to the daemon. */
static void do_it_all(struct victim *victim, const char *connect)
{
	const char *patch = PATCH("answer");
	CLI cli = {0};

	victim_expect(victim, "answer", "42");
	RUN(&cli, connect, "--json=short", "check", build_path(patch), pid_option);
	cli_expect_code(&cli, 0);
	json_decref(cli_expect_target(&cli, "unchanged", ""));
	victim_expect(victim, "answer", "42");
	cli_done(&cli);

	RUN(&cli, connect, "--json=short", "apply", build_path(patch), pid_option);
	cli_expect_code(&cli, 0);
	json_decref(cli_expect_target(&cli, "applied", ""));
	victim_expect(victim, "answer", "43");
	cli_done(&cli);

	RUN(&cli, connect, "--json=short", "status", pid_option);
	cli_expect_code(&cli, 0);
	expect_one_patch(&cli, "awkward-answer");
	cli_done(&cli);

	RUN(&cli, connect, "stacks", pid_option);
	cli_expect_code(&cli, 0);
	cli_expect_out(&cli, "main+0x");
	cli_done(&cli);

	RUN(&cli, connect, "--json=short", "revert", "awkward-answer", pid_option);
	cli_expect_code(&cli, 0);
	json_decref(cli_expect_target(&cli, "reverted", ""));
	victim_expect(victim, "answer", "42");
	cli_done(&cli);

	RUN(&cli, connect, "--json=short", "status", pid_option);
	cli_expect_code(&cli, 0);
	expect_one_patch(&cli, "");
}

Test(whole, over_the_private_socket)
{
	need_root();
	BUS_FIXTURE fixture = start_daemon();
	VICTIM victim = start_victim();

	connect_to(fixture);
	do_it_all(victim, connection);
	do_it_all(victim, connection);
}

/* Both sides are told nothing but the state directory, which is not there yet. */
Test(whole, over_a_state_directory_alone)
{
	need_root();
	BUS_FIXTURE fixture = bus_fixture_prepare("dsud/dsud", false);
	VICTIM victim = start_victim();

	fixture->without_socket = true;
	snprintf(fixture->state_dir, sizeof(fixture->state_dir), "%s/var/state",
		 fixture->directory);
	bus_fixture_start(fixture, NULL);
	snprintf(connection, sizeof(connection), "--state-dir=%s", fixture->state_dir);
	do_it_all(victim, connection);
}

Test(whole, over_the_system_bus)
{
	need_root();
	BUS_FIXTURE fixture = bus_fixture_new("dsud/dsud", true);
	VICTIM victim = start_victim();

	cli_set_bus(fixture->bus_address);
	do_it_all(victim, "--no-pager");
}

/* What ssh would do between two hosts, without the two hosts. */
static void fake_ssh(const char *address)
{
	char script[512];
	const char *path;

	snprintf(script, sizeof(script),
		 "#!/bin/sh\nexec systemd-stdio-bridge --bus-path='%s'\n", address);
	path = cli_file("ssh", script);
	cr_assert_eq(chmod(path, 0700), 0);
	*strrchr((char *)path, '/') = '\0';
	cli_set_path(path);
	*(strchr(path, '\0')) = '/';
}

Test(whole, over_another_hosts_bus)
{
	CLI cli = {0};

	need_root();
	need_program("systemd-stdio-bridge", "systemd");
	BUS_FIXTURE fixture = bus_fixture_new("dsud/dsud", true);
	VICTIM victim = start_victim();

	fake_ssh(fixture->bus_address);
	RUN(&cli, "--host=example.org", "--json=short", "status", pid_option);
	cli_expect_code(&cli, 0);
	expect_one_patch(&cli, "");
	cli_done(&cli);
	/* Descriptors do not travel through ssh. */
	RUN(&cli, "--host=example.org", "apply", build_path(PATCH("answer")), pid_option);
	cli_expect_code(&cli, 2);
	cli_expect_err(&cli, "copy it there");
	victim_expect(victim, "answer", "42");
}

Test(whole, blocked_until_the_deadline)
{
	CLI cli = {0};

	need_root();
	BUS_FIXTURE fixture = start_daemon();
	VICTIM victim = start_victim();

	connect_to(fixture);
	victim_expect(victim, "busy", "inside");
	RUN(&cli, connection, "stacks", pid_option, "--patch", build_path(PATCH("stay")));
	cli_expect_out(&cli, "<- to be patched");
	cli_done(&cli);
	RUN(&cli, connection, "--json=short", "apply", build_path(PATCH("stay")), pid_option,
	    "--timeout=0.3");
	cli_expect_code(&cli, 3);
	json_t *document = cli_expect_target(&cli, "blocked", "Blocked");
	json_t *target = json_array_get(json_object_get(document, "targets"), 0);
	json_t *blocker = json_array_get(json_object_get(target, "blockers"), 0);

	cr_assert_eq(json_integer_value(json_object_get(blocker, "tid")), victim->pid);
	cr_assert_str_eq(json_string_value(json_object_get(blocker, "function")), "stay");
	json_decref(document);
	victim_expect(victim, "go", "out 1");
	cli_done(&cli);
	/* Nobody is in the way any more. */
	RUN(&cli, connection, "apply", build_path(PATCH("stay")), pid_option);
	cli_expect_code(&cli, 0);
	victim_expect(victim, "busy", "out 43");
}

/* The first Ctrl-C, once the update is known to wait. */
Test(whole, an_interrupt_leaves_it_as_it_was)
{
	const char *arguments[] = {connection, "--json=short", "apply", NULL, pid_option,
				   "--timeout=60", NULL};
	CLI cli = {0};

	need_root();
	BUS_FIXTURE fixture = start_daemon();
	VICTIM victim = start_victim();

	connect_to(fixture);

	char *argv[] = {(char *)build_path("dsuctl/dsuctl"), connection, (char *)"monitor",
			(char *)"--no-legend", NULL};
	VICTIM monitor = victim_spawn(argv);

	victim_expect(victim, "busy", "inside");
	arguments[3] = build_path(PATCH("stay"));
	cli_start(&cli, arguments);
	/* Said again with every attempt, so it does not matter when the monitor began. */
	while (!strstr(victim_hear(monitor), "is in stay"))
		;
	cr_assert_eq(kill(cli.pid, SIGINT), 0);
	cli_wait(&cli);
	cli_expect_code(&cli, 1);
	cli_expect_out(&cli, "org.dsud1.Error.Cancelled");
	cli_expect_err(&cli, "Cancelling");
	victim_expect(victim, "go", "out 1");
	victim_expect(victim, "busy", "inside");
	victim_expect(victim, "go", "out 1");
}

Test(whole, two_processes_are_one_update)
{
	char both[64], one[32];
	CLI cli = {0};

	need_root();
	BUS_FIXTURE fixture = start_daemon();
	VICTIM first = start_victim();

	connect_to(fixture);
	snprintf(one, sizeof(one), "%s", pid_option);
	VICTIM second = start_victim();

	snprintf(both, sizeof(both), "%s,%d", one, (int)second->pid);
	RUN(&cli, connection, "apply", build_path(PATCH("answer")), both);
	cli_expect_code(&cli, 0);
	victim_expect(first, "answer", "43");
	victim_expect(second, "answer", "43");
	cli_done(&cli);

	RUN(&cli, connection, "revert", "awkward-answer", one);
	cli_expect_code(&cli, 0);
	victim_expect(first, "answer", "42");
	cli_done(&cli);
	/* All or none: the second has it already, so the first does not get it. */
	RUN(&cli, connection, "apply", build_path(PATCH("answer")), both);
	cli_expect_code(&cli, 4);
	victim_expect(first, "answer", "42");
	victim_expect(second, "answer", "43");
}

Test(whole, others_are_not_let_in)
{
	CLI cli = {0};

	need_root();
	BUS_FIXTURE fixture = start_daemon();
	VICTIM victim = start_victim();

	connect_to(fixture);
	cr_assert_eq(chmod(fixture->directory, 0755), 0);
	cli_set_user(65534);
	RUN(&cli, connection, "--json=short", "revert", "awkward-answer", pid_option);
	cli_expect_code(&cli, 6);
	json_decref(cli_document(&cli));
	victim_expect(victim, "answer", "42");
}

Test(whole, whom_polkit_lets_does_it_all)
{
	CLI cli = {0};

	need_root();
	BUS_FIXTURE fixture = bus_fixture_new("dsud/dsud", true);
	VICTIM victim = start_victim();
	struct authority *authority = authority_start(fixture, AUTHORITY_YES);

	cli_set_bus(fixture->bus_address);
	cli_set_user(65534);
	do_it_all(victim, "--no-pager");
	authority->mood = AUTHORITY_NO;
	RUN(&cli, "apply", build_path(PATCH("answer")), pid_option);
	cli_expect_code(&cli, 6);
	cli_expect_err(&cli, "polkit says no");
	victim_expect(victim, "answer", "42");
}

Test(whole, doctor_finds_the_daemon)
{
	CLI cli = {0};

	need_root();
	BUS_FIXTURE fixture = start_daemon();

	connect_to(fixture);
	RUN(&cli, connection, "doctor");
	cli_expect_out(&cli, fixture->socket_path);
}
