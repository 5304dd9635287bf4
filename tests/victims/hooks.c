/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hooks [N]: functions to be called by somebody else, in a program with N threads (default 2)
 * that count. Questions:
 *   address NAME  hexadecimal address of a function or variable below
 *   count         what the slowest thread counted
 *   faults        number of times that the program's own handler of SIGSEGV ran
 *   handler       "mine" while SIGSEGV has that handler
 *   arrived       value of the variable `arrived`
 *   quit
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/victims/line.h"

#define MAX_THREADS 16

static _Atomic long counters[MAX_THREADS];
static atomic_int n_faults;
atomic_int arrived;
atomic_int may_return;

uint64_t combine(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	return a + 10 * b + 100 * c + 1000 * d;
}

/* Uses the stack, vector and x87 registers, and system calls. */
uint64_t work_hard(uint64_t n)
{
	volatile char room[32768];
	volatile long double product = 1;
	struct timespec pause = {0, 1000};
	double sum = 0;

	memset((char *)room, (int)n, sizeof(room));
	for (uint64_t i = 1; i <= n; i++) {
		product *= (long double)i;
		sum += (double)i * 0.5;
		nanosleep(&pause, NULL);
	}
	arrived++;
	return (uint64_t)sum * 2 + (uint64_t)(room[7] - room[9]) + (getppid() > 0) +
	       (product < 0);
}

uint64_t crash(uint64_t address)
{
	*(volatile int *)address = 1;
	return 0;
}

/* Returns only when it is allowed to. */
uint64_t dawdle(void)
{
	struct timespec pause = {0, 1000000};

	arrived++;
	while (!may_return)
		nanosleep(&pause, NULL);
	return 42;
}

static void on_fault(int signal)
{
	(void)signal;
	n_faults++;
}

static void *run(void *argument)
{
	_Atomic long *counter = argument;

	for (;;)
		(*counter)++;
	return NULL;
}

static const struct {
	const char *name;
	void *address;
} names[] = {
	{"combine", (void *)combine}, {"work_hard", (void *)work_hard}, {"crash", (void *)crash},
	{"dawdle", (void *)dawdle},   {"may_return", &may_return},
};

static void tell_address(const char *name)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i].name) == 0)
			printf("%p\n", names[i].address);
}

static void tell_handler(void)
{
	struct sigaction action;

	sigaction(SIGSEGV, NULL, &action);
	puts(action.sa_handler == on_fault ? "mine" : "gone");
}

static long slowest(long n_threads)
{
	long least = counters[0];

	for (long i = 1; i < n_threads; i++)
		least = counters[i] < least ? counters[i] : least;
	return least;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_fault};
	long n_threads = argc > 1 ? strtol(argv[1], NULL, 10) : 2;
	pthread_t thread;
	const char *line;

	sigaction(SIGSEGV, &action, NULL);
	for (long i = 0; i < n_threads && i < MAX_THREADS; i++)
		if (pthread_create(&thread, NULL, run, &counters[i]) != 0)
			return 1;
	line_ready();
	while ((line = line_next())) {
		if (strncmp(line, "address ", 8) == 0)
			tell_address(line + 8);
		else if (strcmp(line, "count") == 0)
			printf("%ld\n", slowest(n_threads));
		else if (strcmp(line, "faults") == 0)
			printf("%d\n", n_faults);
		else if (strcmp(line, "handler") == 0)
			tell_handler();
		else if (strcmp(line, "arrived") == 0)
			printf("%d\n", arrived);
		else
			puts("?");
	}
	return 0;
}
