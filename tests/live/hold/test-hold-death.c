/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tracer is killed, at every fault point of a hold and at random moments; the target goes on
 * as if nothing had been.
 */
#include <stdlib.h>
#include <sys/wait.h>

#include "injector/process/tasks.h"
#include "tests/live/hold/holding.h"

TestSuite(hold_death, .timeout = 120);

/* Hold and release for ever, until something kills us. */
static _Noreturn void hold_for_ever(pid_t target, const char *fault)
{
	if (fault)
		setenv("DSUD_FAULT", fault, 1);

	struct inj_process *process = open_victim(target);
	struct inj_tracer *tracer = new_tracer();

	for (;;) {
		hold_process(tracer, process);
		inj_tracer_release(tracer, NULL);
	}
}

static pid_t start_tracer(pid_t target, const char *fault)
{
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0)
		hold_for_ever(target, fault);
	return pid;
}

static void expect_killed(pid_t pid)
{
	int status = 0;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %#x", status);
}

static void expect_free(pid_t pid)
{
	PROCESS process = open_victim(pid);
	INJ_FREE pid_t *tids = NULL;
	size_t n = 0;

	cr_assert_eq(inj_tasks_read(process, &tids, &n), 0);
	for (size_t i = 0; i < n; i++)
		cr_expect_eq(status_field(pid, tids[i], "TracerPid", 10), 0);
}

static void await_asleep(const struct victim *victim)
{
	PROCESS process = open_victim(victim->pid);
	uint64_t deadline_ns = inj_now_ns() + 10 * SECOND;

	for (bool awake = true; awake;) {
		INJ_FREE pid_t *tids = NULL;
		size_t n = 0;

		awake = false;
		cr_assert_eq(inj_tasks_read(process, &tids, &n), 0);
		for (size_t i = 0; i < n; i++)
			awake |= thread_state(victim->pid, tids[i]) != 'S';
		cr_assert(inj_now_ns() < deadline_ns, "not all threads fell asleep");
	}
}

static void die_among_blocked(const char *fault)
{
	VICTIM victim = victim_start("blocking", "3600000", NULL);

	await_asleep(victim);
	expect_killed(start_tracer(victim->pid, fault));
	expect_free(victim->pid);
	await_asleep(victim);
	cr_expect_eq(victim_ask_number(victim, "returned"), 0, "%s: %s", fault,
		     victim_ask(victim, "report"));
	victim_expect(victim, "wake", "woken");
	victim_quit(victim);
}

Test(hold_death, after_seizing)
{
	need_root();
	die_among_blocked("hold-seized");
}

Test(hold_death, while_held)
{
	need_root();
	die_among_blocked("hold-stopped");
}

Test(hold_death, while_letting_go)
{
	need_root();
	die_among_blocked("hold-first-detached");
	die_among_blocked("hold-first-detached:3");
}

/* Signals on their way while the tracer dies in the middle of a hold arrive. */
Test(hold_death, signals_arrive)
{
	need_root();

	VICTIM victim = victim_start("signals", NULL);
	uint64_t random = 123456789u;
	int value = 0;

	for (int i = 0; i < 100; i++) {
		pid_t tracer = start_tracer(victim->pid, NULL);

		for (int k = 0; k < 20; k++) {
			union sigval next = {.sival_int = ++value};

			cr_assert_eq(sigqueue(victim->pid, SIGRTMIN, next), 0);
			pause_ns(random_below(&random, 200000));
		}
		kill(tracer, SIGKILL);
		expect_killed(tracer);
	}
	victim_expect_above(victim, "queued", value - 1);
	victim_expect(victim, "stop", "stopped");
	cr_expect_eq(victim_ask_number(victim, "queued"), value);
	victim_expect(victim, "disorder", "0");
	victim_expect(victim, "unreaped", "0");
	expect_free(victim->pid);
	victim_quit(victim);
}

Test(hold_death, registers_survive)
{
	need_root();

	VICTIM victim = victim_start("registers", "3", NULL);
	uint64_t random = 362436069u;

	for (int i = 0; i < 200; i++) {
		pid_t tracer = start_tracer(victim->pid, NULL);

		pause_ns(random_below(&random, 5 * MS));
		kill(tracer, SIGKILL);
		expect_killed(tracer);
	}
	victim_expect_above(victim, "laps", victim_ask_number(victim, "laps") + 1);
	victim_expect(victim, "wrong", "nothing");
	expect_free(victim->pid);
}
