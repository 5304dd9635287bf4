/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A target in a container, the daemon outside: its pid is another one there, its files are
 * elsewhere, and at their paths the host has other ones.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bus/bus-fixture.h"
#include "tests/bus/dsuctl/cli.h"
#include "tests/support/need.h"
#include "tests/support/snapshot.h"
#include "tests/support/victim.h"

#define PATCH "tests/bus/dsuctl/awkward-answer.so"
/* Another program on every host. */
#define PROGRAM "/usr/bin/true"

/* A root directory with the victim, its libraries, and the directories to mount on. */
static const char *make_root(const struct bus_fixture *fixture)
{
	static char root[256];
	char command[2 * PATH_MAX];

	snprintf(root, sizeof(root), "%s/root", fixture->directory);
	snprintf(command, sizeof(command),
		 "set -e; mkdir -p '%s' && cd '%s' && mkdir -p proc lib64 deep usr/bin && cp '%s' "
		 ".%s && cp -L /lib64/ld-linux-x86-64.so.2 lib64 && for f in $(ldd '%s' | sed -n "
		 "'s/.*=> \\(\\/[^ ]*\\).*/\\1/p'); do cp -L $f deep; done",
		 root, root, build_path("tests/bus/dsuctl/awkward"), PROGRAM,
		 build_path("tests/bus/dsuctl/awkward"));
	cr_assert_eq(system(command), 0);
	return root;
}

/* The first process inside, by the number that it has outside. */
static pid_t pid_inside(const struct victim *container)
{
	INJ_CLEANUP(inj_file_guard) FILE *file = NULL;
	char path[64];
	int pid = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)container->pid,
		 (int)container->pid);
	file = fopen(path, "re");
	cr_assert(file && fscanf(file, "%d", &pid) == 1);
	return pid;
}

static void expect_module(const struct cli *cli, const char *name)
{
	json_t *document = cli_expect_target(cli, "applied", "");
	json_t *target = json_array_get(json_object_get(document, "targets"), 0);
	json_t *function = json_array_get(json_object_get(target, "functions"), 0);

	cr_assert_str_eq(json_string_value(json_object_get(function, "module")), name);
	json_decref(document);
}

ParameterizedTestParameters(container, come_and_go)
{
	static char ways[][8] = { "pivot", "user", "chroot" };

	return cr_make_param_array(char[8], ways, INJ_ARRAY_LENGTH(ways));
}

ParameterizedTest(char way[8], container, come_and_go)
{
	char connection[256], pid_option[32], program[PATH_MAX];
	BUS_FIXTURE fixture = NULL;
	VICTIM victim = NULL;

	need_root();
	fixture = bus_fixture_new("dsud/dsud", false);
	snprintf(connection, sizeof(connection), "--socket=%s", fixture->socket_path);
	snprintf(program, sizeof(program), "%s", build_path("tests/victims/container"));

	char *argv[] = { program, way, (char *)make_root(fixture), (char *)PROGRAM, NULL };

	victim = victim_spawn(argv);
	need(strcmp(victim_hear(victim), "ready") == 0, "namespaces are not to be had");
	snprintf(pid_option, sizeof(pid_option), "--pid=%d", (int)pid_inside(victim));

	for (int round = 0; round < 3; round++) {
		CLI cli = {0};
		SNAPSHOT before = snapshot_take(pid_inside(victim));

		RUN(&cli, connection, "--json=short", "check", build_path(PATCH), pid_option);
		cli_expect_code(&cli, 0);
		json_decref(cli_expect_target(&cli, "unchanged", ""));
		snapshot_expect_same(before, SNAPSHOT_DATA);
		cli_done(&cli);

		victim_expect(victim, "answer", "42");
		RUN(&cli, connection, "--json=short", "apply", build_path(PATCH), pid_option);
		cli_expect_code(&cli, 0);
		expect_module(&cli, "true");
		victim_expect(victim, "answer", "43");
		cli_done(&cli);

		RUN(&cli, connection, "--json=short", "status", pid_option);
		cli_expect_code(&cli, 0);
		cli_expect_out(&cli, "awkward-answer");
		cli_expect_out(&cli, PROGRAM);
		cli_done(&cli);

		/* By names of the program itself and of its library. */
		RUN(&cli, connection, "stacks", pid_option);
		cli_expect_code(&cli, 0);
		cli_expect_out(&cli, "main+0x");
		cli_expect_out(&cli, "libc.so.6");
		cli_done(&cli);

		RUN(&cli, connection, "--json=short", "revert", "awkward-answer", pid_option);
		cli_expect_code(&cli, 0);
		json_decref(cli_expect_target(&cli, "reverted", ""));
		victim_expect(victim, "answer", "42");
	}
}
