/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dsuctl where no daemon runs: usage, doctor, and how it says that there is nobody to ask. */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "injector/base/types.h"
#include "tests/bus/dsuctl/cli.h"
#include "tests/support/need.h"
#include "tests/support/victim.h"

#define NOBODY "--socket=/nonexistent/dsud"

Test(alone, help_and_version)
{
	CLI cli = {0};

	RUN(&cli, "--help");
	cli_expect_code(&cli, 0);
	cli_expect_out(&cli, "apply");
	cli_expect_out(&cli, "--timeout=SECONDS");
	cli_done(&cli);
	RUN(&cli, "--version");
	cli_expect_code(&cli, 0);
	cli_expect_out(&cli, "dsuctl ");
}

/* Where a document is wanted, nothing else is on standard output, be it ever so helpful. */
Test(alone, help_and_version_in_json)
{
	CLI cli = {0};
	json_t *document;

	RUN(&cli, "--json=short", "--version");
	cli_expect_code(&cli, 0);
	document = cli_document(&cli);
	cr_assert_gt(strlen(json_string_value(json_object_get(document, "version"))), 0);
	json_decref(document);
	cli_done(&cli);

	RUN(&cli, "--help", "--json=pretty");
	cli_expect_code(&cli, 0);
	document = cli_document(&cli);
	cr_assert_gt(json_array_size(json_object_get(document, "commands")), 8);
	cli_expect_err(&cli, "--timeout=SECONDS");
	json_decref(document);
}

/* An answer that was lost on the way is no success. */
Test(alone, output_that_cannot_be_written)
{
	static const char *const arguments[] = {"", "--json=short"};

	need_file("/dev/full", "the kernel");
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(arguments); i++) {
		char command[1024];
		int status;

		snprintf(command, sizeof(command),
			 "'%s/dsuctl/dsuctl' %s inspect '%s' > /dev/full 2>&1",
			 getenv("DSU_BUILD_ROOT"), arguments[i],
			 build_path("tests/patches/link/plain.so"));
		status = system(command);
		cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1, "status %#x", status);
	}
}

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || c == '-';
}

/* Every long option of the summary has its place in the manual, written `Fl -name`. */
Test(alone, the_manual_knows_every_option)
{
	static char manual[65536];
	CLI cli = {0};
	FILE *file = fopen(source_path("docs/man/dsuctl.1"), "re");
	size_t n_options = 0;

	cr_assert_not_null(file);
	cr_assert_gt(fread(manual, 1, sizeof(manual) - 1, file), 0);
	fclose(file);
	RUN(&cli, "--help");
	for (const char *at = cli.out; (at = strstr(at, " --")); n_options++) {
		char macro[64] = "Fl ";
		size_t length = 3;

		for (at += 2; is_name(*at) && length < sizeof(macro) - 1; at++)
			macro[length++] = *at;
		cr_assert(strstr(manual, macro), "%s is not in dsuctl(1)", macro);
	}
	cr_assert_gt(n_options, 12);
}

Test(alone, the_manual_is_well_formed)
{
	char command[1024];
	int status;

	need_program("mandoc", "mandoc");
	snprintf(command, sizeof(command), "mandoc -Tlint -Wwarning '%s'",
		 source_path("docs/man/dsuctl.1"));
	status = system(command);
	cr_assert_eq(status, 0, "status %#x", status);
}

Test(alone, wrong_usage)
{
	static const char *const cases[][6] = {
		{NULL},
		{"frobnicate"},
		{"apply"},
		{"apply", "/dev/null"},
		{"apply", "--pid=1"},
		{"apply", "/dev/null", "--pid=x"},
		{"apply", "/dev/null", "4711"},
		{"revert", "--pid=1"},
		{"status", "1"},
		{"status", "--timeout=1"},
		{"stacks"},
		{"inspect"},
		{"inspect", "a", "b"},
		{"doctor", "--pid=1"},
		{"--no-such-option", "status"},
		{"status", "--json=xml"},
		{"apply", "/nonexistent/patch.so", "--pid=1"},
		{"inspect", "/nonexistent/patch.so"},
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++) {
		CLI cli = {0};

		cli_run(&cli, cases[i]);
		cr_assert_eq(cli.code, 2, "case %zu: code %d, %s", i, cli.code, cli.err);
		cr_assert_str_eq(cli.out, "", "case %zu", i);
		cli_expect_err(&cli, "dsuctl: ");
	}
}

/* One document, whatever went wrong. */
Test(alone, wrong_usage_in_json)
{
	static const struct {
		const char *list; /* where the answer would have been */
		const char *arguments[6];
	} cases[] = {
		{"", {"--json=short"}},
		{"", {"--json=short", "frobnicate"}},
		{"targets", {"apply", "--json=pretty"}},
		{"targets", {"apply", "x.so", "--pid=0", "--json", "short"}},
		{"targets", {"--no-such-option", "revert", "--json=short"}},
		{"targets", {"--json=short", "check", "x.so", "--timeout=soon"}},
		{"processes", {"status", "--pid=x", "--json=short"}},
		{"", {"inspect", "/nonexistent/patch.so", "--json=short"}},
		{"", {"build", "x.c", "--json=short"}},
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++) {
		CLI cli = {0};
		json_t *document;

		cli_run(&cli, cases[i].arguments);
		cr_assert_eq(cli.code, 2, "case %zu: code %d, %s", i, cli.code, cli.err);
		document = cli_document(&cli);
		cr_assert_eq(json_is_array(json_object_get(document, cases[i].list)),
			     *cases[i].list != '\0', "case %zu: %s", i, cli.out);
		cr_assert(json_is_string(json_object_get(document, "error")), "case %zu", i);
		cr_assert(json_is_string(json_object_get(document, "message")), "case %zu", i);
		json_decref(document);
	}
}

Test(alone, no_daemon)
{
	const char *patch = cli_file("p.so", "not read here");
	const char *const cases[][8] = {
		{NOBODY, "--json=short", "apply", patch, "--pid=1"},
		{NOBODY, "--json=short", "revert", "x", "--pid=1"},
		{NOBODY, "--json=short", "check", patch, "--pid=1"},
		{NOBODY, "--json=short", "status"},
		{NOBODY, "--json=short", "stacks", "--pid=1"},
		{NOBODY, "--json=short", "monitor"},
		{"--state-dir=/nonexistent", "--json=short", "status"},
	};
	static const char *const lists[] = {"targets",	 "targets", "targets",	"processes",
					    "processes", NULL,	    "processes"};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++) {
		CLI cli = {0};
		json_t *document;

		cli_run(&cli, cases[i]);
		cli_expect_code(&cli, 7);
		cli_expect_err(&cli, "systemctl start dsud");
		cli_expect_err(&cli, "sudo dsud &");
		document = cli_document(&cli);
		cr_assert_str_eq(json_string_value(json_object_get(document, "error")),
				 "org.freedesktop.DBus.Error.ServiceUnknown");
		if (lists[i])
			cr_assert(json_is_array(json_object_get(document, lists[i])), "%zu", i);
		json_decref(document);
	}
}

Test(alone, a_socket_that_nobody_serves)
{
	const char *path = cli_file("dead", "a file, not a socket");
	char option[256];
	CLI cli = {0};

	snprintf(option, sizeof(option), "--socket=%s", path);
	RUN(&cli, option, "status");
	cli_expect_code(&cli, 7);
}

Test(alone, a_path_too_long_for_a_socket)
{
	char option[400];
	CLI cli = {0};

	snprintf(option, sizeof(option), "--socket=/%0300d", 0);
	RUN(&cli, option, "status");
	cli_expect_code(&cli, 7);
}

Test(alone, what_is_no_regular_file_is_no_patch)
{
	const char *fifo = cli_file("fifo", NULL);
	CLI cli = {0};

	cr_assert_eq(mkfifo(fifo, 0600), 0);
	RUN(&cli, NOBODY, "--json=short", "apply", fifo, "--pid=1");
	cli_expect_code(&cli, 4);
	cli_expect_out(&cli, "org.dsud1.Error.BadPatch");
	cli_done(&cli);
	RUN(&cli, "--json=short", "inspect", "/tmp");
	cli_expect_code(&cli, 4);
	cli_expect_out(&cli, "org.dsud1.Error.BadPatch");
}

Test(alone, units_need_systemd)
{
	struct stat status;
	CLI cli = {0};

	if (stat("/run/systemd/system", &status) == 0)
		cr_skip_test("systemd runs here");
	RUN(&cli, NOBODY, "status", "--unit=redis.service");
	cli_expect_code(&cli, 5);
	cli_expect_err(&cli, "No systemd runs here");
}

Test(alone, build_says_how_to_compile)
{
	CLI cli = {0};

	RUN(&cli, "build", "fix.c");
	cli_expect_code(&cli, 2);
	cli_expect_err(&cli, "cc -shared -fPIC -O2 fix.c");
}

Test(alone, doctor_document)
{
	static const char *const required[] = {"kernel", "yama", "cap-sys-ptrace", "ptrace",
					       "process-vm-readv", "mem-write", "memfd-exec",
					       "pidfd", "confinement"};
	CLI cli = {0};
	json_t *document, *checks, *check;
	bool is_ready = true;
	size_t index, n_found = 0;

	RUN(&cli, NOBODY, "doctor", "--json=short");
	document = cli_document(&cli);
	checks = json_object_get(document, "checks");
	json_array_foreach(checks, index, check) {
		const char *state = json_string_value(json_object_get(check, "state"));
		const char *name = json_string_value(json_object_get(check, "name"));
		const char *advice = json_string_value(json_object_get(check, "advice"));

		cr_assert(strcmp(state, "ok") == 0 || strcmp(state, "limited") == 0 ||
			  strcmp(state, "missing") == 0, "%s", state);
		cr_assert_eq(*advice == '\0', strcmp(state, "ok") == 0, "%s", name);
		for (size_t i = 0; i < INJ_ARRAY_LENGTH(required); i++)
			n_found += strcmp(name, required[i]) == 0;
		if (json_is_true(json_object_get(check, "required")) &&
		    strcmp(state, "missing") == 0)
			is_ready = false;
		if (strcmp(name, "daemon") == 0)
			cr_assert_str_eq(state, "missing");
	}
	cr_assert_eq(n_found, INJ_ARRAY_LENGTH(required));
	cr_assert_eq(json_is_true(json_object_get(document, "ready")), is_ready);
	cli_expect_code(&cli, is_ready ? 0 : 1);
	json_decref(document);
}

/* From here on, neither we nor those we start can have a filter of their own. */
static void forbid_filters(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_SET_SECCOMP, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = INJ_ARRAY_LENGTH(code), .filter = code};

	cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* The file is not at fault, so nobody is told that it attacks them. */
Test(alone, nothing_is_read_where_nobody_can_be_confined)
{
	const char *patch = cli_file("some.so", "whatever it is");
	CLI cli = {0};

	forbid_filters();
	RUN(&cli, "inspect", patch);
	cli_expect_code(&cli, 1);
	cli_expect_err(&cli, "cannot be confined on this host");
	cr_assert_null(strstr(cli.err, "attack"));
	cli_done(&cli);
	RUN(&cli, NOBODY, "doctor");
	cli_expect_code(&cli, 1);
	cli_expect_out(&cli, "a child could not be confined");
	cli_expect_out(&cli, "confinement: Run a kernel with seccomp filters");
}

Test(alone, doctor_for_people)
{
	CLI cli = {0};

	RUN(&cli, NOBODY, "doctor");
	cli_expect_out(&cli, "process-vm-readv");
	cli_expect_out(&cli, "What to do:");
	cli_expect_out(&cli, "daemon: Start it");
	cr_assert_null(strchr(cli.out, '\033'));
	cli_done(&cli);
	RUN(&cli, NOBODY, "doctor", "--quiet");
	cr_assert_str_eq(cli.out, "");
}
