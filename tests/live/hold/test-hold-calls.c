/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * System calls that a target sleeps in do not return because it was held; those that a signal
 * with a handler interrupts do, as they do without us.
 */
#include <errno.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "injector/process/tasks.h"
#include "tests/live/hold/holding.h"

#define N_HOLDS 1000

TestSuite(hold_calls, .timeout = 120);

/* Wait until all threads of the victim sleep, main thread aside. */
static void await_asleep(struct victim *victim, const struct inj_process *process)
{
	long long n = victim_ask_number(victim, "count");
	uint64_t deadline_ns = inj_now_ns() + 10 * SECOND;

	for (;;) {
		INJ_FREE pid_t *tids = NULL;
		size_t n_tids = 0;
		size_t n_asleep = 0;

		cr_assert_eq(inj_tasks_read(process, &tids, &n_tids), 0);
		for (size_t i = 0; i < n_tids; i++)
			n_asleep += thread_state(victim->pid, tids[i]) == 'S';
		if (n_asleep == n_tids && victim_ask_number(victim, "asleep") == n)
			return;
		cr_assert(inj_now_ns() < deadline_ns, "not all threads fell asleep");
	}
}

static void expect_all_woken(struct victim *victim)
{
	char *rest = NULL;

	victim_expect(victim, "wake", "woken");
	victim_ask(victim, "report");
	/* name=result,errno,milliseconds */
	for (char *word = strtok_r(victim->line, " ", &rest); word;
	     word = strtok_r(NULL, " ", &rest)) {
		const char *result = strchr(word, '=');

		cr_assert_not_null(result, "%s", word);
		cr_expect_neq(result[1], '-', "%s failed", word);
	}
}

Test(hold_calls, none_returns_early)
{
	need_root();

	VICTIM victim = victim_start("blocking", "3600000", NULL);
	PROCESS process = open_victim(victim->pid);
	TRACER tracer = new_tracer();
	uint64_t random = 88172645463325252u;

	await_asleep(victim, process);
	for (int i = 0; i < N_HOLDS; i++) {
		hold_process(tracer, process);
		pause_ns(random_below(&random, 300000));
		inj_tracer_release(tracer, NULL);
		pause_ns(random_below(&random, 2 * MS));
	}
	cr_expect_eq(victim_ask_number(victim, "returned"), 0, "%s",
		     victim_ask(victim, "report"));
	expect_all_woken(victim);
	victim_quit(victim);
}

/*
 * Somebody in the same hold never stops, and the budget is over before these threads were looked
 * at, who are on their way to a stop: they are not let go before they have arrived.
 */
Test(hold_calls, none_returns_early_when_holds_are_given_up)
{
	need_root();

	VICTIM forker = victim_start("churn", "vfork-long", "100", NULL);
	VICTIM victim = victim_start("blocking", "3600000", NULL);
	PROCESS first = open_victim(forker->pid);
	PROCESS second = open_victim(victim->pid);
	const struct inj_process *const processes[] = {first, second};
	TRACER tracer = new_tracer();

	await_asleep(victim, second);
	for (int n_given_up = 0; n_given_up < 100;) {
		struct inj_hold *holds = NULL;
		struct inj_why why = {0};
		int r = inj_tracer_hold(tracer, processes, 2, inj_now_ns() + SECOND, MS, &holds,
					&why);

		cr_assert(r == 0 || r == INJ_BLOCKED, "%d: %s", r, why.text);
		n_given_up += r != 0;
		inj_tracer_release(tracer, NULL);
	}
	cr_expect_eq(victim_ask_number(victim, "returned"), 0, "%s",
		     victim_ask(victim, "report"));
	expect_all_woken(victim);
	victim_quit(victim);
}

/* Until a call came back with this result. */
static void await_reported(struct victim *victim, const char *result)
{
	uint64_t deadline_ns = inj_now_ns() + 20 * SECOND;

	while (!strstr(victim_ask(victim, "report"), result))
		cr_assert(inj_now_ns() < deadline_ns, "no %s in %s", result, victim->line);
}

/* The same without repair: the protection is needed, and the victim would show its absence. */
Test(hold_calls, some_return_early_without_repair)
{
	need_root();

	VICTIM victim = victim_start("blocking", "3600000", NULL);
	PROCESS process = open_victim(victim->pid);
	INJ_FREE pid_t *tids = NULL;
	size_t n = 0;

	await_asleep(victim, process);
	cr_assert_eq(inj_tasks_read(process, &tids, &n), 0);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(ptrace(PTRACE_SEIZE, tids[i], 0, 0), 0);
	for (size_t i = 0; i < n; i++)
		ptrace(PTRACE_INTERRUPT, tids[i], 0, 0);
	for (size_t i = 0; i < n; i++)
		waitpid(tids[i], NULL, __WALL);
	for (size_t i = 0; i < n; i++)
		ptrace(PTRACE_DETACH, tids[i], 0, 0);
	await_reported(victim, "epoll_wait=-1,4,");
	await_reported(victim, "semop=-1,4,");
	await_reported(victim, "sigwaitinfo=-1,4,");
	await_reported(victim, "recv-timed=-1,4,");
	victim_quit(victim);
}

/* A thread that is in this system call. */
static size_t find_call(const struct inj_hold *hold, long number)
{
	for (size_t i = 0; i < hold->n_threads; i++)
		if (hold->threads[i].in_syscall && (long)hold->threads[i].regs.orig_rax == number)
			return i;
	cr_assert_fail("no thread is in system call %ld", number);
	return 0;
}

#define SYS_EPOLL_WAIT 232
/* glibc makes semop(2) of it. */
#define SYS_SEMTIMEDOP 220
#define SYS_RECVFROM   45

/* A handler runs while the target is held: these calls end with EINTR, once each. */
static void interrupt_while_held(long number, const char *name)
{
	VICTIM victim = victim_start("blocking", "3600000", NULL);
	PROCESS process = open_victim(victim->pid);
	TRACER tracer = new_tracer();

	await_asleep(victim, process);

	const struct inj_hold *hold = hold_process(tracer, process);
	size_t index = find_call(hold, number);

	tgkill(victim->pid, hold->threads[index].tid, SIGUSR1);
	inj_tracer_release(tracer, NULL);
	victim_expect_above(victim, "returned", 0);
	victim_ask(victim, "report");
	cr_expect_not_null(strstr(victim->line, name), "%s", victim->line);
	cr_expect_not_null(strstr(victim->line, "=-1,4,"), "%s", victim->line);
	cr_expect_null(strchr(victim->line, ' '), "%s", victim->line);
	victim_expect(victim, "handled", "1");
	victim_quit(victim);
}

Test(hold_calls, a_handled_signal_interrupts_epoll)
{
	need_root();
	interrupt_while_held(SYS_EPOLL_WAIT, "epoll_wait");
}

Test(hold_calls, a_handled_signal_interrupts_semop)
{
	need_root();
	interrupt_while_held(SYS_SEMTIMEDOP, "semop");
}

Test(hold_calls, a_handled_signal_interrupts_recv)
{
	need_root();
	interrupt_while_held(SYS_RECVFROM, "recv");
}

Test(hold_calls, nothing_stays_attached)
{
	need_root();

	VICTIM victim = victim_start("blocking", "3600000", NULL);
	PROCESS process = open_victim(victim->pid);
	TRACER tracer = new_tracer();

	await_asleep(victim, process);

	const struct inj_hold *hold = hold_process(tracer, process);
	uint64_t held_ns = 0;

	for (size_t i = 0; i < hold->n_threads; i++) {
		pid_t tid = hold->threads[i].tid;

		cr_expect_neq(status_field(victim->pid, tid, "TracerPid", 10), 0);
		cr_expect_eq(thread_state(victim->pid, tid), 't');
		cr_expect(i == 0 || tid > hold->threads[i - 1].tid);
	}
	inj_tracer_release(tracer, &held_ns);
	cr_expect(held_ns > 0 && held_ns < SECOND);
	await_asleep(victim, process);
	cr_expect_eq(status_field(victim->pid, victim->pid, "TracerPid", 10), 0);
	victim_quit(victim);
}

/* Two holds at once are refused, releasing nothing is fine, so is freeing while held. */
Test(hold_calls, misuse_harms_nobody)
{
	need_root();

	VICTIM victim = victim_start("blocking", "3600000", NULL);
	PROCESS process = open_victim(victim->pid);
	const struct inj_process *const processes[] = {process};
	TRACER tracer = new_tracer();
	struct inj_hold *holds = NULL;
	struct inj_why why = {0};
	uint64_t held_ns = 1;

	inj_tracer_release(tracer, &held_ns);
	cr_expect_eq(held_ns, 0);
	await_asleep(victim, process);
	hold_process(tracer, process);
	cr_expect_eq(inj_tracer_hold(tracer, processes, 1, inj_now_ns() + SECOND, SECOND, &holds,
				     &why), -EBUSY);
	inj_tracer_free(INJ_TAKE(tracer));
	await_asleep(victim, process);
	cr_expect_eq(victim_ask_number(victim, "returned"), 0);
	victim_quit(victim);
}
