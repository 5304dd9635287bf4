/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Borrowing where it is delicate: sandboxes that kill, stopped targets, signals on their way,
 * stacks that are not safe to write to, restartable sequences, threads that never stop.
 */
#include "tests/live/borrow/borrowing.h"
#include "tests/support/child.h"

TestSuite(borrow_guests, .timeout = 240);

static void borrow_from_sandbox(const char *mode)
{
	VICTIM victim = victim_start("guarded", mode, NULL);
	PROCESS process = open_victim(victim->pid);
	MAPS maps = read_maps(process);

	for (int i = 0; i < 50; i++)
		map_and_unmap(process, maps, 0);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(borrow_faults); i++)
		for (int k = 0; k < 5; k++)
			die_borrowing(victim->pid, 0, borrow_faults[i]);
	cr_expect_eq(victim_ask_number(victim, "count"), 1);
	cr_expect_neq(status_field(victim->pid, victim->pid, "Seccomp", 10), 0);
}

Test(borrow_guests, a_filter_that_kills)
{
	need_root();
	borrow_from_sandbox("filter");
}

/* Without __restore_rt, on two instructions that happen to be there. */
Test(borrow_guests, a_program_without_libc)
{
	need_root();

	VICTIM victim = victim_start("bare-static", NULL);
	PROCESS process = open_victim(victim->pid);
	MAPS maps = read_maps(process);
	struct inj_borrow *borrow = borrow_thread(process, maps, 0);

	cr_assert(borrow->gadget.in_two_pieces);
	inj_borrow_close(borrow, NULL);
	for (int i = 0; i < 50; i++)
		map_and_unmap(process, maps, 0);
	victim_expect(victim, "?", "1");
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(borrow_faults); i++) {
		/* Armed with all registers at once, so this point is not passed. */
		if (strncmp(borrow_faults[i], "borrow-armed", 12) == 0)
			continue;
		for (int k = 0; k < 5; k++)
			die_borrowing(victim->pid, 0, borrow_faults[i]);
	}
	victim_expect(victim, "?", "2");
	cr_expect_eq(status_field(victim->pid, victim->pid, "TracerPid", 10), 0);
}

Test(borrow_guests, strict_mode)
{
	need_root();
	borrow_from_sandbox("strict");
}

/* A tracer that is filtered itself may not suspend seccomp: refused, and nothing was touched. */
Test(borrow_guests, filtered_tracer_is_refused)
{
	need_root();

	VICTIM victim = victim_start("guarded", "filter", NULL);
	int status = 0;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		struct inj_process *process = open_victim(victim->pid);
		struct inj_maps *maps = read_maps(process);
		struct inj_borrow *borrow = NULL;
		struct inj_why why = {0};
		/* The dullest filter there is: everything is allowed. */
		uint64_t allow = 0x7fff000000000006u;
		struct {
			unsigned short n;
			void *program;
		} whole = {1, &allow};

		if (syscall(SYS_prctl, 38, 1, 0, 0, 0) != 0 ||
		    syscall(SYS_seccomp, 1, 0, &whole) != 0)
			_exit(1);

		int r = inj_borrow_open(process, maps, inj_now_ns() + SECOND, &borrow, &why);

		_exit(r == INJ_UNSUPPORTED_PROCESS && strstr(why.text, "seccomp") ? 0 : 2);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0);
	cr_expect_eq(victim_ask_number(victim, "count"), 1);
}

/* In another process than the victim's parent, who wants to hear of stops. */
static void borrow_for_ever(void *argument)
{
	const pid_t *target = argument;
	struct inj_process *process = open_victim(*target);
	struct inj_maps *maps = read_maps(process);

	child_ready();
	for (;;)
		map_and_unmap(process, maps, 0);
}

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

Test(borrow_guests, stopped_stays_stopped)
{
	need_root();

	VICTIM victim = victim_start("threads", "3", NULL);

	kill(victim->pid, SIGSTOP);
	await_told(victim->pid, 'S');

	long long before = -1;
	pid_t helper = child_start(borrow_for_ever, &victim->pid);

	/* Its threads do not run meanwhile, the borrowed one only for us. */
	pause_ns(100 * MS);
	cr_expect_eq(told(victim->pid), 0);
	child_end(helper);
	child_await_state(victim->pid, "T");
	pause_ns(20 * MS);
	cr_expect_eq(told(victim->pid), 0);
	kill(victim->pid, SIGCONT);
	await_told(victim->pid, 'C');
	victim_expect_above(victim, "slowest", before);
}

/* Borrowed and given back, each time: in state T as before. */
Test(borrow_guests, stopped_each_time)
{
	need_root();

	VICTIM victim = victim_start("registers", "2", NULL);
	PROCESS process = open_victim(victim->pid);
	MAPS maps = read_maps(process);
	INJ_FREE pid_t *tids = NULL;
	size_t n = list_threads(process, &tids);

	kill(victim->pid, SIGSTOP);
	child_await_state(victim->pid, "T");
	for (int i = 0; i < 50; i++) {
		map_and_unmap(process, maps, tids[(size_t)i % n]);
		child_await_state(victim->pid, "T");
		for (size_t k = 0; k < n; k++)
			while (thread_state(victim->pid, tids[k]) != 'T')
				;
	}
	kill(victim->pid, SIGCONT);
	victim_expect_above(victim, "laps", victim_ask_number(victim, "laps") + 1);
	victim_expect(victim, "wrong", "nothing");
}

Test(borrow_guests, stop_and_continue_at_any_moment)
{
	need_root();

	VICTIM victim = victim_start("registers", "2", NULL);
	pid_t helper = child_start(borrow_for_ever, &victim->pid);
	uint64_t random = 88675123u;

	for (int i = 0; i < 500; i++) {
		kill(victim->pid, SIGSTOP);
		pause_ns(random_below(&random, 400000));
		kill(victim->pid, SIGCONT);
		pause_ns(random_below(&random, 400000));
	}
	cr_expect_eq(waitpid(helper, NULL, WNOHANG), 0, "the borrower gave up");
	child_end(helper);
	victim_expect_above(victim, "laps", victim_ask_number(victim, "laps") + 1);
	victim_expect(victim, "wrong", "nothing");
}

Test(borrow_guests, no_signal_is_lost)
{
	need_root();

	VICTIM victim = victim_start("signals", NULL);
	PROCESS process = open_victim(victim->pid);
	MAPS maps = read_maps(process);
	INJ_FREE pid_t *tids = NULL;
	size_t n = list_threads(process, &tids);
	uint64_t random = 2463534242u;
	int value = 0;

	for (int i = 0; i < 500; i++) {
		/* The main thread takes the signals: borrow that one mostly. */
		struct inj_borrow *borrow =
			borrow_thread(process, maps, i % 4 ? tids[0] : tids[(size_t)i % n]);

		for (uint64_t k = random_below(&random, 5); k > 0; k--) {
			union sigval next = {.sival_int = ++value};

			cr_assert_eq(sigqueue(victim->pid, SIGRTMIN, next), 0);
		}
		map_remotely(borrow, INJ_PAGE_BYTES);
		inj_borrow_close(borrow, NULL);
	}
	victim_expect_above(victim, "queued", value - 1);
	victim_expect(victim, "stop", "stopped");
	cr_expect_eq(victim_ask_number(victim, "queued"), value);
	victim_expect(victim, "disorder", "0");
	victim_expect(victim, "unreaped", "0");
	victim_expect(victim, "interrupted", "0");
	victim_quit(victim);
}

Test(borrow_guests, small_stacks_are_refused)
{
	need_root();

	VICTIM victim = victim_start("guarded", "coroutine", NULL);
	PROCESS process = open_victim(victim->pid);
	MAPS maps = read_maps(process);
	struct inj_borrow *borrow = NULL;
	struct inj_why why = {0};

	cr_expect_eq(inj_borrow_open(process, maps, inj_now_ns() + 500 * MS, &borrow, &why),
		     INJ_BLOCKED, "%s", why.text);
	cr_expect_not_null(strstr(why.text, "stack"), "%s", why.text);
	cr_expect_eq(victim_ask_number(victim, "count"), 1);
	cr_expect_eq(status_field(victim->pid, victim->pid, "TracerPid", 10), 0);
}

/* The thread in vfork is left alone; alone in its process, it makes us give up. */
Test(borrow_guests, vfork_is_left_alone)
{
	need_root();

	VICTIM victim = victim_start("churn", "vfork-long", "200", NULL);
	PROCESS process = open_victim(victim->pid);
	MAPS maps = read_maps(process);
	INJ_FREE pid_t *tids = NULL;
	struct inj_borrow *borrow = NULL;
	struct inj_why why = {0};

	cr_assert_eq(list_threads(process, &tids), 2);
	for (int i = 0; i < 20; i++)
		map_and_unmap(process, maps, 0);
	while (thread_state(victim->pid, tids[1]) != 'D')
		;
	cr_expect_eq(inj_borrow_open_thread(process, maps, tids[1], inj_now_ns() + 20 * MS,
					    &borrow, &why), INJ_BLOCKED, "%s", why.text);
	victim_expect_above(victim, "made", victim_ask_number(victim, "made"));
	victim_expect(victim, "failed", "0");
	victim_quit(victim);
}

/* A sequence that we interrupt is restarted, as if the thread had been preempted. */
Test(borrow_guests, restartable_sequences_are_restarted)
{
	need_root();

	VICTIM victim = victim_start("guarded", "rseq", NULL);
	PROCESS process = open_victim(victim->pid);
	MAPS maps = read_maps(process);
	INJ_FREE pid_t *tids = NULL;

	cr_assert_eq(list_threads(process, &tids), 2);
	victim_expect_above(victim, "finished", 0);
	for (int i = 0; i < 200; i++)
		map_and_unmap(process, maps, tids[1]);
	victim_expect_above(victim, "aborts", 0);
	victim_expect_above(victim, "finished", victim_ask_number(victim, "finished"));
	victim_expect(victim, "torn", "0");
}

Test(borrow_guests, gone_targets)
{
	need_root();

	VICTIM victim = victim_start("threads", "2", NULL);
	PROCESS process = open_victim(victim->pid);
	MAPS maps = read_maps(process);
	struct inj_borrow *borrow = borrow_thread(process, maps, 0);
	const uint64_t arguments[6] = {0};
	struct inj_why why = {0};
	int64_t result = 0;
	uint64_t held_ns = 0;

	kill(victim->pid, SIGKILL);
	cr_expect_eq(inj_borrow_syscall(borrow, SYS_getpid, arguments, &result, &why),
		     INJ_PROCESS_GONE, "%s", why.text);
	cr_expect_eq(inj_borrow_syscall(borrow, SYS_getpid, arguments, &result, &why),
		     INJ_PROCESS_GONE);
	inj_borrow_close(borrow, &held_ns);
	cr_expect_gt(held_ns, 0);
	cr_expect_eq(victim_wait(victim), SIGKILL);
	cr_expect_eq(inj_borrow_open(process, maps, inj_now_ns() + 50 * MS, &borrow, &why),
		     INJ_PROCESS_GONE, "%s", why.text);
}

/* Threads and children come and go while a thread is borrowed; execve takes it away. */
Test(borrow_guests, storms)
{
	need_root();

	static const char *const storms[] = {"threads", "chain", "forks", "vforks", "clones"};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(storms); i++) {
		VICTIM victim = victim_start("churn", storms[i], NULL);
		PROCESS process = open_victim(victim->pid);
		MAPS maps = read_maps(process);

		for (int k = 0; k < 100; k++)
			map_and_unmap(process, maps, 0);
		victim_expect_above(victim, "made", victim_ask_number(victim, "made"));
		victim_expect(victim, "failed", "0");
		victim_quit(victim);
	}
}

Test(borrow_guests, exec_while_borrowing)
{
	need_root();
	for (int round = 0; round < 30; round++) {
		VICTIM victim = victim_start("churn", "crowd", "50", NULL);
		PROCESS process = open_victim(victim->pid);
		MAPS maps = read_maps(process);
		uint64_t begin_ns = inj_now_ns();

		victim_tell(victim, "exec");
		while (inj_now_ns() - begin_ns < 10 * MS) {
			const uint64_t arguments[6] = {0};
			struct inj_borrow *borrow = NULL;
			struct inj_why why = {0};
			int64_t result = 0;

			if (inj_borrow_open(process, maps, inj_now_ns() + 50 * MS, &borrow,
					    &why) == 0)
				inj_borrow_syscall(borrow, SYS_getppid, arguments, &result, &why);
			inj_borrow_close(borrow, NULL);
		}
		cr_expect_str_eq(victim_hear(victim), "ready");
		victim_expect(victim, "failed", "0");
		cr_expect_eq(status_field(victim->pid, victim->pid, "TracerPid", 10), 0);
		victim_quit(victim);
	}
}
