/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * churn WHAT: makes and ends things as fast as it can, in the background.
 *   threads   one thread makes threads that end at once
 *   chain     every thread makes the next one and ends
 *   forks     children that compare a pattern in their memory and exit
 *   vforks    children that run /bin/true by way of vfork
 *   spawns    the same by posix_spawn
 *   clones    children that share the memory but are no threads (clone(CLONE_VM))
 *   maps      two threads map some pages, write to them, compare and unmap them
 * churn crowd N: N threads that sleep
 * churn vfork-long MS: one thread sits in vfork for so long, again and again
 * churn leader-ends: the main thread ends, another answers
 * Questions:
 *   made      things made so far
 *   failed    things that did not end as they should, or met nonsense
 *   version   1; what there is to be patched
 *   exec      replace the program by "churn idle" from a thread that is not the main one
 *   exec-main the same from the main thread
 *   exit      end the process from another thread, status 7
 *   quit
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/victims/line.h"

#define STACK_BYTES (64 * 1024)
#define N_WORDS	    4096

extern char **environ;

static atomic_long n_made, n_failed;
static pthread_attr_t small;
static uint64_t pattern[N_WORDS];
static char *program;
static useconds_t vfork_us;
static long n_crowd;

long version(void);

static long (*volatile call_version)(void) = version;

__attribute__((noinline)) long version(void)
{
	__asm__ volatile("");
	return 1;
}

/* Either version, and nothing else. */
static bool is_sane(void)
{
	long result = call_version();

	return result == 1 || result == 2;
}

static void *end_at_once(void *argument)
{
	n_failed += !is_sane();
	return argument;
}

static void *make_threads(void *argument)
{
	pthread_t thread;

	(void)argument;
	for (;;) {
		if (pthread_create(&thread, &small, end_at_once, NULL) != 0) {
			n_failed++;
			continue;
		}
		pthread_join(thread, NULL);
		n_made++;
	}
	return NULL;
}

static void *make_next(void *argument)
{
	pthread_t thread;

	(void)argument;
	n_made++;
	n_failed += !is_sane();
	pthread_detach(pthread_self());
	while (pthread_create(&thread, &small, make_next, NULL) != 0)
		n_failed++;
	return NULL;
}

static void take_child(pid_t pid)
{
	int status = -1;

	if (pid < 0 || waitpid(pid, &status, __WALL) != pid || status != 0)
		n_failed++;
	n_made++;
}

static int check_pattern(void)
{
	for (uint64_t i = 0; i < N_WORDS; i++)
		if (pattern[i] != i * 0x9e3779b97f4a7c15u)
			return 1;
	return !is_sane();
}

static void *make_forks(void *argument)
{
	(void)argument;
	for (;;) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(check_pattern());
		take_child(pid);
	}
	return NULL;
}

static void *make_vforks(void *argument)
{
	(void)argument;
	for (;;) {
		pid_t pid = vfork();

		if (pid == 0) {
			execl("/bin/true", "true", NULL);
			_exit(127);
		}
		take_child(pid);
	}
	return NULL;
}

static void *make_long_vforks(void *argument)
{
	(void)argument;
	for (;;) {
		pid_t pid = vfork();

		if (pid == 0) {
			usleep(vfork_us);
			_exit(0);
		}
		take_child(pid);
	}
	return NULL;
}

static void *make_spawns(void *argument)
{
	char *const arguments[] = {(char *)"true", NULL};

	(void)argument;
	for (;;) {
		pid_t pid = -1;

		if (posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, environ) != 0)
			pid = -1;
		take_child(pid);
	}
	return NULL;
}

static int be_clone(void *argument)
{
	(void)argument;
	return check_pattern();
}

static void *make_clones(void *argument)
{
	char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);

	(void)argument;
	for (;;)
		take_child(clone(be_clone, stack + STACK_BYTES, CLONE_VM, NULL));
	return NULL;
}

static void *make_maps(void *argument)
{
	const long page = sysconf(_SC_PAGESIZE);

	(void)argument;
	for (long i = 1;; i = i % 64 + 1) {
		size_t n_bytes = (size_t)(i * page);
		long *words = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (words == MAP_FAILED) {
			n_failed++;
			continue;
		}
		words[0] = words[n_bytes / sizeof(*words) - 1] = i;
		sched_yield();
		n_failed += words[0] != i || words[n_bytes / sizeof(*words) - 1] != i ||
			    munmap(words, n_bytes) != 0;
		n_made++;
	}
	return NULL;
}

static void *make_maps_beside(void *argument)
{
	pthread_t thread;

	pthread_create(&thread, NULL, make_maps, NULL);
	return make_maps(argument);
}

static void *become_idle(void *argument)
{
	execl(program, program, "idle", NULL);
	return argument;
}

static void *end_process(void *argument)
{
	exit(7);
	return argument;
}

static void answer(void)
{
	pthread_t thread;
	const char *line;

	line_ready();
	while ((line = line_next())) {
		if (strcmp(line, "made") == 0)
			printf("%ld\n", n_made);
		else if (strcmp(line, "failed") == 0)
			printf("%ld\n", n_failed);
		else if (strcmp(line, "version") == 0)
			printf("%ld\n", call_version());
		else if (strcmp(line, "exec") == 0)
			pthread_create(&thread, NULL, become_idle, NULL);
		else if (strcmp(line, "exec-main") == 0)
			become_idle(NULL);
		else if (strcmp(line, "exit") == 0)
			pthread_create(&thread, NULL, end_process, NULL);
		else
			puts("?");
	}
}

static void *sleep_for_ever(void *argument)
{
	for (;;)
		pause();
	return argument;
}

static void *make_crowd(void *argument)
{
	pthread_t thread;

	(void)argument;
	for (long i = 0; i < n_crowd; i++)
		if (pthread_create(&thread, &small, sleep_for_ever, NULL) != 0)
			n_failed++;
	n_made++;
	return NULL;
}

static void *answer_and_exit(void *argument)
{
	answer();
	exit(0);
	return argument;
}

static const struct {
	const char *name;
	void *(*run)(void *);
} modes[] = {
	{"threads", make_threads}, {"chain", make_next},	     {"forks", make_forks},
	{"vforks", make_vforks},   {"vfork-long", make_long_vforks}, {"spawns", make_spawns},
	{"clones", make_clones},   {"leader-ends", answer_and_exit},
	{"crowd", make_crowd},	   {"maps", make_maps_beside},
};

int main(int argc, char **argv)
{
	pthread_t thread;

	program = argv[0];
	vfork_us = argc > 2 ? (useconds_t)atoi(argv[2]) * 1000 : 0;
	n_crowd = argc > 2 ? atol(argv[2]) : 0;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, STACK_BYTES);
	for (uint64_t i = 0; i < N_WORDS; i++)
		pattern[i] = i * 0x9e3779b97f4a7c15u;
	for (size_t i = 0; argc > 1 && i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(argv[1], modes[i].name) == 0)
			pthread_create(&thread, NULL, modes[i].run, NULL);
	if (argc > 1 && strcmp(argv[1], "leader-ends") == 0)
		pthread_exit(NULL);
	answer();
	return 0;
}
