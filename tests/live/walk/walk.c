/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <signal.h>

#include "injector/base/clock.h"
#include "injector/process/mem.h"
#include "tests/live/walk/walk.h"
#include "tests/support/need.h"

#define SECOND UINT64_C(1000000000)

static void ask_ranges(struct subject *subject)
{
	subject->tid = (pid_t)victim_ask_number(subject->victim, "tid");
	int n = sscanf(victim_ask(subject->victim, "range"), "%" SCNx64 " %" SCNx64,
		       &subject->watch.code.start, &subject->watch.code.end);

	cr_assert_eq(n, 2);
	n = sscanf(victim_ask(subject->victim, "address"), "%" SCNx64, &subject->live);
	cr_assert_eq(n, 1);
	subject->watch.tag = 7;
}

static struct subject *attach(struct subject *subject)
{
	struct inj_why why = {0};
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	int r = inj_process_open(subject->victim->pid, &subject->process, &why);

	if (!r)
		r = inj_maps_read(subject->process, &subject->maps, &why);
	if (!r)
		r = inj_modules_load(subject->process, subject->maps, &subject->modules, &why);
	if (!r)
		r = inj_walker_new(subject->process, subject->maps, subject->modules, NULL, 0, NULL,
				   NULL, &subject->walker, &why);
	if (!r)
		r = inj_tracer_new(&subject->tracer);
	cr_assert_eq(r, 0, "%s: %s", subject->victim->name, why.text);
	return subject;
}

struct subject *subject_new(const char *program, const char *mode, bool main_thread)
{
	struct subject *subject = calloc(1, sizeof(*subject));

	need_root();
	subject->victim = victim_start(program, mode, main_thread ? "main" : NULL, NULL);
	ask_ranges(subject);
	return attach(subject);
}

struct subject *subject_new_of(const char *program, const char *argument)
{
	struct subject *subject = calloc(1, sizeof(*subject));

	need_root();
	subject->victim = victim_start(program, argument, NULL);
	subject->tid = subject->victim->pid;
	attach(subject);
	/* The end of the main program: a range nobody is in. */
	subject->watch.code.end = inj_modules_main(subject->modules)->span.end;
	subject->watch.code.start = subject->watch.code.end - 16;
	return subject;
}

void subject_free(struct subject *subject)
{
	inj_tracer_free(subject->tracer);
	inj_walker_free(subject->walker);
	inj_modules_free(subject->modules);
	inj_maps_free(subject->maps);
	inj_process_close(subject->process);
	victim_free(subject->victim);
	free(subject);
}

void subject_hold(struct subject *subject)
{
	const struct inj_process *process = subject->process;
	struct inj_why why = {0};
	int r = inj_tracer_hold(subject->tracer, &process, 1, inj_now_ns() + 10 * SECOND,
				10 * SECOND, &subject->hold, &why);

	cr_assert_eq(r, 0, "hold: %s", why.text);
}

void subject_release(struct subject *subject)
{
	inj_tracer_release(subject->tracer, NULL);
	subject->hold = NULL;
}

size_t subject_index(const struct subject *subject)
{
	for (size_t i = 0; i < subject->hold->n_threads; i++)
		if (subject->hold->threads[i].tid == subject->tid)
			return i;
	cr_assert(false, "thread %d is not among those held", subject->tid);
	return 0;
}

void subject_hold_at(struct subject *subject, struct inj_range code)
{
	uint64_t deadline = inj_now_ns() + 20 * SECOND;

	for (;;) {
		subject_hold(subject);
		inj_addr pc = subject->hold->threads[subject_index(subject)].regs.rip;

		if (inj_range_has(code, pc))
			return;
		subject_release(subject);
		cr_assert_lt(inj_now_ns(), deadline, "the thread never came to %" PRIx64,
			     code.start);
	}
}

long subject_live(const struct subject *subject)
{
	long live = -1;

	cr_assert_eq(inj_mem_read(subject->process, subject->live, &live, sizeof(live)), 0);
	return live;
}

struct inj_activity subject_find(struct subject *subject)
{
	struct inj_activity activity = {0};
	struct inj_why why = {0};
	int r = inj_walker_find(subject->walker, subject->hold, &subject->watch, 1, 10 * SECOND,
				&activity, &why);

	cr_assert_eq(r, 0, "find: %s", why.text);
	return activity;
}
