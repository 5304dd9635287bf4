/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * many [THREADS]: a thousand functions f000 to f999, each of which adds its number, and THREADS
 * threads (default 2) that wait for ever with known values in their registers. Questions:
 *   versions  how many functions answer as the old, as the new version (which adds 100000 more),
 *             and otherwise
 *   quit
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/victims/line.h"
#include "tests/victims/many.h"

#define DEFINE(a, b, c)                                                                  \
	long f##a##b##c(long x);                                                         \
	__attribute__((noinline)) long f##a##b##c(long x)                                \
	{                                                                                \
		return x + MANY_NUMBER(a, b, c);                                         \
	}
#define LIST(a, b, c) f##a##b##c,

MANY_THOUSAND(DEFINE)

/* Calls through pointers, as between files: the callers know nothing of what they call. */
static long (*volatile functions[])(long x) = { MANY_THOUSAND(LIST) };

static void print_versions(void)
{
	long n = (long)(sizeof(functions) / sizeof(functions[0])), n_old = 0, n_new = 0;

	for (long i = 0; i < n; i++) {
		long answer = functions[i](5) - 5 - i;

		n_old += answer == 0;
		n_new += answer == MANY_NEW;
	}
	printf("%ld %ld %ld\n", n_old, n_new, n - n_old - n_new);
}

/* Waits in pause(2) for ever; what the kernel keeps of the registers is ours. */
static void *wait_for_ever(void *argument)
{
	register uint64_t r12 __asm__("r12") = 0x1212121212121212u + (uint64_t)argument;
	register uint64_t r13 __asm__("r13") = 0x1313131313131313u;

	for (;;) {
		long result;

		__asm__ volatile("pcmpeqd %%xmm7, %%xmm7\n\tfldpi\n\tsyscall\n\tfstp %%st(0)"
				 : "=a"(result)
				 : "a"(SYS_pause), "r"(r12), "r"(r13), "d"(0xdddd), "S"(0x5151),
				   "D"(0xd1d1)
				 : "rcx", "r11", "memory", "xmm7", "st");
		(void)result;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	long n_threads = argc > 1 ? strtol(argv[1], NULL, 10) : 2;
	const char *line;
	sigset_t mask;

	for (long i = 0; i < n_threads; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, wait_for_ever, (void *)i) != 0)
			return 1;
	}
	/* A mask that somebody who sets one anew would lose. */
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	line_ready();
	while ((line = line_next())) {
		if (strcmp(line, "versions") == 0)
			print_versions();
		else
			puts("?");
	}
	return 0;
}
