/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * New code has names in gdb and perf, taken from nothing but the process; and the process runs on
 * afterwards.
 */
#include <criterion/criterion.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/need.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define PATCH(name) "tests/patches/live/" name ".so"
#define UPDATE INJ_CLEANUP(update_done) struct update

static char directory[] = "/tmp/dsu-test-names-XXXXXX";
static char output[1 << 18];

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	return remove(path);
}

static void make_directory(void)
{
	cr_assert(mkdtemp(directory));
}

static void remove_directory(void)
{
	nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Run a shell command; all it prints is left in `output`. Return: its exit code. */
__attribute__((format(printf, 1, 2))) static int shell(const char *format, ...)
{
	char command[4096];
	size_t n = 0;
	va_list arguments;
	FILE *pipe;
	int status;

	setenv("PYTHONDONTWRITEBYTECODE", "1", 1);
	setenv("PYTHONPATH", source_path("dsud/data/names"), 1);
	va_start(arguments, format);
	n = (size_t)vsnprintf(command, sizeof(command), format, arguments);
	va_end(arguments);
	cr_assert_lt(n, sizeof(command));
	pipe = popen(command, "r");
	cr_assert(pipe);
	n = fread(output, 1, sizeof(output) - 1, pipe);
	output[n] = '\0';
	status = pclose(pipe);
	cr_assert(WIFEXITED(status), "%s", output);
	return WEXITSTATUS(status);
}

/* gdb with the script as its gdbinit.d has it, attached to the victim. */
static void gdb(const struct victim *victim, const char *commands)
{
	char script[512];

	snprintf(script, sizeof(script), "%s", build_path("dsud/data/names/dsu-gdb.py"));
	cr_assert_eq(shell("exec timeout 60 gdb -nx -batch -iex 'set debuginfod enabled off' -iex "
			   "'source %s' -p %d %s </dev/null 2>&1",
			   script, victim->pid, commands),
		     0, "%s", output);
}

static int make_symfs(pid_t pid)
{
	char script[512];

	snprintf(script, sizeof(script), "%s", build_path("dsud/data/names/dsu-perf-symfs"));
	return shell("python3 %s %d %s/symfs 2>&1", script, pid, directory);
}

/* These words stand in this order in `output`, each in a line below the one before. */
#define expect_lines(...) expect_words((const char *[]){ __VA_ARGS__, NULL })
static void expect_words(const char *const *words)
{
	const char *at = output;

	for (; *words; words++) {
		at = strstr(at, *words);
		cr_assert(at, "no \"%s\" where it should be in:\n%s", *words, output);
		at += strcspn(at, "\n");
	}
}

static void expect_alive(struct victim *victim, const char *version)
{
	victim_expect_above(victim, "rounds", victim_ask_number(victim, "rounds") + 1);
	victim_expect(victim, "version", version);
}

static void start_updated(struct update *update, struct victim *victim, const char *patch)
{
	expect_result(update_apply(update, patch, victim->pid), UPD_APPLIED);
	victim_expect_above(victim, "rounds", victim_ask_number(victim, "rounds") + 1);
}

/* What the operator looks at may be a program that makes records up. */
Test(names, of_a_forger, .timeout = 120)
{
	static const char *const kinds[] = {"checksum", "version", "counts",     "strings",
					    "frames",   "escapes", "candidates", "crowd"};
	VICTIM victim = NULL;
	char line[64];

	need_root();
	make_directory();
	victim = victim_start("forger", NULL);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		snprintf(line, sizeof(line), "forge %s", kinds[i]);
		victim_expect(victim, line, "ok");
		shell("rm -rf %s/symfs", directory);
		cr_assert_leq(make_symfs(victim->pid), 1, "%s", output);
		cr_assert_not(strstr(output, "Traceback"), "%s: %s", kinds[i], output);
		cr_assert_not(strchr(output, '\033'), "%s: %s", kinds[i], output);
		cr_assert(output[0], "nothing was said");
	}
	remove_directory();
}

Test(names, gdb_backtrace)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	need_program("gdb", "gdb");
	victim = victim_start("hot", "1", NULL);
	start_updated(&update, victim, PATCH("hot-v2"));
	gdb(victim, "-ex 'thread apply all bt' -ex dsu-names");
	expect_lines("nanosleep", "nap_v2", "run", "start_thread");
	expect_lines("pieces of code");
	expect_alive(victim, "2");
}

Test(names, gdb_leaves_unpatched_alone)
{
	VICTIM victim = NULL;

	need_root();
	need_program("gdb", "gdb");
	victim = victim_start("hot", "1", NULL);
	gdb(victim, "-ex 'thread apply all bt' -ex dsu-names");
	expect_lines("nap", "run", "start_thread");
	cr_assert_not(strstr(output, "dsu:"), "%s", output);
	cr_assert_not(strstr(output, "pieces of code"), "%s", output);
	expect_alive(victim, "1");
}

Test(names, gdb_stub_and_helper)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	need_program("gdb", "gdb");
	victim = victim_start("hot", "1", NULL);
	start_updated(&update, victim, PATCH("hot-spin"));
	gdb(victim, "-ex 'info address nap_spin' -ex \"info symbol &'dsu stub of nap'\" "
		    "-ex 'info functions hot-spin' -ex 'thread apply all bt'");
	expect_lines("Symbol \"nap_spin\" is at 0x", "dsu stub of nap in section .text",
		     "hot-spin+0x");
	expect_lines("run", "start_thread");
	expect_alive(victim, "4");
}

/* Two updates, one of them taken back again: the names are those of what is mapped. */
Test(names, gdb_stacked)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	need_program("gdb", "gdb");
	victim = victim_start("hot", "1", NULL);
	start_updated(&update, victim, PATCH("hot-v2"));
	update_done(&update);
	update = (struct update){};
	start_updated(&update, victim, PATCH("hot-v3"));
	gdb(victim,
	    "-ex 'info address nap_v2' -ex 'info address nap_v3' -ex 'thread apply all bt'");
	expect_lines("Symbol \"nap_v2\" is at 0x", "Symbol \"nap_v3\" is at 0x", "nap_v3", "run",
		     "start_thread");
	expect_alive(victim, "3");
}

/* Names belong to one process: the next one that the same gdb attaches to does not inherit them. */
Test(names, gdb_next_process)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	VICTIM plain = NULL;
	char commands[256];

	need_root();
	need_program("gdb", "gdb");
	victim = victim_start("hot", "1", NULL);
	plain = victim_start("hot", "1", NULL);
	start_updated(&update, victim, PATCH("hot-v2"));
	snprintf(commands, sizeof(commands),
		 "-ex 'info functions nap_v' -ex detach -ex 'attach %d' -ex 'echo next\\n' -ex "
		 "'info functions nap_v' "
		 "-ex 'echo last\\n' -ex detach -ex 'attach %d' -ex 'info functions nap_v'",
		 plain->pid, victim->pid);
	gdb(victim, commands);
	expect_lines("nap_v2", "next", "All functions matching", "last", "nap_v2");
	cr_assert_gt(strstr(strstr(output, "\nnext") + 1, "nap_v2"), strstr(output, "\nlast"), "%s",
		     output);
	expect_alive(victim, "2");
	expect_alive(plain, "1");
}

Test(names, perf_report, .init = make_directory, .fini = remove_directory)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	need_program("perf", "linux-perf");
	victim = victim_start("hot", "1", NULL);
	start_updated(&update, victim, PATCH("hot-spin"));
	need(shell("perf record -q -e cpu-clock -p %d -o %s/data -- sleep 1 2>&1", victim->pid,
		   directory) == 0,
	     "perf cannot record here: %s", output);
	cr_assert_eq(make_symfs(victim->pid), 0, "%s", output);
	cr_assert_eq(
		shell("perf report -i %s/data --stdio --sort symbol --symfs %s/symfs 2>/dev/null",
		      directory, directory),
		0);
	expect_lines("nap_spin");
	expect_lines("hot-spin+0x");
	cr_assert_eq(shell("perf annotate -i %s/data --stdio --symfs %s/symfs nap_spin 2>/dev/null",
			   directory, directory),
		     0);
	expect_lines("<nap_spin>", "ret");
	cr_assert_eq(make_symfs(victim->pid), 1);
	expect_lines("is not empty");
	expect_alive(victim, "4");
}

Test(names, perf_without_update, .init = make_directory, .fini = remove_directory)
{
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("hot", "1", NULL);
	cr_assert_eq(make_symfs(victim->pid), 1);
	expect_lines("carries no update");
	expect_alive(victim, "1");
}

/* A memfd of the right name with nonsense in it: a sentence, no name, no harm. The test is its own
 * hostile target. */
Test(names, forged_record, .init = make_directory, .fini = remove_directory)
{
	static const char magic[] = "DSUKLGR1\1\0\0";
	INJ_CLOSE int fd = memfd_create("dsu:forged", MFD_CLOEXEC);
	char *record;

	need_root();
	cr_assert_eq(ftruncate(fd, 4096), 0);
	record = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	cr_assert_neq(record, MAP_FAILED);
	cr_assert_eq(make_symfs(getpid()), 1);
	expect_lines("is no record that this program knows", "carries no update");
	cr_assert_eq(pwrite(fd, magic, sizeof(magic), 0), (ssize_t)sizeof(magic));
	cr_assert_eq(pwrite(fd, "\1\0\0\0\377\377\377\377", 8, 8), 8);
	cr_assert_eq(make_symfs(getpid()), 1);
	expect_lines("cannot be 4294967295 bytes long");
	cr_assert_eq(pwrite(fd, "\0\2\0\0", 4, 12), 4);
	cr_assert_eq(make_symfs(getpid()), 1);
	expect_lines("its checksum differs");
}
