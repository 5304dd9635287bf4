/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * System calls made in borrowed threads, whatever these were doing: afterwards they do it still.
 * And the borrower dies at every fault point: the same.
 */
#include "tests/live/borrow/borrowing.h"

#define N_ROUNDS 200

TestSuite(borrow_calls, .timeout = 240);

static void expect_undisturbed(struct victim *victim, const char *what)
{
	char *rest = NULL;

	cr_expect_eq(victim_ask_number(victim, "returned"), 0, "%s: %s", what,
		     victim_ask(victim, "report"));
	victim_expect(victim, "wake", "woken");
	victim_ask(victim, "report");
	for (char *word = strtok_r(victim->line, " ", &rest); word;
	     word = strtok_r(NULL, " ", &rest))
		cr_expect_neq(strchr(word, '=')[1], '-', "%s: %s failed", what, word);
	cr_expect_eq(status_field(victim->pid, victim->pid, "TracerPid", 10), 0);
	victim_quit(victim);
}

Test(borrow_calls, any_thread)
{
	need_root();

	VICTIM victim = victim_start("threads", "4", NULL);
	PROCESS process = open_victim(victim->pid);
	MAPS maps = read_maps(process);

	for (int i = 0; i < N_ROUNDS; i++)
		map_and_unmap(process, maps, 0);
	victim_expect_above(victim, "slowest", victim_ask_number(victim, "slowest"));
}

Test(borrow_calls, static_programs)
{
	need_root();

	static const char *const names[] = {"threads-static", "threads-static-pie",
					    "threads-nopie"};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(names); i++) {
		VICTIM victim = victim_start(names[i], "4", NULL);
		PROCESS process = open_victim(victim->pid);
		MAPS maps = read_maps(process);

		map_and_unmap(process, maps, 0);
		victim_expect_above(victim, "slowest", victim_ask_number(victim, "slowest"));
	}
}

Test(borrow_calls, every_way_of_sleeping)
{
	need_root();

	VICTIM victim = victim_start("blocking", "3600000", NULL);
	PROCESS process = open_victim(victim->pid);
	MAPS maps = read_maps(process);
	INJ_FREE pid_t *tids = NULL;

	await_all_asleep(process);

	size_t n = list_threads(process, &tids);

	for (size_t i = 0; i < n; i++)
		for (int k = 0; k < N_ROUNDS / 10; k++)
			map_and_unmap(process, maps, tids[i]);
	expect_undisturbed(victim, "borrowed");
}

Test(borrow_calls, every_way_of_sleeping_and_death)
{
	need_root();
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(borrow_faults); i++) {
		VICTIM victim = victim_start("blocking", "3600000", NULL);
		PROCESS process = open_victim(victim->pid);
		INJ_FREE pid_t *tids = NULL;

		await_all_asleep(process);

		size_t n = list_threads(process, &tids);

		for (size_t k = 0; k < n; k++)
			die_borrowing(victim->pid, tids[k], borrow_faults[i]);
		await_all_asleep(process);
		expect_undisturbed(victim, borrow_faults[i]);
	}
}

/* Waits with a timeout that the kernel itself resumes end when they would have ended. */
Test(borrow_calls, timeouts_are_kept)
{
	need_root();

	VICTIM victim = victim_start("blocking", "1500", NULL);
	PROCESS process = open_victim(victim->pid);
	MAPS maps = read_maps(process);
	INJ_FREE pid_t *tids = NULL;
	size_t n = list_threads(process, &tids);

	for (size_t i = 0; i < n; i++)
		for (int k = 0; k < 3; k++)
			map_and_unmap(process, maps, tids[i]);
	while (victim_ask_number(victim, "late") < 0)
		pause_ns(10 * MS);
	victim_expect(victim, "early", "0");
	victim_quit(victim);
}

Test(borrow_calls, registers_survive)
{
	need_root();

	VICTIM victim = victim_start("registers", "2", NULL);
	PROCESS process = open_victim(victim->pid);
	MAPS maps = read_maps(process);
	INJ_FREE pid_t *tids = NULL;
	size_t n = list_threads(process, &tids);

	for (size_t i = 0; i < n; i++)
		for (int k = 0; k < N_ROUNDS; k++)
			map_and_unmap(process, maps, tids[i]);
	victim_expect_above(victim, "laps", victim_ask_number(victim, "laps") + 1);
	victim_expect(victim, "wrong", "nothing");
}

Test(borrow_calls, registers_survive_death)
{
	need_root();

	VICTIM victim = victim_start("registers", "2", NULL);
	PROCESS process = open_victim(victim->pid);
	INJ_FREE pid_t *tids = NULL;
	size_t n = list_threads(process, &tids);

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(borrow_faults); i++) {
		for (size_t k = 0; k < n * 5; k++)
			die_borrowing(victim->pid, tids[k % n], borrow_faults[i]);
		victim_expect_above(victim, "laps", victim_ask_number(victim, "laps") + 1);
		victim_expect(victim, "wrong", "nothing");
	}
}

Test(borrow_calls, death_at_random_moments)
{
	need_root();

	VICTIM victim = victim_start("registers", "2", NULL);
	uint64_t random = 2463534242u;

	for (int i = 0; i < 300; i++) {
		pid_t pid = fork();

		cr_assert_geq(pid, 0);
		if (pid == 0) {
			struct inj_process *process = open_victim(victim->pid);
			struct inj_maps *maps = read_maps(process);

			for (;;)
				map_and_unmap(process, maps, 0);
		}
		pause_ns(random_below(&random, 8 * MS));
		kill(pid, SIGKILL);
		cr_assert_eq(waitpid(pid, NULL, 0), pid);
	}
	victim_expect_above(victim, "laps", victim_ask_number(victim, "laps") + 1);
	victim_expect(victim, "wrong", "nothing");
	cr_expect_eq(status_field(victim->pid, victim->pid, "TracerPid", 10), 0);
}

Test(borrow_calls, two_thousand_threads)
{
	need_root();

	VICTIM victim = victim_start("threads", "2000", "200000", NULL);
	PROCESS process = open_victim(victim->pid);
	MAPS maps = read_maps(process);

	for (int i = 0; i < 20; i++)
		map_and_unmap(process, maps, 0);
	victim_expect_above(victim, "slowest", victim_ask_number(victim, "slowest"));
}

/* Bytes put on the stack are what the call sees. */
Test(borrow_calls, arguments_on_the_stack)
{
	need_root();

	VICTIM victim = victim_start("threads", "1", NULL);
	PROCESS process = open_victim(victim->pid);
	MAPS maps = read_maps(process);
	struct inj_borrow *borrow = borrow_thread(process, maps, 0);
	char long_name[INJ_SCRATCH_BYTES + 1] = "";
	inj_addr at = 0;

	cr_assert_eq(inj_borrow_put(borrow, "some-memory", 12, &at), 0);

	int64_t fd = call_remotely(borrow, SYS_memfd_create, at, 0, 0, 0, 0, 0);

	cr_assert_geq(fd, 0);

	char path[64], link[64] = "";

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)victim->pid, (int)fd);
	cr_expect_gt(readlink(path, link, sizeof(link) - 1), 0);
	cr_expect_str_eq(link, "/memfd:some-memory (deleted)");
	cr_expect_eq(call_remotely(borrow, SYS_close, (uint64_t)fd, 0, 0, 0, 0, 0), 0);
	cr_expect_eq(call_remotely(borrow, SYS_close, (uint64_t)fd, 0, 0, 0, 0, 0), -9);
	cr_expect_eq(inj_borrow_put(borrow, long_name, sizeof(long_name), &at), -EINVAL);
	inj_borrow_close(borrow, NULL);
}
