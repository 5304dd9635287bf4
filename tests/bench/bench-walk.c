/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-walk [ROUNDS]: what looking at all stacks adds to a hold. The scan that clears threads, by
 * number of threads, and the walk of a stack that it cannot clear, by depth. Prints a table: the
 * first time (rules not yet known), the median, and the median per thread or frame.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "injector/base/clock.h"
#include "injector/unwind/activity.h"
#include "injector/unwind/known.h"

enum { MAX_ROUNDS = 1001, MAX_FRAMES = 200000 };
#define SECOND UINT64_C(1000000000)

struct subject {
	pid_t pid;
	int input;
	struct inj_process *process;
	struct inj_maps *maps;
	struct inj_modules *modules;
	struct inj_walker *walker;
	struct inj_tracer *tracer;
	struct inj_hold *hold;
};

static int n_rounds = 101;

static void check(int r, const char *what, const char *why)
{
	if (r == 0)
		return;
	fprintf(stderr, "%s: %s (%d)\n", what, why, r);
	exit(1);
}

static void start(struct subject *subject, const char *program, const char *argument,
		  const char *second)
{
	const char *root = getenv("DSU_BUILD_ROOT");
	char path[4096], byte;
	int to[2], from[2];

	snprintf(path, sizeof(path), "%s/tests/victims/%s", root ? root : "build", program);
	check(pipe(to) || pipe(from), "pipe", "none left");
	subject->pid = fork();
	if (subject->pid == 0) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		close(to[1]);
		close(from[0]);
		execl(path, path, argument, second, NULL);
		fprintf(stderr, "cannot start %s: set DSU_BUILD_ROOT\n", path);
		_exit(1);
	}
	close(to[0]);
	close(from[1]);
	check(read(from[0], &byte, 1) != 1, path, "it did not start");
	close(from[0]);
	subject->input = to[1];
}

static void attach(struct subject *subject)
{
	struct inj_why why = {.text = "?"};

	check(inj_process_open(subject->pid, &subject->process, &why), "open", why.text);
	check(inj_maps_read(subject->process, &subject->maps, &why), "maps", why.text);
	check(inj_modules_load(subject->process, subject->maps, &subject->modules, &why), "modules",
	      why.text);
	check(inj_walker_new(subject->process, subject->maps, subject->modules, NULL, 0, NULL, NULL,
			     &subject->walker, &why),
	      "walker", why.text);
	struct inj_place places[16];

	inj_walker_warm(subject->walker, places,
			inj_places_read(subject->process, places, INJ_ARRAY_LENGTH(places)));
	check(inj_tracer_new(&subject->tracer), "tracer", "none");
}

static void stop(struct subject *subject)
{
	inj_tracer_free(subject->tracer);
	inj_walker_free(subject->walker);
	inj_modules_free(subject->modules);
	inj_maps_free(subject->maps);
	inj_process_close(subject->process);
	close(subject->input);
	kill(subject->pid, SIGKILL);
	waitpid(subject->pid, NULL, 0);
}

static void hold(struct subject *subject)
{
	const struct inj_process *process = subject->process;
	struct inj_why why = {.text = "?"};

	check(inj_tracer_hold(subject->tracer, &process, 1, inj_now_ns() + 10 * SECOND, 10 * SECOND,
			      &subject->hold, &why),
	      "hold", why.text);
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void print_row(const char *what, size_t n, uint64_t *ns)
{
	double first = (double)ns[0] / 1000;

	qsort(ns, (size_t)n_rounds, sizeof(*ns), compare);
	double median = (double)ns[n_rounds / 2] / 1000;

	printf("%-32s %8zu %12.1f %12.1f %12.3f\n", what, n, first, median, median / (double)n);
}

static void measure_scan(const char *n_threads)
{
	struct subject subject = {0};
	struct inj_why why = {.text = "?"};
	uint64_t ns[MAX_ROUNDS];
	size_t n = 0;

	/* Threads that mostly sleep: the table is about stacks, not about competing for CPUs. */
	start(&subject, "threads", n_threads, "50000");
	attach(&subject);
	inj_addr end = inj_modules_main(subject.modules)->span.end;
	/* No code is at the end of the data. */
	struct inj_watch watch = {.code = {end - 16, end}};

	for (int i = 0; i < n_rounds; i++) {
		struct inj_activity activity INJ_CLEANUP(inj_activity_deinit) = {0};

		hold(&subject);
		uint64_t before = inj_now_ns();

		check(inj_walker_find(subject.walker, subject.hold, &watch, 1, 10 * SECOND,
				      &activity, &why),
		      "find", why.text);
		ns[i] = inj_now_ns() - before;
		inj_tracer_release(subject.tracer, NULL);
		n = activity.n_threads;
		check(activity.n_scanned != n, "find", "some were walked");
	}
	print_row("scan of all stacks, by threads", n, ns);
	stop(&subject);
}

static void measure_walk(const char *mode)
{
	static struct inj_frame frames[MAX_FRAMES];
	struct subject subject = {0};
	struct inj_why why = {.text = "?"};
	uint64_t ns[MAX_ROUNDS];
	size_t n = 0;
	bool reliable = false;
	char what[64];

	start(&subject, "stacks", mode, NULL);
	attach(&subject);
	hold(&subject);
	for (int i = 0; i < n_rounds; i++) {
		uint64_t before = inj_now_ns();

		/* The second thread is the one in question. */
		check(inj_walker_stack(subject.walker, subject.hold, 1, frames, MAX_FRAMES, &n,
				       &reliable, &why),
		      "walk", why.text);
		ns[i] = inj_now_ns() - before;
	}
	inj_tracer_release(subject.tracer, NULL);
	check(!reliable, mode, "the walk did not reach the end");
	snprintf(what, sizeof(what), "walk of %s, by frames", mode);
	print_row(what, n, ns);
	stop(&subject);
}

int main(int argc, char **argv)
{
	static const char *const threads[] = {"1", "7", "63", "511", "1999"};
	static const char *const modes[] = {"syscall", "altstack", "deep-1000", "deep", "huge"};
	sigset_t child;

	if (argc > 1)
		n_rounds = atoi(argv[1]);
	check(n_rounds < 1 || n_rounds > MAX_ROUNDS, "usage", "bench-walk [ROUNDS], at most 1001");
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	printf("%-32s %8s %12s %12s %12s\n", "microseconds", "n", "first", "median", "each");
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(threads); i++)
		measure_scan(threads[i]);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(modes); i++)
		measure_walk(modes[i]);
	return 0;
}
