/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which processes can be opened, which are refused and in what words. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "injector/base/io.h"
#include "injector/process/maps.h"
#include "injector/process/mem.h"
#include "injector/process/process.h"
#include "injector/process/tasks.h"
#include "tests/support/child.h"
#include "tests/support/need.h"
#include "tests/support/snapshot.h"
#include "tests/support/victim.h"

#define PROCESS INJ_CLEANUP(inj_process_guard) struct inj_process *

static void expect_refusal(pid_t pid, int code, const char *word)
{
	PROCESS process = NULL;
	struct inj_why why = {0};
	int r = inj_process_open(pid, &process, &why);

	cr_assert_eq(r, code, "%d: got %d (%s), expected %d", (int)pid, r, why.text, code);
	cr_assert_eq(why.code, code);
	cr_assert_not_null(strstr(why.text, word), "\"%s\" lacks \"%s\"", why.text, word);
	cr_assert_null(process);
	/* Nobody need listen. */
	cr_assert_eq(inj_process_open(pid, &process, NULL), code);
}

static struct inj_process *open_it(pid_t pid)
{
	struct inj_process *process = NULL;
	struct inj_why why = {0};

	cr_assert_eq(inj_process_open(pid, &process, &why), 0, "%s", why.text);
	cr_assert_eq(inj_process_check(process, &why), 0, "%s", why.text);
	return process;
}

ParameterizedTestParameters(process, opens_every_variant)
{
	static char names[][32] = {"single",	      "single-nopie",
				   "single-static",   "single-static-pie",
				   "single-stripped", "threads"};

	return cr_make_param_array(char[32], names, sizeof(names) / sizeof(names[0]));
}

ParameterizedTest(char name[32], process, opens_every_variant)
{
	need_root();

	VICTIM victim = victim_start(name, NULL);
	PROCESS process = open_it(victim->pid);
	char expected[512], comm[16];

	snprintf(expected, sizeof(expected), "tests/victims/%s", name);
	snprintf(comm, sizeof(comm), "%s", name);
	cr_assert_eq(process->pid, victim->pid);
	cr_assert_eq(process->ns_pid, victim->pid);
	cr_assert_str_eq(process->exe, build_path(expected));
	cr_assert_str_eq(process->comm, comm);
	cr_assert_gt(process->start_ticks, 0);
	cr_assert_eq(fcntl(process->pidfd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	cr_assert_eq(fcntl(process->proc_fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	victim_expect(victim, "greet", "hello");
}

Test(process, none_of_that_number)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	expect_refusal(pid, INJ_NO_SUCH_PROCESS, "there is no process");
	expect_refusal(0, INJ_NO_SUCH_PROCESS, "there is no process 0");
	expect_refusal(-1, INJ_NO_SUCH_PROCESS, "there is no process -1");
	expect_refusal(INT32_MAX, INJ_NO_SUCH_PROCESS, "there is no process 2147483647");
}

Test(process, thread_is_not_a_process)
{
	VICTIM victim = victim_start("threads", "2", NULL);
	PROCESS process = open_it(victim->pid);
	INJ_FREE pid_t *tids = NULL;
	size_t n = 0;
	char word[64];

	cr_assert_eq(inj_tasks_read(process, &tids, &n), 0);
	cr_assert_eq(n, 3);
	snprintf(word, sizeof(word), "of process %d, not a process", (int)victim->pid);
	for (size_t i = 0; i < n; i++)
		if (tids[i] != victim->pid)
			expect_refusal(tids[i], INJ_NO_SUCH_PROCESS, word);
}

Test(process, zombie)
{
	siginfo_t info;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	expect_refusal(pid, INJ_UNSUPPORTED_PROCESS, "is a zombie");
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

static void *stay(void *argument)
{
	(void)argument;
	child_rest();
}

static void end_main_thread(void *argument)
{
	pthread_t thread;

	(void)argument;
	if (pthread_create(&thread, NULL, stay, NULL) != 0)
		_exit(1);
	child_ready();
	pthread_exit(NULL);
}

Test(process, main_thread_ended)
{
	pid_t pid = child_start(end_main_thread, NULL);

	child_await_state(pid, "Z");
	expect_refusal(pid, INJ_UNSUPPORTED_PROCESS, "main thread");
	child_end(pid);
}

Test(process, kernel_thread)
{
	struct stat status;

	/* kthreadd, unless a pid namespace hides it: the kernel's own have no binary. */
	need(stat("/proc/2", &status) == 0 && access("/proc/2/exe", F_OK) != 0 && errno == ENOENT,
	     "no kernel thread is visible here (a pid namespace?)");
	expect_refusal(2, INJ_UNSUPPORTED_PROCESS, "is a kernel thread");
}

Test(process, thirty_two_bits)
{
	VICTIM victim = victim_start("single-m32", NULL);

	expect_refusal(victim->pid, INJ_UNSUPPORTED_PROCESS, "32-bit");
	victim_expect(victim, "greet", "hello");
}

static void trace(void *argument)
{
	pid_t pid = *(pid_t *)argument;

	prctl(PR_SET_NAME, "my-debugger");
	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) != 0)
		_exit(1);
	child_ready();
	child_rest();
}

Test(process, traced_by_somebody_else)
{
	need_root();

	VICTIM victim = victim_start("single", NULL);
	SNAPSHOT before = snapshot_take(victim->pid);
	pid_t tracer = child_start(trace, &victim->pid);
	char word[64];

	snprintf(word, sizeof(word), "traced by process %d (my-debugger)", (int)tracer);
	expect_refusal(victim->pid, INJ_ALREADY_TRACED, word);
	snapshot_expect_same(before, SNAPSHOT_EXACT);
	child_end(tracer);

	PROCESS process = open_it(victim->pid);

	victim_expect(victim, "greet", "hello");
}

Test(process, ourselves_and_our_daemon)
{
	expect_refusal(getpid(), INJ_UNSUPPORTED_PROCESS, "cannot hold itself");
	expect_refusal(getppid(), INJ_UNSUPPORTED_PROCESS, "the daemon that supervises");
}

/* Copies a victim to a path of its own, starts it there, then removes or replaces the file. */
static struct victim *start_copy(char *path)
{
	INJ_CLOSE int from = open(build_path("tests/victims/single"), O_RDONLY | O_CLOEXEC);
	int to = mkostemp(path, O_CLOEXEC);
	INJ_FREE char *bytes = NULL;
	size_t length = 0;

	cr_assert(from >= 0 && to >= 0);
	cr_assert_eq(inj_read_whole(from, 64 << 20, &bytes, &length), 0);
	cr_assert_eq(inj_write_full(to, bytes, length), 0);
	cr_assert_eq(fchmod(to, 0700), 0);
	close(to);
	return victim_spawn((char *[]){path, NULL});
}

Test(process, deleted_binary)
{
	char path[] = "/tmp/dsud-test-XXXXXX";
	char expected[64];
	VICTIM victim = start_copy(path);

	cr_assert_str_eq(victim_hear(victim), "ready");
	cr_assert_eq(unlink(path), 0);

	PROCESS process = open_it(victim->pid);

	snprintf(expected, sizeof(expected), "%s (deleted)", path);
	cr_assert_str_eq(process->exe, expected);
}

/* The running binary counts, not what took its place. */
Test(process, replaced_binary)
{
	char path[] = "/tmp/dsud-test-XXXXXX";
	VICTIM victim = start_copy(path);

	cr_assert_str_eq(victim_hear(victim), "ready");
	cr_assert_eq(unlink(path), 0);

	INJ_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);

	cr_assert_eq(inj_write_full(fd, "#!/bin/sh\n", 10), 0);

	PROCESS process = open_it(victim->pid);

	cr_assert_eq(unlink(path), 0);
	cr_assert_not_null(strstr(process->exe, " (deleted)"));
}

/* Everything that is asked of a process that went away says so. */
static void expect_gone(const struct inj_process *process)
{
	struct inj_why why = {0};
	struct inj_maps *maps = NULL;
	struct inj_status status;
	pid_t *tids = NULL;
	size_t n;
	char byte;
	char *text = NULL;

	cr_assert_eq(inj_process_check(process, &why), INJ_PROCESS_GONE);
	cr_assert_eq(why.pid, process->pid);
	cr_assert_eq(inj_maps_read(process, &maps, &why), INJ_PROCESS_GONE, "%s", why.text);
	cr_assert_eq(inj_mem_read(process, 0x400000, &byte, 1), -ESRCH);
	cr_assert_eq(inj_mem_read(process, (inj_addr)(uintptr_t)&n, &byte, 1), -ESRCH);
	cr_assert_eq(inj_process_openat(process, "status", O_RDONLY), -ESRCH);
	cr_assert_eq(inj_process_openat(process, "nonsense", O_RDONLY), -ESRCH);
	cr_assert_eq(inj_process_read_file(process, "maps", 100, &text, NULL), -ESRCH);
	cr_assert_eq(inj_status_read(process, process->pid, &status), -ESRCH);
	cr_assert_eq(inj_tasks_read(process, &tids, &n), -ESRCH);
}

Test(process, vanished)
{
	VICTIM victim = victim_start("single", NULL);
	PROCESS process = open_it(victim->pid);

	victim_quit(victim);
	expect_gone(process);
}

Test(process, became_a_zombie)
{
	struct inj_why why = {0};
	struct inj_maps *maps = NULL;
	siginfo_t info;
	char byte;
	VICTIM victim = victim_start("single", NULL);
	PROCESS process = open_it(victim->pid);

	victim_tell(victim, "quit");
	cr_assert_eq(waitid(P_PID, (id_t)victim->pid, &info, WEXITED | WNOWAIT), 0);
	cr_assert_eq(inj_process_check(process, &why), INJ_PROCESS_GONE);
	cr_assert_eq(inj_maps_read(process, &maps, &why), INJ_PROCESS_GONE, "%s", why.text);
	cr_assert_eq(inj_mem_read(process, 0x400000, &byte, 1), -ESRCH);
}

Test(process, main_thread_ended_later)
{
	struct inj_why why = {0};
	int go[2];

	cr_assert_eq(pipe(go), 0);

	pid_t pid = fork();

	if (pid == 0) {
		pthread_t thread;
		char c;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (read(go[0], &c, 1) != 1 || pthread_create(&thread, NULL, stay, NULL) != 0)
			_exit(1);
		pthread_exit(NULL);
	}

	PROCESS process = open_it(pid);

	cr_assert_eq(write(go[1], "g", 1), 1);
	child_await_state(pid, "Z");
	cr_assert_eq(inj_process_check(process, &why), INJ_PROCESS_GONE);
	child_end(pid);
}

/* fork() with a pid of our choice; clone(2) has none. Return: pid, 0 in the child, or -errno. */
static pid_t fork_as(pid_t pid)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD,
		.set_tid = (uintptr_t)&pid,
		.set_tid_size = 1,
	};
	long r = syscall(SYS_clone3, &args, sizeof(args));

	return r < 0 ? -errno : (pid_t)r;
}

static void rest(void *argument)
{
	(void)argument;
	child_ready();
	child_rest();
}

/* A stranger that got the number must never be taken for the process that had it. */
Test(process, recycled_number)
{
	need_root();

	pid_t pid = child_start(rest, NULL);
	PROCESS process = open_it(pid);

	child_end(pid);

	pid_t stranger = fork_as(pid);

	need(stranger != -EPERM && stranger != -EEXIST, "this kernel gives no pid of our choice");
	if (stranger == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		child_rest();
	}
	cr_assert_eq(stranger, pid);
	/* It lives, at the same addresses. */
	cr_assert_eq(kill(pid, 0), 0);
	expect_gone(process);

	PROCESS other = open_it(pid);

	cr_assert_eq(other->pid, process->pid);
	child_end(pid);
}

/* execve(2) changes the program, not the process: which of both matters is for others to say. */
Test(process, is_the_same_after_exec)
{
	struct inj_why why;
	int go[2];

	cr_assert_eq(pipe(go), 0);

	pid_t pid = fork();

	if (pid == 0) {
		char c;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (read(go[0], &c, 1) == 1 && dup2(go[0], 0) == 0)
			execl("/bin/cat", "cat", (char *)NULL);
		_exit(1);
	}

	PROCESS process = open_it(pid);

	cr_assert_eq(write(go[1], "g", 1), 1);
	for (;;) {
		PROCESS again = open_it(pid);

		if (strcmp(again->comm, "cat") == 0)
			break;
	}
	cr_assert_eq(inj_process_check(process, &why), 0);
	child_end(pid);
}

Test(process, in_a_pid_namespace)
{
	need_root();
	need(unshare(CLONE_NEWPID) == 0, "no right to make a pid namespace");

	pid_t pid = child_start(rest, NULL);
	PROCESS process = open_it(pid);

	cr_assert_eq(process->pid, pid);
	cr_assert_eq(process->ns_pid, 1);
	child_end(pid);
}

Test(process, names_are_printable)
{
	int ends[2];

	cr_assert_eq(pipe(ends), 0);

	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, "a) Z\n\033[31m\\n");
		if (write(ends[1], "r", 1) == 1)
			child_rest();
	}

	char c;

	cr_assert_eq(read(ends[0], &c, 1), 1);

	PROCESS process = open_it(pid);
	struct inj_status status;

	cr_assert_str_eq(process->comm, "a) Z??[31m\\n");
	cr_assert_eq(inj_status_read(process, pid, &status), 0);
	cr_assert_str_eq(status.comm, process->comm);
	cr_assert_eq(status.tgid, pid);
	cr_assert_eq(inj_status_read(process, 1 << 30, &status), -ESRCH);
	child_end(pid);
}

Test(process, files_have_a_limit)
{
	VICTIM victim = victim_start("single", NULL);
	PROCESS process = open_it(victim->pid);
	char *text = NULL;
	size_t length = 0;

	cr_assert_eq(inj_process_read_file(process, "maps", 100, &text, &length), -EFBIG);
	cr_assert_eq(inj_process_read_file(process, "nonsense", 100, &text, &length), -ENOENT);
	cr_assert_null(text);
	cr_assert_eq(inj_process_read_file(process, "maps", 1 << 20, &text, &length), 0);
	cr_assert_eq(strlen(text), length);
	free(text);
}

Test(tasks, many_threads_in_order)
{
	VICTIM victim = victim_start("threads", "300", "100000", NULL);
	PROCESS process = open_it(victim->pid);
	INJ_FREE pid_t *tids = NULL;
	size_t n = 0;

	cr_assert_eq(inj_tasks_read(process, &tids, &n), 0);
	cr_assert_eq(n, 301);
	cr_assert_eq(tids[0], victim->pid);
	for (size_t i = 1; i < n; i++)
		cr_assert_gt(tids[i], tids[i - 1]);
}

static void signals_of_all_kinds(void *argument)
{
	sigset_t set;

	(void)argument;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGUSR1);
	signal(SIGUSR2, (void (*)(int))child_ready);
	child_ready();
	child_rest();
}

Test(status, of_a_live_process)
{
	pid_t pid = child_start(signals_of_all_kinds, NULL);
	PROCESS process = open_it(pid);
	struct inj_status status;

	child_await_state(pid, "S");
	cr_assert_eq(inj_status_read(process, pid, &status), 0);
	cr_assert_eq(status.state, 'S');
	cr_assert_eq(status.tracer_pid, 0);
	cr_assert(status.sig_pending & (UINT64_C(1) << (SIGUSR1 - 1)));
	cr_assert(status.sig_blocked & (UINT64_C(1) << (SIGUSR1 - 1)));
	cr_assert(status.sig_caught & (UINT64_C(1) << (SIGUSR2 - 1)));
	cr_assert(!(status.sig_caught & (UINT64_C(1) << (SIGUSR1 - 1))));
	child_end(pid);
}
