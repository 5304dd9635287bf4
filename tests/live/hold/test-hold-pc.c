/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Moving held threads between equivalent instructions. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

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
