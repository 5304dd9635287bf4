/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lonely [MODE]: value() adds 1; the program lives in odd circumstances.
 *   plain         none
 *   filter        killed for mmap, mprotect, munmap and memfd_create
 *   mdwe          memory never becomes executable (PR_SET_MDWE)
 *   nobody        another user, without privileges
 *   no-new-privs  PR_SET_NO_NEW_PRIVS
 *   mounts        a mount namespace of its own, in which its directory is hidden
 *   forks         forks all the time; the children call value() and tell
 * Says "cannot" instead of "ready" when the kernel has no such thing.
 * Questions: value; fork: pid of a new child, which answers `child` with its value; forks: how many
 * children ended;
 * wrong: how many of them saw nonsense; exec, exit: "ok", then half a second inside of
 * value(), from where the program becomes another one or ends; quit.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/victims/line.h"

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif
#define NOBODY 65534

long value(long x);

static long (*volatile call_value)(long x) = value;
static const char *volatile end;
static _Atomic long n_forks;
static _Atomic long wrong;
static int to_child[2], from_child[2];

__attribute__((noinline)) long value(long x)
{
	if (end) {
		struct timespec pause = {.tv_nsec = 500000000};

		nanosleep(&pause, NULL);
		if (strcmp(end, "exec") == 0)
			execl("/bin/cat", "cat", NULL);
		_exit(0);
	}
	return x + 1;
}

static int filter(void)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_munmap, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog whole = {sizeof(program) / sizeof(program[0]), program};

	/* What the C library maps for its buffers has to be there before. */
	free(malloc(65536));
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &whole);
}

static int mdwe(void)
{
	return prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0);
}

static int nobody(void)
{
	return setgid(NOBODY) || setuid(NOBODY);
}

static int no_new_privs(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static int mounts(void)
{
	return unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	       mount("none", "/tmp", "tmpfs", 0, NULL);
}

static int none(void)
{
	return 0;
}

static void *fork_on(void *argument)
{
	for (;;) {
		int status = 0;
		pid_t child = fork();

		if (child == 0) {
			for (int i = 0; i < 100; i++) {
				long result = call_value(0);

				if (result != 1 && result != 1000)
					_exit(1);
			}
			_exit(0);
		}
		if (child > 0 && waitpid(child, &status, 0) == child && status == 0)
			n_forks++;
		else
			wrong++;
	}
	return argument;
}

static int forks(void)
{
	pthread_t thread;

	return pthread_create(&thread, NULL, fork_on, NULL);
}

static const struct {
	const char *name;
	int (*enter)(void);
} modes[] = {
	{"plain", none}, {"filter", filter}, {"mdwe", mdwe},
	{"nobody", nobody}, {"no-new-privs", no_new_privs}, {"mounts", mounts}, {"forks", forks},
};

static void be_child(void)
{
	char question;

	while (read(to_child[0], &question, 1) == 1) {
		long result = call_value(0);

		if (write(from_child[1], &result, sizeof(result)) != sizeof(result))
			break;
	}
	_exit(0);
}

static long fork_child(void)
{
	pid_t child;

	if (pipe(to_child) != 0 || pipe(from_child) != 0)
		return -1;
	child = fork();
	if (child == 0) {
		close(to_child[1]);
		be_child();
	}
	return child;
}

static long ask_child(void)
{
	long result = -1;

	return write(to_child[1], "?", 1) == 1 && read(from_child[0], &result, sizeof(result)) > 0 ?
		       result : -1;
}

static void answer(const char *line)
{
	if (strcmp(line, "value") == 0)
		printf("%ld\n", call_value(0));
	else if (strcmp(line, "fork") == 0)
		printf("%ld\n", fork_child());
	else if (strcmp(line, "child") == 0)
		printf("%ld\n", ask_child());
	else if (strcmp(line, "forks") == 0)
		printf("%ld\n", (long)n_forks);
	else if (strcmp(line, "wrong") == 0)
		printf("%ld\n", (long)wrong);
	else if (strcmp(line, "exec") == 0 || strcmp(line, "exit") == 0) {
		puts("ok");
		end = line;
		call_value(0);
	} else {
		puts("?");
	}
}

int main(int argc, char **argv)
{
	static char in[4096], out[4096];
	const char *line;

	setvbuf(stdin, in, _IOLBF, sizeof(in));
	for (size_t i = 0; argc > 1 && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(argv[1], modes[i].name) == 0 && modes[i].enter() != 0) {
			puts("cannot");
			return 1;
		}
	setvbuf(stdout, out, _IOLBF, sizeof(out));
	puts("ready");
	while ((line = line_next()))
		answer(line);
	return 0;
}
