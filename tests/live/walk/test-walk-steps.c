/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Judging a thread at every single instruction of calls, returns, longjmp, swapcontext, signals on
 * an alternate stack and the PLT: whenever the victim says that the watched function is live it
 * must be found, and the scan must never clear what the walk would find.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "tests/live/walk/walk.h"

enum { STEPS = 60000 };

struct stepped {
	struct subject *subject;
	struct inj_thread thread;
	struct inj_hold hold;
};

static void wait_stop(struct stepped *stepped, int *ret_status)
{
	cr_assert_eq(waitpid(stepped->subject->tid, ret_status, __WALL), stepped->subject->tid);
	cr_assert(WIFSTOPPED(*ret_status), "the victim ended: %#x", *ret_status);
	ptrace(PTRACE_GETREGS, stepped->subject->tid, NULL, &stepped->thread.regs);
}

static void begin(struct stepped *stepped, struct subject *subject)
{
	int status;

	*stepped = (struct stepped){
		.subject = subject,
		.thread = {.tid = subject->tid},
		.hold = {.process = subject->process, .n_threads = 1},
	};
	stepped->hold.threads = &stepped->thread;
	subject->hold = &stepped->hold;
	cr_assert_eq(ptrace(PTRACE_SEIZE, subject->tid, NULL, NULL), 0);
	cr_assert_eq(ptrace(PTRACE_INTERRUPT, subject->tid, NULL, NULL), 0);
	wait_stop(stepped, &status);
}

static void step(struct stepped *stepped)
{
	long signal = 0;
	int status;

	for (;;) {
		ptrace(PTRACE_SINGLESTEP, stepped->subject->tid, NULL, (void *)signal);
		wait_stop(stepped, &status);
		if (WSTOPSIG(status) == SIGTRAP)
			return;
		signal = WSTOPSIG(status);
	}
}

static void check_every_step(const char *program, bool main_thread)
{
	SUBJECT subject = subject_new(program, "turns-alone", main_thread);
	struct stepped stepped;
	size_t n_live = 0, n_clean = 0, n_suspected = 0;

	begin(&stepped, subject);
	for (unsigned i = 0; i < STEPS; i++) {
		struct inj_activity activity INJ_CLEANUP(inj_activity_deinit) =
			subject_find(subject);
		bool live = subject_live(subject) > 0;

		cr_assert(!live || activity.n_hits > 0, "%s: step %u at %#llx: live, not found",
			  program, i, stepped.thread.regs.rip);
		n_live += live;
		n_clean += activity.n_hits == 0;
		n_suspected += !live && activity.n_hits > 0 && !activity.hits[0].reliable;
		step(&stepped);
	}
	/* A traced thread that is not the first would outlive its process as a zombie of ours. */
	ptrace(PTRACE_DETACH, subject->tid, NULL, NULL);
	subject->hold = NULL;
	cr_expect_gt(n_live, STEPS / 100);
	cr_expect_gt(n_clean, STEPS / 100);
	/* Where a stack is being left for another one nothing can be walked, for a few steps. */
	cr_expect_lt(n_suspected, STEPS / 20, "%zu of %d", n_suspected, STEPS);
}

Test(walk_steps, worker_thread, .timeout = 120)
{
	check_every_step("stacks", false);
}

Test(walk_steps, main_thread, .timeout = 120)
{
	check_every_step("stacks", true);
}

Test(walk_steps, static_program, .timeout = 120)
{
	check_every_step("stacks-static", false);
}
