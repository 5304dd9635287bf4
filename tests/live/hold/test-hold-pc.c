/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Moving held threads between equivalent instructions, and dying right after it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/live/borrow/borrowing.h"

TestSuite(hold_pc, .timeout = 120);

/* jmp *0(%rip), and the address behind it */
static const uint8_t jump[] = {0xff, 0x25, 0, 0, 0, 0};

/* Code that goes to `back` and changes nothing, in a page of the target. */
static void write_detour(int memory, inj_addr page, inj_addr back)
{
	uint8_t bytes[sizeof(jump) + sizeof(back)];

	memcpy(bytes, jump, sizeof(jump));
	memcpy(bytes + sizeof(jump), &back, sizeof(back));
	cr_assert_eq(pwrite(memory, bytes, sizeof(bytes), (off_t)page), sizeof(bytes));
}

static inj_addr map_code(const struct inj_process *process)
{
	MAPS maps = read_maps(process);
	struct inj_borrow *borrow = borrow_thread(process, maps, 0);
	inj_addr page = map_remotely(borrow, INJ_PAGE_BYTES);

	cr_assert_eq(call_remotely(borrow, SYS_mprotect, page, INJ_PAGE_BYTES,
				   PROT_READ | PROT_EXEC, 0, 0, 0), 0);
	inj_borrow_close(borrow, NULL);
	return page;
}

static int open_memory(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);

	int fd = open(path, O_RDWR | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	return fd;
}

Test(hold_pc, a_running_thread_takes_the_detour)
{
	need_root();

	VICTIM victim = victim_start("registers", "2", NULL);
	PROCESS process = open_victim(victim->pid);
	TRACER tracer = new_tracer();
	INJ_CLOSE int memory = open_memory(victim->pid);
	inj_addr page = map_code(process);
	int n_moved = 0;

	for (int i = 0; i < 500; i++) {
		struct inj_hold *hold = hold_process(tracer, process);

		/* Two detours of their own: both threads may run. */
		for (size_t k = 0; k < hold->n_threads; k++) {
			const struct inj_thread *thread = &hold->threads[k];
			inj_addr detour = page + 64 * k;

			if (thread->in_syscall)
				continue;
			if (thread->regs.rip >= page && thread->regs.rip < page + 4096)
				continue;
			write_detour(memory, detour, thread->regs.rip);
			cr_assert_eq(inj_thread_set_pc(tracer, hold, k, detour), 0);
			cr_expect_eq(thread->regs.rip, detour);
			n_moved++;
		}
		inj_tracer_release(tracer, NULL);
		pause_ns(200000);
	}
	cr_expect_gt(n_moved, 100);
	victim_expect_above(victim, "laps", victim_ask_number(victim, "laps") + 1);
	victim_expect(victim, "wrong", "nothing");
}

Test(hold_pc, a_call_that_will_be_repeated_stays)
{
	need_root();

	VICTIM victim = victim_start("blocking", "3600000", NULL);
	PROCESS process = open_victim(victim->pid);
	TRACER tracer = new_tracer();

	await_all_asleep(process);

	struct inj_hold *hold = hold_process(tracer, process);

	for (size_t i = 0; i < hold->n_threads; i++) {
		inj_addr pc = hold->threads[i].regs.rip;

		cr_expect(hold->threads[i].in_syscall);
		cr_expect_eq(inj_thread_set_pc(tracer, hold, i, pc), 0);
		cr_expect_eq(inj_thread_set_pc(tracer, hold, i, pc + 1), -EBUSY);
		cr_expect_eq(hold->threads[i].regs.rip, pc);
	}
	cr_expect_eq(inj_thread_set_pc(tracer, hold, hold->n_threads, 0), -EINVAL);
	inj_tracer_release(tracer, NULL);
	cr_expect_eq(victim_ask_number(victim, "returned"), 0, "%s",
		     victim_ask(victim, "report"));
	victim_quit(victim);
}

/* In a process that is killed when it has moved so many threads. */
static _Noreturn void move_and_die(pid_t target, inj_addr page, int n_moves)
{
	char fault[32];
	struct inj_process *process = open_victim(target);
	struct inj_tracer *tracer = new_tracer();
	int memory = open_memory(target);

	snprintf(fault, sizeof(fault), "hold-pc-set:%d", n_moves);
	setenv("DSUD_FAULT", fault, 1);

	struct inj_hold *hold = hold_process(tracer, process);

	for (size_t k = 0; k < hold->n_threads; k++) {
		if (hold->threads[k].in_syscall)
			continue;
		/* Nobody knows whether a thread has left the detour of an earlier death. */
		const inj_addr detour = page + 2048 * (inj_addr)(n_moves - 1) + 32 * k;

		write_detour(memory, detour, hold->threads[k].regs.rip);
		inj_thread_set_pc(tracer, hold, k, detour);
	}
	_exit(0);
}

static void expect_free(const struct inj_process *process)
{
	INJ_FREE pid_t *tids = NULL;
	size_t n = list_threads(process, &tids);

	for (size_t i = 0; i < n; i++) {
		cr_expect_eq(status_field(process->pid, tids[i], "TracerPid", 10), 0);
		cr_expect_neq(thread_state(process->pid, tids[i]), 't');
	}
}

/* Those that spin go on by the detour, those that sleep sleep on. */
Test(hold_pc, death_after_moving_wakes_nobody)
{
	need_root();
#ifndef DSU_FAULT_POINTS
	cr_skip_test("built without fault points");
#endif
	VICTIM victim = victim_start("blocking", "3600000", NULL);
	PROCESS process = open_victim(victim->pid);

	await_all_asleep(process);

	inj_addr page = map_code(process);

	victim_expect(victim, "spin", "spinning");
	victim_expect(victim, "spin", "spinning");
	for (int n_moves = 1; n_moves <= 2; n_moves++) {
		long long laps = victim_expect_above(victim, "laps", 0);
		int status = 0;
		pid_t pid = fork();

		cr_assert_geq(pid, 0);
		if (pid == 0)
			move_and_die(victim->pid, page, n_moves);
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
			  "%d moves: status %#x", n_moves, status);
		expect_free(process);
		victim_expect_above(victim, "laps", laps + 1000);
		cr_expect_eq(victim_ask_number(victim, "returned"), 0, "%d moves: %s", n_moves,
			     victim_ask(victim, "report"));
	}
	victim_expect(victim, "wake", "woken");
	cr_expect_null(strstr(victim_ask(victim, "report"), "=-"), "%s", victim->line);
	victim_quit(victim);
}
