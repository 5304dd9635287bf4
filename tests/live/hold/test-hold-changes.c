/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Targets that change while they are being stopped: threads, children, programs come and go;
 * threads that never stop. Either everything is held, or a clear answer and nothing attached.
 */
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "injector/process/tasks.h"
#include "tests/support/child.h"
#include "tests/live/hold/holding.h"

TestSuite(hold_changes, .timeout = 120);

/* All threads that /proc shows are in the hold and stopped by us. */
static void expect_all_stopped(const struct inj_hold *hold)
{
	INJ_FREE pid_t *tids = NULL;
	size_t n = 0;

	cr_assert_eq(inj_tasks_read(hold->process, &tids, &n), 0);
	for (size_t i = 0, k = 0; i < n; i++) {
		char state = thread_state(hold->process->pid, tids[i]);

		while (k < hold->n_threads && hold->threads[k].tid < tids[i])
			k++;
		if (state == 'Z' || state == 'X' || state == 0)
			continue;
		cr_assert_eq(state, 't', "thread %d is in state %c", (int)tids[i], state);
		cr_assert(k < hold->n_threads && hold->threads[k].tid == tids[i],
			  "thread %d is not in the hold", (int)tids[i]);
	}
}

static void expect_detached(pid_t pid)
{
	cr_expect_eq(status_field(pid, pid, "TracerPid", 10), 0);
}

/* Hold again and again a victim that makes things; it goes on, and nothing it made failed. */
static void hold_storm(const char *what, int n_holds)
{
	VICTIM victim = victim_start("churn", what, NULL);
	PROCESS process = open_victim(victim->pid);
	TRACER tracer = new_tracer();
	uint64_t random = 521288629u;

	victim_expect_above(victim, "made", 0);
	for (int i = 0; i < n_holds; i++) {
		expect_all_stopped(hold_process(tracer, process));
		inj_tracer_release(tracer, NULL);
		pause_ns(random_below(&random, MS));
	}
	victim_expect_above(victim, "made", victim_ask_number(victim, "made"));
	victim_expect(victim, "failed", "0");
	expect_detached(victim->pid);
	victim_quit(victim);
}

Test(hold_changes, threads_that_end_at_once)
{
	need_root();
	hold_storm("threads", 300);
}

Test(hold_changes, a_chain_of_threads)
{
	need_root();
	hold_storm("chain", 300);
}

Test(hold_changes, forks)
{
	need_root();
	hold_storm("forks", 300);
}

Test(hold_changes, vforks)
{
	need_root();
	hold_storm("vforks", 100);
}

Test(hold_changes, spawns)
{
	need_root();
	hold_storm("spawns", 100);
}

Test(hold_changes, clones_that_are_no_threads)
{
	need_root();
	hold_storm("clones", 300);
}

/* A thread that does not stop: the others are let go, the text says who and where. */
Test(hold_changes, vfork_blocks)
{
	need_root();

	VICTIM victim = victim_start("churn", "vfork-long", "500", NULL);
	PROCESS process = open_victim(victim->pid);
	TRACER tracer = new_tracer();
	const struct inj_process *const processes[] = {process};
	struct inj_hold *holds = NULL;
	struct inj_why why = {0};
	uint64_t held_ns = 0;
	int r;

	do {
		r = inj_tracer_hold(tracer, processes, 1, inj_now_ns() + SECOND, 10 * MS, &holds,
				    &why);
		inj_tracer_release(tracer, &held_ns);
	} while (r == 0);
	cr_expect_eq(r, INJ_BLOCKED, "%d: %s", r, why.text);
	cr_expect_neq(why.tid, 0);
	cr_expect_neq(why.tid, victim->pid);
	cr_expect_not_null(strstr(why.text, "did not stop"), "%s", why.text);
	cr_expect(held_ns >= 10 * MS && held_ns < 100 * MS, "%llu", (unsigned long long)held_ns);
	cr_expect_eq(status_field(victim->pid, victim->pid, "TracerPid", 10), 0);
	cr_expect_eq(status_field(victim->pid, why.tid, "TracerPid", 10), 0);
	/* With time enough it works, on a thread just out of vfork as well. */
	hold_process(tracer, process);
	inj_tracer_release(tracer, NULL);
	victim_expect_above(victim, "made", victim_ask_number(victim, "made"));
	victim_expect(victim, "failed", "0");
	victim_quit(victim);
}

struct near {
	struct inj_tracer *tracer;
	const struct inj_process *process;
	struct inj_why why;
	int result;
};

static int hold_until_blocked(void *argument)
{
	struct near *near = argument;
	struct inj_hold *holds = NULL;

	do {
		near->result = inj_tracer_hold(near->tracer, &near->process, 1,
					       inj_now_ns() + SECOND, 10 * MS, &holds, &near->why);
		inj_tracer_release(near->tracer, NULL);
	} while (near->result == 0);
	/* The main thread is free already, even before this function returns. */
	cr_expect_eq(status_field(near->process->pid, near->process->pid, "TracerPid", 10), 0);
	return 0;
}

/* On the tracer's own thread, which cannot end before the function returns. */
Test(hold_changes, vfork_blocks_inside_of_run)
{
	need_root();

	VICTIM victim = victim_start("churn", "vfork-long", "500", NULL);
	PROCESS process = open_victim(victim->pid);
	TRACER tracer = new_tracer();
	struct near near = {.tracer = tracer, .process = process};

	cr_assert_eq(inj_tracer_run(tracer, hold_until_blocked, &near), 0);
	cr_expect_eq(near.result, INJ_BLOCKED, "%d: %s", near.result, near.why.text);
	cr_expect_eq(status_field(victim->pid, near.why.tid, "TracerPid", 10), 0);
	hold_process(tracer, process);
	inj_tracer_release(tracer, NULL);
	victim_expect_above(victim, "made", victim_ask_number(victim, "made"));
	victim_expect(victim, "failed", "0");
	victim_quit(victim);
}

static int hold_many_times(void *argument)
{
	struct near *near = argument;

	for (int i = 0; i < 200; i++) {
		expect_all_stopped(hold_process(near->tracer, near->process));
		inj_tracer_release(near->tracer, NULL);
	}
	return 7;
}

Test(hold_changes, holds_inside_of_run)
{
	need_root();

	VICTIM victim = victim_start("churn", "threads", NULL);
	PROCESS process = open_victim(victim->pid);
	TRACER tracer = new_tracer();
	struct near near = {.tracer = tracer, .process = process};

	cr_expect_eq(inj_tracer_run(tracer, hold_many_times, &near), 7);
	expect_detached(victim->pid);
	victim_expect_above(victim, "made", victim_ask_number(victim, "made"));
	victim_expect(victim, "failed", "0");
	victim_quit(victim);
}

Test(hold_changes, the_main_thread_has_ended)
{
	need_root();

	VICTIM victim = victim_start("churn", "leader-ends", NULL);
	struct inj_process *opened = NULL;
	TRACER tracer = new_tracer();
	struct inj_why why = {0};

	while (thread_state(victim->pid, victim->pid) != 'Z')
		;
	/* Opening may refuse such a process; holding one that was opened before must work. */
	if (inj_process_open(victim->pid, &opened, &why) != 0)
		cr_skip_test("a process whose main thread ended cannot be opened");

	PROCESS process = opened;

	for (int i = 0; i < 20; i++) {
		const struct inj_hold *hold = hold_process(tracer, process);

		cr_expect_eq(hold->n_threads, 1);
		inj_tracer_release(tracer, NULL);
	}
	cr_expect_eq(victim_quit(victim), 0);
}

/* The target changes into something else while it is held again and again. */
static void hold_until_gone(const char *what, const char *question, int expected_status)
{
	for (int round = 0; round < 30; round++) {
		VICTIM victim = victim_start("churn", what, "400", NULL);
		PROCESS process = open_victim(victim->pid);
		TRACER tracer = new_tracer();
		const struct inj_process *const processes[] = {process};
		uint64_t begin_ns = inj_now_ns();

		victim_expect_above(victim, "made", 0);
		victim_tell(victim, question);
		while (inj_now_ns() - begin_ns < 20 * MS) {
			struct inj_hold *holds = NULL;
			struct inj_why why = {0};
			int r = inj_tracer_hold(tracer, processes, 1, inj_now_ns() + 5 * SECOND,
						2 * SECOND, &holds, &why);

			cr_assert(r == 0 || r == INJ_PROCESS_GONE, "%d: %s", r, why.text);
			inj_tracer_release(tracer, NULL);
			if (r == INJ_PROCESS_GONE && expected_status)
				break;
		}
		if (expected_status) {
			cr_expect_eq(victim_wait(victim), expected_status);
		} else {
			/* The new program says that it is ready, and answers. */
			cr_expect_str_eq(victim_hear(victim), "ready");
			victim_expect(victim, "failed", "0");
			expect_detached(victim->pid);
			victim_quit(victim);
		}
	}
}

Test(hold_changes, exec_by_the_main_thread)
{
	need_root();
	hold_until_gone("threads", "exec-main", 0);
}

Test(hold_changes, exec_by_another_thread)
{
	need_root();
	hold_until_gone("threads", "exec", 0);
}

/*
 * While an execve waits for the other threads to end, it keeps the lock that seizing takes, and
 * those that are seized do not end before their tracer reaps them.
 */
Test(hold_changes, exec_in_a_crowd)
{
	need_root();
	hold_until_gone("crowd", "exec", 0);
}

Test(hold_changes, exit_by_another_thread)
{
	need_root();
	hold_until_gone("threads", "exit", 7 << 8);
}

Test(hold_changes, exit_in_a_crowd)
{
	need_root();
	hold_until_gone("crowd", "exit", 7 << 8);
}

Test(hold_changes, two_thousand_threads)
{
	need_root();

	VICTIM victim = victim_start("threads", "2000", "200000", NULL);
	PROCESS process = open_victim(victim->pid);
	TRACER tracer = new_tracer();

	for (int i = 0; i < 5; i++) {
		const struct inj_hold *hold = hold_process(tracer, process);

		cr_expect_eq(hold->n_threads, 2001);
		expect_all_stopped(hold);
		inj_tracer_release(tracer, NULL);
	}
	victim_expect_above(victim, "slowest", victim_ask_number(victim, "slowest"));
}

Test(hold_changes, several_processes_at_once)
{
	need_root();

	VICTIM one = victim_start("threads", "3", NULL);
	VICTIM two = victim_start("threads", "9", NULL);
	PROCESS first = open_victim(one->pid);
	PROCESS second = open_victim(two->pid);
	const struct inj_process *const processes[] = {first, second};
	TRACER tracer = new_tracer();

	for (int i = 0; i < 50; i++) {
		struct inj_hold *holds = NULL;
		struct inj_why why = {0};
		int r = inj_tracer_hold(tracer, processes, 2, inj_now_ns() + 5 * SECOND,
					2 * SECOND, &holds, &why);

		cr_assert_eq(r, 0, "%s", why.text);
		cr_expect_eq(holds[0].process, first);
		cr_expect_eq(holds[0].n_threads, 4);
		cr_expect_eq(holds[1].n_threads, 10);
		expect_all_stopped(&holds[0]);
		expect_all_stopped(&holds[1]);
		inj_tracer_release(tracer, NULL);
	}
	victim_expect_above(one, "slowest", victim_ask_number(one, "slowest"));
	victim_expect_above(two, "slowest", victim_ask_number(two, "slowest"));
}

/* If one of them cannot be held, none is. */
Test(hold_changes, one_of_several_is_gone)
{
	need_root();

	VICTIM one = victim_start("threads", "3", NULL);
	VICTIM two = victim_start("threads", "3", NULL);
	PROCESS first = open_victim(one->pid);
	PROCESS second = open_victim(two->pid);
	const struct inj_process *const processes[] = {first, second};
	TRACER tracer = new_tracer();
	struct inj_hold *holds = NULL;
	struct inj_why why = {0};

	kill(two->pid, SIGKILL);
	victim_wait(two);
	cr_expect_eq(inj_tracer_hold(tracer, processes, 2, inj_now_ns() + SECOND, SECOND, &holds,
				     &why), INJ_PROCESS_GONE, "%s", why.text);
	expect_detached(one->pid);
	victim_expect_above(one, "slowest", victim_ask_number(one, "slowest"));
}

/* The registers of held threads are theirs, all of them, before and after. */
Test(hold_changes, registers_survive)
{
	need_root();

	VICTIM victim = victim_start("registers", "3", NULL);
	PROCESS process = open_victim(victim->pid);
	TRACER tracer = new_tracer();
	uint64_t random = 88675123u;

	for (int i = 0; i < 500; i++) {
		hold_process(tracer, process);
		pause_ns(random_below(&random, 100000));
		inj_tracer_release(tracer, NULL);
		pause_ns(random_below(&random, MS));
	}
	victim_expect_above(victim, "laps", victim_ask_number(victim, "laps") + 1);
	victim_expect(victim, "wrong", "nothing");
}

static void rest_as_nobody(void *argument)
{
	const uid_t nobody = 65534;

	/* A change of the user takes back what child_start() asked for. */
	if (setresuid(nobody, nobody, nobody) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0)
		child_ready();
	child_rest();
}

static void set_right_to_signal(bool on)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[2];

	cr_assert_eq(syscall(SYS_capget, &header, sets), 0);
	sets[0].effective &= ~(1u << CAP_KILL);
	sets[0].effective |= (uint32_t)on << CAP_KILL;
	cr_assert_eq(syscall(SYS_capset, &header, sets), 0);
}

/* As a worker does that only looks. */
Test(hold_changes, another_user_without_the_right_to_signal)
{
	need_root();

	pid_t child = child_start(rest_as_nobody, NULL);
	PROCESS process = open_victim(child);
	const struct inj_process *one = process;
	struct inj_hold *holds = NULL;
	struct inj_why why = {0};

	set_right_to_signal(false);

	TRACER tracer = new_tracer();
	int r = inj_tracer_hold(tracer, &one, 1, inj_now_ns() + 20 * SECOND, 10 * SECOND, &holds,
				&why);

	/* Our own end must be able to end the child. */
	set_right_to_signal(true);
	cr_assert_eq(r, 0, "%d: %s", r, why.text);
	expect_all_stopped(holds);
	inj_tracer_release(tracer, NULL);
	expect_detached(child);
	child_end(child);
}
