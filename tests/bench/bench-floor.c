/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-floor PID ROUNDS: the floor of any hold: seize all threads, then interrupt all, wait for
 * all, detach all, with nothing in between. Prints the median nanoseconds from the first interrupt
 * to the last detach.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ROUNDS 1000
#define MAX_THREADS 8192

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static size_t list_threads(const char *pid, pid_t *tids)
{
	char path[64];
	size_t n = 0;
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%s/task", pid);
	directory = opendir(path);
	for (struct dirent *entry; directory && (entry = readdir(directory)) && n < MAX_THREADS;)
		if (entry->d_name[0] != '.')
			tids[n++] = (pid_t)atoi(entry->d_name);
	if (directory)
		closedir(directory);
	return n;
}

static uint64_t hold(const pid_t *tids, size_t n)
{
	uint64_t begin;

	for (size_t i = 0; i < n; i++)
		if (ptrace(PTRACE_SEIZE, tids[i], 0, 0) < 0)
			exit(1);
	begin = now_ns();
	for (size_t i = 0; i < n; i++)
		ptrace(PTRACE_INTERRUPT, tids[i], 0, 0);
	for (size_t i = 0; i < n; i++)
		waitpid(tids[i], NULL, __WALL);
	for (size_t i = 0; i < n; i++)
		ptrace(PTRACE_DETACH, tids[i], 0, 0);
	return now_ns() - begin;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

int main(int argc, char **argv)
{
	static uint64_t times[MAX_ROUNDS];
	static pid_t tids[MAX_THREADS];
	const int rounds = argc > 2 ? atoi(argv[2]) : 0;
	size_t n;

	if (argc != 3 || rounds < 1 || rounds > MAX_ROUNDS)
		return 2;
	n = list_threads(argv[1], tids);
	for (int i = 0; i < rounds; i++) {
		times[i] = hold(tids, n);
		usleep(2000);
	}
	qsort(times, (size_t)rounds, sizeof(*times), by_value);
	printf("%llu\n", (unsigned long long)times[rounds / 2]);
	return 0;
}
