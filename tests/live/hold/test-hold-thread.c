/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One thread is stopped and marked by its GS base; the others run on. */
#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "injector/process/tasks.h"
#include "tests/live/hold/holding.h"

TestSuite(hold_thread, .timeout = 120);

#define MARK 0x40u

static struct inj_hold *hold_thread(struct inj_tracer *tracer, const struct inj_process *process,
				    pid_t tid)
{
	struct inj_hold *hold = NULL;
	struct inj_why why = {0};
	int r = inj_tracer_hold_thread(tracer, process, tid, inj_now_ns() + 20 * SECOND,
				       10 * SECOND, &hold, &why);

	cr_assert_eq(r, 0, "%d: %s", r, why.text);
	cr_assert_eq(hold->n_threads, 1);
	cr_assert_eq(hold->threads[0].tid, tid);
	return hold;
}

static uint64_t base_of(struct inj_tracer *tracer, const struct inj_process *process, pid_t tid)
{
	uint64_t base = hold_thread(tracer, process, tid)->threads[0].regs.gs_base;

	inj_tracer_release(tracer, NULL);
	return base;
}

Test(hold_thread, the_others_run_on)
{
	need_root();

	VICTIM victim = victim_start("threads", "3", "0", NULL);
	PROCESS process = open_victim(victim->pid);
	TRACER tracer = new_tracer();
	INJ_FREE pid_t *tids = NULL;
	size_t n = 0;

	cr_assert_eq(inj_tasks_read(process, &tids, &n), 0);
	cr_assert_eq(n, 4);
	for (size_t i = 1; i < n; i++) {
		hold_thread(tracer, process, tids[i]);
		cr_expect_eq(thread_state(victim->pid, tids[i]), 't');
		victim_expect_above(victim, "count", victim_ask_number(victim, "count") + 1000);
		inj_tracer_release(tracer, NULL);
		victim_expect_above(victim, "slowest", victim_ask_number(victim, "slowest"));
	}
	victim_quit(victim);
}

Test(hold_thread, a_mark_stays_with_its_thread)
{
	need_root();

	VICTIM victim = victim_start("threads", "2", "0", NULL);
	PROCESS process = open_victim(victim->pid);
	TRACER tracer = new_tracer();
	INJ_FREE pid_t *tids = NULL;
	size_t n = 0;

	cr_assert_eq(inj_tasks_read(process, &tids, &n), 0);
	for (int round = 0; round < 200; round++)
		for (size_t i = 0; i < n; i++) {
			struct inj_hold *hold = hold_thread(tracer, process, tids[i]);

			cr_assert_eq(hold->threads[0].regs.gs_base,
				     round ? MARK * (unsigned)(round + (int)i) : 0);
			cr_assert_eq(inj_thread_set_gs_base(tracer, hold, 0,
							    MARK * (unsigned)(round + 1 + (int)i)),
				     0);
			inj_tracer_release(tracer, NULL);
		}
	victim_expect_above(victim, "slowest", victim_ask_number(victim, "slowest"));
	cr_expect_eq(
		inj_thread_set_gs_base(tracer, hold_thread(tracer, process, tids[0]), 0, ~0ull / 3),
		-EIO);
	inj_tracer_release(tracer, NULL);
	victim_quit(victim);
}

/* Every thread of the chain makes the next one: who was made by a marked one is marked. */
Test(hold_thread, a_mark_is_handed_on)
{
	need_root();

	VICTIM victim = victim_start("churn", "chain", NULL);
	PROCESS process = open_victim(victim->pid);
	TRACER tracer = new_tracer();
	struct inj_hold *hold = hold_process(tracer, process);
	size_t n_marked = 0;

	for (size_t i = 0; i < hold->n_threads; i++)
		cr_assert_eq(inj_thread_set_gs_base(tracer, hold, i, MARK), 0);
	inj_tracer_release(tracer, NULL);
	victim_expect_above(victim, "made", victim_ask_number(victim, "made") + 100);
	hold = hold_process(tracer, process);
	for (size_t i = 0; i < hold->n_threads; i++)
		n_marked += hold->threads[i].regs.gs_base == MARK;
	cr_expect_eq(n_marked, hold->n_threads);
	inj_tracer_release(tracer, NULL);
	victim_expect(victim, "failed", "0");
	victim_quit(victim);
}

Test(hold_thread, there_is_no_such_thread)
{
	need_root();

	VICTIM victim = victim_start("threads", "2", NULL);
	PROCESS process = open_victim(victim->pid);
	TRACER tracer = new_tracer();
	struct inj_hold *hold = NULL;
	struct inj_why why = {0};

	cr_expect_eq(inj_tracer_hold_thread(tracer, process, getpid(), inj_now_ns() + SECOND,
					    SECOND, &hold, &why),
		     -ESRCH, "%s", why.text);
	cr_expect_null(hold);
	victim_expect_above(victim, "slowest", victim_ask_number(victim, "slowest"));
	cr_expect_eq(base_of(tracer, process, victim->pid), 0);
	victim_quit(victim);
}

/* The main thread sits in a read; its death mark must neither end the call nor get lost. */
Test(hold_thread, death_right_after_the_mark)
{
	need_root();

	VICTIM victim = victim_start("threads", "2", NULL);
	PROCESS process = open_victim(victim->pid);
	int status;
	pid_t worker = fork();

	cr_assert_geq(worker, 0);
	if (worker == 0) {
		TRACER tracer = new_tracer();

		setenv("DSUD_FAULT", "gs-base-set", 1);
		inj_thread_set_gs_base(tracer, hold_thread(tracer, process, victim->pid), 0, MARK);
		_exit(0);
	}
	cr_assert_eq(waitpid(worker, &status, 0), worker);
	cr_assert(WIFSIGNALED(status));
	victim_expect(victim, "greet", "hello");

	TRACER tracer = new_tracer();

	cr_expect_eq(base_of(tracer, process, victim->pid), MARK);
	victim_quit(victim);
}
