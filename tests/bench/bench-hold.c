/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-hold [ROUNDS]: how long a process is held, by number of threads, beside the floor: a
 * bare seize, interrupt, wait, detach of the same process in the same run; "from afar" is a hold
 * that is not made inside of inj_tracer_run(). Prints a table.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "injector/base/clock.h"
#include "injector/process/tasks.h"
#include "injector/stop/tracer.h"

#define MAX_ROUNDS 1000
#define MS 1000000u

static pid_t start(unsigned n_threads, const char *pause_us, int *ret_input)
{
	const char *root = getenv("DSU_BUILD_ROOT");
	char path[4096], count[16];
	int to[2], from[2];
	char byte;

	snprintf(path, sizeof(path), "%s/tests/victims/%s", root ? root : "build",
		 n_threads > 1 ? "threads" : "single");
	snprintf(count, sizeof(count), "%u", n_threads - 1);
	if (pipe(to) < 0 || pipe(from) < 0)
		exit(1);

	pid_t pid = fork();

	if (pid == 0) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		close(to[1]);
		close(from[0]);
		execl(path, path, count, pause_us, NULL);
		fprintf(stderr, "cannot start %s: set DSU_BUILD_ROOT\n", path);
		_exit(1);
	}
	close(to[0]);
	close(from[1]);
	if (read(from[0], &byte, 1) != 1)
		exit(1);
	close(from[0]);
	*ret_input = to[1];
	return pid;
}

static void check(bool good, const char *what, const char *why)
{
	if (good)
		return;
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

static uint64_t measure_floor(const struct inj_process *process)
{
	INJ_FREE pid_t *tids = NULL;
	size_t n = 0;

	check(inj_tasks_read(process, &tids, &n) == 0, "floor", "no threads");
	for (size_t i = 0; i < n; i++)
		check(ptrace(PTRACE_SEIZE, tids[i], 0, 0) == 0, "floor: seize", strerror(errno));

	uint64_t begin_ns = inj_now_ns();

	for (size_t i = 0; i < n; i++)
		ptrace(PTRACE_INTERRUPT, tids[i], 0, 0);
	for (size_t i = 0; i < n; i++)
		waitpid(tids[i], NULL, __WALL);
	for (size_t i = 0; i < n; i++)
		ptrace(PTRACE_DETACH, tids[i], 0, 0);
	return inj_now_ns() - begin_ns;
}

struct measurement {
	struct inj_tracer *tracer;
	const struct inj_process *process;
	uint64_t held_ns;
};

static int measure_hold(void *argument)
{
	struct measurement *measurement = argument;
	struct inj_why why = {0};
	struct inj_hold *holds;
	int r = inj_tracer_hold(measurement->tracer, &measurement->process, 1,
				inj_now_ns() + 10000ull * MS, 1000ull * MS, &holds, &why);

	check(r == 0, "hold", why.text);
	inj_tracer_release(measurement->tracer, &measurement->held_ns);
	return 0;
}

static int by_value(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left;
	uint64_t b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

static double at_us(uint64_t *values, size_t n, size_t percent)
{
	qsort(values, n, sizeof(*values), by_value);
	return (double)values[(n - 1) * percent / 100] / 1000.0;
}

static void bench(unsigned n_threads, const char *pause_us, size_t n_rounds)
{
	static uint64_t floor_ns[MAX_ROUNDS], hold_ns[MAX_ROUNDS], far_ns[MAX_ROUNDS];
	INJ_CLEANUP(inj_process_guard) struct inj_process *process = NULL;
	INJ_CLEANUP(inj_tracer_guard) struct inj_tracer *tracer = NULL;
	struct inj_why why = {0};
	int input = -1;
	pid_t pid = start(n_threads, pause_us, &input);
	struct timespec rest = {0, 2 * MS};

	check(inj_process_open(pid, &process, &why) == 0, "open", why.text);
	check(inj_tracer_new(&tracer) == 0, "tracer", "no memory");
	for (size_t i = 0; i < n_rounds; i++) {
		floor_ns[i] = measure_floor(process);
		nanosleep(&rest, NULL);

		struct measurement measurement = {tracer, process, 0};

		inj_tracer_run(tracer, measure_hold, &measurement);
		hold_ns[i] = measurement.held_ns;
		nanosleep(&rest, NULL);
		measure_hold(&measurement);
		far_ns[i] = measurement.held_ns;
		nanosleep(&rest, NULL);
	}

	double floor_us = at_us(floor_ns, n_rounds, 50);
	double hold_us = at_us(hold_ns, n_rounds, 50);

	printf("%8u  %-8s %10.1f %10.1f %7.2f %12.1f %12.1f %12.1f\n", n_threads,
	       strcmp(pause_us, "0") == 0 ? "spinning" : "sleeping", floor_us, hold_us,
	       hold_us / floor_us, at_us(floor_ns, n_rounds, 90), at_us(hold_ns, n_rounds, 90),
	       at_us(far_ns, n_rounds, 50));
	fflush(stdout);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(input);
}

int main(int argc, char **argv)
{
	static const unsigned counts[] = {1, 8, 64, 512, 2000};
	size_t n_rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 101;
	sigset_t signals;

	if (n_rounds < 1 || n_rounds > MAX_ROUNDS)
		n_rounds = MAX_ROUNDS;
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	printf("%8s  %-8s %10s %10s %7s %12s %12s %12s\n", "threads", "state", "floor us",
	       "hold us", "ratio", "floor p90 us", "hold p90 us", "from afar us");
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(counts); i++)
		bench(counts[i], "900000", counts[i] > 500 ? n_rounds / 4 + 1 : n_rounds);
	bench(8, "0", n_rounds);
	return 0;
}
