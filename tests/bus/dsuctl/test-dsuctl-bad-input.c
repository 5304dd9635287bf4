/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What cannot be done is refused with its error and its exit code, and the target is afterwards
 * what it was: same maps, same code, same answers.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bus/bus-fixture.h"
#include "tests/bus/dsuctl/cli.h"
#include "tests/support/child.h"
#include "tests/support/need.h"
#include "tests/support/snapshot.h"
#include "tests/support/victim.h"

#define PATCH(name) "tests/bus/dsuctl/awkward-" name ".so"

static struct bus_fixture *fixture;
static struct victim *victim;
static char connection[256];
static char pid_option[32];

static void target(pid_t pid)
{
	snprintf(pid_option, sizeof(pid_option), "--pid=%d", (int)pid);
}

static void setup(void)
{
	char *argv[] = {(char *)build_path("tests/bus/dsuctl/awkward"), NULL};

	need_root();
	victim = victim_spawn(argv);
	cr_assert_str_eq(victim_hear(victim), "ready");
	target(victim->pid);
	fixture = bus_fixture_new("dsud/dsud", false);
	snprintf(connection, sizeof(connection), "--socket=%s", fixture->socket_path);
}

static void teardown(void)
{
	bus_fixture_free(fixture);
	victim_free(victim);
}

TestSuite(bad_input, .init = setup, .fini = teardown);

/* What is wrong, and what to do about it. */
struct words {
	const char *what;
	const char *advice;
};

#define WORDS(what, advice) ((struct words){what, advice})

static void expect_words(const struct cli *cli, const json_t *document, struct words words)
{
	const json_t *target = json_array_get(json_object_get(document, "targets"), 0);
	const char *message =
		json_string_value(json_object_get(target ? target : document, "message"));

	cr_assert_not_null(message, "%s", cli->out);
	cr_expect(strstr(message, words.what), "\"%s\" is not in: %s", words.what, message);
	/* People get both on standard error. */
	cli_expect_err(cli, words.what);
	cli_expect_err(cli, words.advice);
}

/* Both check and apply refuse alike. */
static void expect_refusal(const char *patch, const char *result, const char *error, int code,
			   struct words words)
{
	static const char *const verbs[] = {"check", "apply"};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(verbs); i++) {
		CLI cli = {0};

		RUN(&cli, connection, "--json=short", verbs[i], patch, pid_option);
		cli_expect_code(&cli, code);

		json_t *document = cli_expect_target(&cli, result, error);

		expect_words(&cli, document, words);
		json_decref(document);
	}
}

/* The same for what the daemon turns down before there is a target to speak of. */
static void expect_failed_call(const char *verb, const char *patch, const char *error, int code,
			       struct words words)
{
	CLI cli = {0};

	RUN(&cli, connection, "--json=short", verb, patch, pid_option);
	cli_expect_code(&cli, code);

	json_t *document = cli_document(&cli);

	cr_assert_eq(json_array_size(json_object_get(document, "targets")), 0, "%s", cli.out);
	cr_assert_str_eq(json_string_value(json_object_get(document, "error")), error, "%s",
			 cli.out);
	expect_words(&cli, document, words);
	json_decref(document);
}

/* The victim is the target, and nothing of it changes. */
static void expect_untouched(const char *patch, const char *error, struct words words)
{
	char path[256];
	SNAPSHOT before = snapshot_take(victim->pid);

	snprintf(path, sizeof(path), "%s", patch);
	expect_refusal(path, "refused", error, 4, words);
	snapshot_expect_same(before, SNAPSHOT_EXACT);
	victim_expect(victim, "answer", "42");
}

Test(bad_input, no_function_of_that_name)
{
	expect_untouched(
		build_path(PATCH("absent")), "NoSuchSymbol",
		WORDS("no function no_such_function in awkward", "Check the name with `nm`"));
}

Test(bad_input, two_of_that_name)
{
	expect_untouched(build_path(PATCH("twin")), "AmbiguousSymbol",
			 WORDS("awkward-two.c:twin@", "choose one by DSU_SYMBOL(file, name)"));
}

Test(bad_input, too_short)
{
	expect_untouched(build_path(PATCH("tiny")), "FunctionTooShort",
			 WORDS("The function tiny at 0x", "Replace a caller of this function"));
}

Test(bad_input, a_symbol_that_does_not_resolve)
{
	expect_untouched(build_path(PATCH("missing")), "NoSuchSymbol",
			 WORDS("no symbol no_such_symbol", "Check the name with `nm`"));
}

Test(bad_input, not_an_elf_file)
{
	expect_untouched(cli_file("text.so", "#!/bin/sh\necho this is no patch\n"), "BadPatch",
			 WORDS("text.so is not an ELF file", "made with cc -shared"));
}

Test(bad_input, an_empty_file)
{
	const char *patch = cli_file("empty.so", "");
	SNAPSHOT before = snapshot_take(victim->pid);

	expect_failed_call("apply", patch, "org.dsud1.Error.BadPatch", 4,
			   WORDS("The patch empty.so is empty", "Build it anew"));
	snapshot_expect_same(before, SNAPSHOT_EXACT);
}

/* A copy of a good patch, with some bytes different. Return: its path. */
static const char *damaged(const char *name, size_t offset, const void *bytes, size_t n_bytes,
			   size_t n_kept)
{
	static uint8_t content[1 << 17];
	FILE *from = fopen(build_path(PATCH("answer")), "re"), *to;
	const char *path = cli_file(name, "");
	size_t length;

	cr_assert_not_null(from);
	length = fread(content, 1, sizeof(content), from);
	fclose(from);
	cr_assert(length > offset + n_bytes && length < sizeof(content));
	memcpy(content + offset, bytes, n_bytes);
	to = fopen(path, "we");
	cr_assert_eq(fwrite(content, 1, n_kept ? n_kept : length, to), n_kept ? n_kept : length);
	fclose(to);
	return path;
}

Test(bad_input, truncated)
{
	expect_untouched(damaged("cut.so", 0, "", 0, 4096), "BadPatch",
			 WORDS("cut.so is truncated", "build or copy it again"));
}

Test(bad_input, wrong_architecture)
{
	uint16_t machine = EM_AARCH64;

	expect_untouched(damaged("arm.so", offsetof(Elf64_Ehdr, e_machine), &machine, 2, 0),
			 "BadPatch", WORDS("is not for x86-64", "build it for x86-64 Linux"));
}

Test(bad_input, hostile_offsets)
{
	uint64_t far = UINT64_MAX - 16;

	expect_untouched(damaged("far.so", offsetof(Elf64_Ehdr, e_phoff), &far, 8, 0), "BadPatch",
			 WORDS("far.so is truncated: 9 program headers", "build or copy it again"));
}

Test(bad_input, applied_twice)
{
	CLI cli = {0};

	RUN(&cli, connection, "apply", build_path(PATCH("answer")), pid_option);
	cli_expect_code(&cli, 0);
	SNAPSHOT before = snapshot_take(victim->pid);

	expect_refusal(build_path(PATCH("answer")), "refused", "AlreadyApplied", 4,
		       WORDS("awkward-answer is active in process", "Revert it first"));
	snapshot_expect_same(before, SNAPSHOT_EXACT);
	victim_expect(victim, "answer", "43");
}

Test(bad_input, never_applied)
{
	SNAPSHOT before = snapshot_take(victim->pid);
	CLI cli = {0};

	RUN(&cli, connection, "--json=short", "revert", "awkward-answer", pid_option);
	cli_expect_code(&cli, 4);

	json_t *document = cli_expect_target(&cli, "refused", "NotApplied");

	expect_words(&cli, document,
		     WORDS("awkward-answer is not active", "`dsuctl status` lists"));
	json_decref(document);
	snapshot_expect_same(before, SNAPSHOT_EXACT);
}

static void be_traced(pid_t pid)
{
	int status;

	cr_assert_eq(ptrace(PTRACE_SEIZE, pid, NULL, NULL), 0);
	cr_assert_eq(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL), 0);
	cr_assert_eq(waitpid(pid, &status, __WALL), pid);
}

Test(bad_input, traced_already)
{
	be_traced(victim->pid);
	SNAPSHOT before = snapshot_take(victim->pid);

	expect_refusal(build_path(PATCH("answer")), "refused", "AlreadyTraced", 4,
		       WORDS("is traced by process", "End the debugger or strace"));
	snapshot_expect_same(before, SNAPSHOT_EXACT);
	cr_assert_eq(ptrace(PTRACE_DETACH, victim->pid, NULL, NULL), 0);
	victim_expect(victim, "answer", "42");
}

Test(bad_input, a_process_that_is_gone)
{
	pid_t pid = bus_fixture_sleeper();

	bus_fixture_end(pid);
	target(pid);
	expect_refusal(build_path(PATCH("answer")), "gone", "NoSuchProcess", 5,
		       WORDS("there is no process", "see `ps -e`"));

	static const char *const verbs[] = {"status", "stacks"};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(verbs); i++) {
		CLI cli = {0};

		RUN(&cli, connection, "--json=short", verbs[i], pid_option);
		cli_expect_code(&cli, 5);
		cli_expect_out(&cli, "{\"processes\":[{\"pid\":");
		cli_expect_out(&cli, "\"error\":\"org.dsud1.Error.NoSuchProcess\"");
		cli_expect_err(&cli, "there is no process");
		json_decref(cli_document(&cli));
	}
}

static void end_at_once(void *context)
{
	child_ready();
	_exit(0);
}

Test(bad_input, a_zombie)
{
	pid_t pid = child_start(end_at_once, NULL);

	child_await_state(pid, "Z");
	target(pid);
	expect_refusal(build_path(PATCH("answer")), "refused", "UnsupportedProcess", 4,
		       WORDS("is a zombie", "name a running process"));
	child_await_state(pid, "Z");
	child_end(pid);
}

/* A process without any mapping that is no zombie; 0 when none is visible. */
static pid_t find_kernel_thread(void)
{
	INJ_CLEANUP(inj_dir_guard) DIR *proc = opendir("/proc");
	struct dirent *entry;

	while ((entry = readdir(proc))) {
		char path[64], line[256] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/proc/%.16s/status", entry->d_name);
		file = fopen(path, "re");
		while (file && fgets(line, sizeof(line), file) && strncmp(line, "Kthread:", 8) != 0)
			;
		if (file)
			fclose(file);
		if (strcmp(line, "Kthread:\t1\n") == 0)
			return atoi(entry->d_name);
	}
	return 0;
}

Test(bad_input, a_kernel_thread)
{
	pid_t pid = find_kernel_thread();

	need(pid > 0, "no kernel thread is visible here");
	target(pid);
	expect_refusal(build_path(PATCH("answer")), "refused", "UnsupportedProcess", 4,
		       WORDS("is a kernel thread", "changed with livepatch"));
}

Test(bad_input, a_32_bit_process)
{
	VICTIM small = victim_start("single-m32", NULL);
	SNAPSHOT before = snapshot_take(small->pid);

	target(small->pid);
	expect_refusal(build_path(PATCH("answer")), "refused", "UnsupportedProcess", 4,
		       WORDS("runs a 32-bit program", "run its 64-bit build"));
	snapshot_expect_same(before, SNAPSHOT_EXACT);
	victim_expect(small, "greet", "hello");
}

Test(bad_input, the_daemon_itself)
{
	SNAPSHOT before = snapshot_take(fixture->daemon_pid);

	target(fixture->daemon_pid);
	for (int i = 0; i < 2; i++)
		expect_failed_call(i ? "apply" : "check", build_path(PATCH("answer")),
				   "org.dsud1.Error.UnsupportedProcess", 4,
				   WORDS("is dsud itself", "Name another process"));
	snapshot_expect_same(before, SNAPSHOT_DATA);
}

Test(bad_input, no_daemon)
{
	SNAPSHOT before = snapshot_take(victim->pid);

	bus_fixture_stop(fixture);
	for (int i = 0; i < 2; i++)
		expect_failed_call(i ? "apply" : "check", build_path(PATCH("answer")),
				   "org.freedesktop.DBus.Error.ServiceUnknown", 7,
				   WORDS("No daemon is reachable at", "`systemctl start dsud`"));
	snapshot_expect_same(before, SNAPSHOT_EXACT);
	victim_expect(victim, "answer", "42");
}

Test(bad_input, nobody_of_that_name)
{
	CLI cli = {0};

	RUN(&cli, connection, "--json=short", "apply", build_path(PATCH("answer")),
	    "--comm=nobody-at-all");
	cli_expect_code(&cli, 5);
	cli_expect_out(&cli, "org.dsud1.Error.NoSuchProcess");
	json_decref(cli_document(&cli));
}

static void fill(const char *directory)
{
	static const char page[4096];
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/filler", directory);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	while (write(fd, page, sizeof(page)) > 0)
		;
	cr_assert_eq(errno, ENOSPC);
	close(fd);
}

Test(bad_input, a_full_disk)
{
	SNAPSHOT before = snapshot_take(victim->pid);
	CLI cli = {0};

	/* In a mount namespace of the test's own, so nothing outlives it. */
	bus_fixture_stop(fixture);
	cr_assert_eq(unshare(CLONE_NEWNS), 0);
	cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	cr_assert(mkdir(fixture->state_dir, 0700) == 0 || errno == EEXIST);
	cr_assert_eq(mount("full", fixture->state_dir, "tmpfs", 0, "size=64k,mode=700"), 0);
	bus_fixture_start(fixture, NULL);
	fill(fixture->state_dir);

	RUN(&cli, connection, "--json=short", "apply", build_path(PATCH("answer")), pid_option);
	cli_expect_code(&cli, 1);
	cli_expect_out(&cli, "org.dsud1.Error.Internal");
	cli_expect_err(&cli, "No space left on device");
	json_decref(cli_document(&cli));
	snapshot_expect_same(before, SNAPSHOT_EXACT);
	victim_expect(victim, "answer", "42");
	bus_fixture_stop(fixture);
	umount2(fixture->state_dir, MNT_DETACH);
}
