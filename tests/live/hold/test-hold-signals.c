/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signals that arrive before, while and after a target is held: none is lost, doubled, put out
 * of order or told with other facts. A stopped target stays stopped.
 */
#include <sys/wait.h>

#include "tests/live/hold/holding.h"
#include "tests/support/child.h"

#define N_HOLDS 200

TestSuite(hold_signals, .timeout = 120);

static void queue(pid_t pid, int *value)
{
	union sigval next = {.sival_int = ++*value};

	cr_assert_eq(sigqueue(pid, SIGRTMIN, next), 0);
}

Test(hold_signals, none_is_lost_doubled_or_reordered)
{
	need_root();

	VICTIM victim = victim_start("signals", NULL);
	PROCESS process = open_victim(victim->pid);
	TRACER tracer = new_tracer();
	uint64_t random = 2463534242u;
	int value = 0;

	for (int i = 0; i < N_HOLDS; i++) {
		for (uint64_t k = random_below(&random, 5); k > 0; k--)
			queue(victim->pid, &value);
		hold_process(tracer, process);
		for (uint64_t k = random_below(&random, 5); k > 0; k--)
			queue(victim->pid, &value);
		pause_ns(random_below(&random, 2 * MS));
		inj_tracer_release(tracer, NULL);
		pause_ns(random_below(&random, 2 * MS));
	}
	victim_expect_above(victim, "queued", value - 1);
	victim_expect(victim, "stop", "stopped");
	cr_expect_eq(victim_ask_number(victim, "queued"), value);
	victim_expect(victim, "disorder", "0");
	victim_expect(victim, "unreaped", "0");
	victim_expect(victim, "interrupted", "0");
	cr_expect_gt(victim_ask_number(victim, "children"), 0);

	/* An expiration is told once, at the latest as an overrun of the next one. */
	long long alarms = victim_ask_number(victim, "alarms");
	long long elapsed = victim_ask_number(victim, "elapsed");

	cr_expect(alarms >= elapsed - 2 && alarms <= elapsed + 2, "%lld alarms in %lld ms",
		  alarms, elapsed);
	victim_quit(victim);
}

/* In a process of its own, because a tracer that is also the parent is treated otherwise. */
struct holder {
	pid_t target;
	int to[2], from[2];
};

static void hold_on_demand(void *argument)
{
	const struct holder *holder = argument;
	struct inj_process *process = open_victim(holder->target);
	struct inj_tracer *tracer = new_tracer();
	char byte;

	child_ready();
	while (read(holder->to[0], &byte, 1) == 1) {
		if (byte == 'h')
			hold_process(tracer, process);
		else
			inj_tracer_release(tracer, NULL);
		if (write(holder->from[1], &byte, 1) != 1)
			break;
	}
	child_rest();
}

static void demand(const struct holder *holder, char what)
{
	char byte = 0;

	cr_assert_eq(write(holder->to[1], &what, 1), 1);
	cr_assert_eq(read(holder->from[0], &byte, 1), 1);
	cr_assert_eq(byte, what);
}

static pid_t start_holder(struct holder *holder, pid_t target)
{
	holder->target = target;
	cr_assert_eq(pipe(holder->to), 0);
	cr_assert_eq(pipe(holder->from), 0);
	return child_start(hold_on_demand, holder);
}

/* What the parent is told of the victim by now; 0: nothing. */
static int told(pid_t pid)
{
	int status = 0;
	pid_t r = waitpid(pid, &status, WNOHANG | WUNTRACED | WCONTINUED);

	cr_assert(r == 0 || r == pid);
	return r == 0 ? 0 : WIFSTOPPED(status) ? 'S' : WIFCONTINUED(status) ? 'C' : 'E';
}

static void await_told(pid_t pid, int what)
{
	uint64_t deadline_ns = inj_now_ns() + 10 * SECOND;
	int got;

	while ((got = told(pid)) == 0)
		cr_assert(inj_now_ns() < deadline_ns, "nothing is told");
	cr_expect_eq(got, what, "%c instead of %c", got, what);
}

Test(hold_signals, stopped_stays_stopped)
{
	need_root();

	struct holder holder;
	VICTIM victim = victim_start("threads", "4", NULL);
	pid_t helper = start_holder(&holder, victim->pid);

	kill(victim->pid, SIGSTOP);
	await_told(victim->pid, 'S');
	for (int i = 0; i < 20; i++) {
		demand(&holder, 'h');
		demand(&holder, 'r');
		child_await_state(victim->pid, "T");
		cr_expect_eq(told(victim->pid), 0);
	}
	kill(victim->pid, SIGCONT);
	await_told(victim->pid, 'C');
	victim_expect_above(victim, "slowest", victim_ask_number(victim, "slowest"));
	child_end(helper);
}

Test(hold_signals, stop_while_held)
{
	need_root();

	struct holder holder;
	VICTIM victim = victim_start("threads", "4", NULL);
	pid_t helper = start_holder(&holder, victim->pid);

	for (int i = 0; i < 20; i++) {
		demand(&holder, 'h');
		kill(victim->pid, SIGSTOP);
		demand(&holder, 'r');
		await_told(victim->pid, 'S');
		child_await_state(victim->pid, "T");
		kill(victim->pid, SIGCONT);
		await_told(victim->pid, 'C');
		victim_expect_above(victim, "slowest", victim_ask_number(victim, "slowest"));
	}
	child_end(helper);
}

Test(hold_signals, continue_while_held)
{
	need_root();

	struct holder holder;
	VICTIM victim = victim_start("threads", "4", NULL);
	pid_t helper = start_holder(&holder, victim->pid);

	for (int i = 0; i < 20; i++) {
		kill(victim->pid, SIGSTOP);
		await_told(victim->pid, 'S');
		demand(&holder, 'h');
		kill(victim->pid, SIGCONT);
		demand(&holder, 'r');
		await_told(victim->pid, 'C');
		victim_expect_above(victim, "slowest", victim_ask_number(victim, "slowest"));
	}
	child_end(helper);
}

/* Stop and continue at random moments of holds that follow each other. */
Test(hold_signals, stop_and_continue_at_any_moment)
{
	need_root();

	struct holder holder;
	VICTIM victim = victim_start("threads", "4", NULL);
	pid_t helper = start_holder(&holder, victim->pid);
	uint64_t random = 362436069u;

	for (int i = 0; i < 300; i++) {
		char byte;

		cr_assert_eq(write(holder.to[1], "hr", 2), 2);
		pause_ns(random_below(&random, 300000));
		kill(victim->pid, SIGSTOP);
		pause_ns(random_below(&random, 300000));
		kill(victim->pid, SIGCONT);
		cr_assert_eq(read(holder.from[0], &byte, 1), 1);
		cr_assert_eq(read(holder.from[0], &byte, 1), 1);
	}
	victim_expect_above(victim, "slowest", victim_ask_number(victim, "slowest"));
	child_end(helper);
}

static void end_while_held(int signal, int expected)
{
	struct holder holder;
	VICTIM victim = victim_start("threads", "8", NULL);
	pid_t helper = start_holder(&holder, victim->pid);

	demand(&holder, 'h');
	kill(victim->pid, signal);
	demand(&holder, 'r');
	cr_expect_eq(victim_wait(victim), expected);
	child_end(helper);
}

Test(hold_signals, terminated_while_held)
{
	need_root();
	end_while_held(SIGTERM, SIGTERM);
}

Test(hold_signals, killed_while_held)
{
	need_root();
	end_while_held(SIGKILL, SIGKILL);
}
