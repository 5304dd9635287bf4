/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Functions of the target called in a borrowed thread: results, crashes, delays, our death. */
#include <sys/uio.h>

#include "tests/live/borrow/borrowing.h"

#define STACK_BYTES (128 * 1024)

TestSuite(borrow_functions, .timeout = 240);

/* What a call needs in the target: the pad and a stack. */
struct ground {
	inj_addr pad;
	inj_addr stack_top;
};

static struct ground prepare(struct inj_borrow *borrow)
{
	uint8_t bytes[64];
	size_t n = inj_borrow_pad(bytes, sizeof(bytes));
	inj_addr page = map_remotely(borrow, INJ_PAGE_BYTES);
	struct iovec local = {bytes, n};
	struct iovec remote = {(void *)(uintptr_t)page, n};

	cr_assert_leq(n, sizeof(bytes));
	cr_assert_eq(process_vm_writev(borrow->process->pid, &local, 1, &remote, 1, 0),
		     (ssize_t)n);
	cr_assert_eq(call_remotely(borrow, SYS_mprotect, page, INJ_PAGE_BYTES,
				   PROT_READ | PROT_EXEC, 0, 0, 0), 0);
	return (struct ground){page, map_remotely(borrow, STACK_BYTES) + STACK_BYTES};
}

static inj_addr address_of(struct victim *victim, const char *name)
{
	char question[64];

	snprintf(question, sizeof(question), "address %s", name);
	return strtoull(victim_ask(victim, question), NULL, 16);
}

static uint64_t call(struct inj_borrow *borrow, struct ground ground, inj_addr function, uint64_t a,
		     uint64_t b, uint64_t c, uint64_t d)
{
	const uint64_t arguments[4] = {a, b, c, d};
	struct inj_why why = {0};
	uint64_t result = 0;
	int r = inj_borrow_call(borrow, ground.pad, ground.stack_top, function, arguments,
				inj_now_ns() + 10 * SECOND, &result, &why);

	cr_assert_eq(r, 0, "%s", why.text);
	return result;
}

static void expect_alive(struct victim *victim)
{
	victim_expect_above(victim, "count", victim_ask_number(victim, "count"));
	victim_expect(victim, "handler", "mine");
	victim_expect(victim, "faults", "0");
	cr_expect_eq(status_field(victim->pid, victim->pid, "TracerPid", 10), 0);
}

Test(borrow_functions, results)
{
	need_root();

	VICTIM victim = victim_start("hooks", NULL);
	PROCESS process = open_victim(victim->pid);
	MAPS maps = read_maps(process);
	inj_addr combine = address_of(victim, "combine");
	inj_addr work_hard = address_of(victim, "work_hard");
	INJ_FREE pid_t *tids = NULL;
	size_t n = list_threads(process, &tids);

	for (size_t i = 0; i < n; i++) {
		struct inj_borrow *borrow = borrow_thread(process, maps, tids[i]);
		struct ground ground = prepare(borrow);

		for (uint64_t k = 0; k < 20; k++) {
			cr_expect_eq(call(borrow, ground, combine, k, 2, 3, 4), 4320 + k);
			cr_expect_eq(call(borrow, ground, work_hard, 3, 0, 0, 0), 7);
			/* System calls before, between and after. */
			cr_expect_eq(call_remotely(borrow, SYS_getppid, 0, 0, 0, 0, 0, 0),
				     getpid());
		}
		inj_borrow_close(borrow, NULL);
	}
	expect_alive(victim);
}

Test(borrow_functions, the_interrupted_thread_keeps_its_registers)
{
	need_root();

	VICTIM hooks = victim_start("hooks", NULL);
	VICTIM victim = victim_start("registers", "2", NULL);
	PROCESS process = open_victim(victim->pid);
	MAPS maps = read_maps(process);
	INJ_FREE pid_t *tids = NULL;
	size_t n = list_threads(process, &tids);
	/*
	 * vzeroall; finit; fldz; mov $1,%eax; mov %eax,%ecx; ret
	 * Leaves no vector register and no x87 register as it was.
	 */
	static const uint8_t spoil[] = {0xc5, 0xfc, 0x77, 0x9b, 0xdb, 0xe3, 0xd9, 0xee, 0xb8,
					0x01, 0,    0,	  0,	0x89, 0xc1, 0xc3};

	for (int i = 0; i < 100; i++) {
		struct inj_borrow *borrow = borrow_thread(process, maps, tids[(size_t)i % n]);
		struct ground ground = prepare(borrow);
		inj_addr page = map_remotely(borrow, INJ_PAGE_BYTES);
		struct iovec local = {(void *)(uintptr_t)spoil, sizeof(spoil)};
		struct iovec remote = {(void *)(uintptr_t)page, sizeof(spoil)};

		cr_assert_gt(process_vm_writev(victim->pid, &local, 1, &remote, 1, 0), 0);
		cr_assert_eq(call_remotely(borrow, SYS_mprotect, page, INJ_PAGE_BYTES,
					   PROT_READ | PROT_EXEC, 0, 0, 0), 0);
		cr_expect_eq(call(borrow, ground, page, 0, 0, 0, 0), 1);
		inj_borrow_close(borrow, NULL);
	}
	victim_expect_above(victim, "laps", victim_ask_number(victim, "laps") + 1);
	victim_expect(victim, "wrong", "nothing");
}

Test(borrow_functions, crashes_are_caught)
{
	need_root();

	VICTIM victim = victim_start("hooks", NULL);
	PROCESS process = open_victim(victim->pid);
	MAPS maps = read_maps(process);
	inj_addr crash = address_of(victim, "crash");
	struct inj_borrow *borrow = borrow_thread(process, maps, 0);
	struct ground ground = prepare(borrow);
	const uint64_t arguments[4] = {16};
	struct inj_why why = {0};
	uint64_t result = 0;

	for (int i = 0; i < 20; i++) {
		cr_expect_eq(inj_borrow_call(borrow, ground.pad, ground.stack_top, crash,
					     arguments, inj_now_ns() + SECOND, &result, &why),
			     INJ_HOOK_FAILED);
		cr_expect_not_null(strstr(why.text, "SEGV"), "%s", why.text);
		/* The thread is still ours. */
		cr_expect_eq(call_remotely(borrow, SYS_getppid, 0, 0, 0, 0, 0, 0), getpid());
	}
	inj_borrow_close(borrow, NULL);
	expect_alive(victim);
}

Test(borrow_functions, delays_end_at_the_deadline)
{
	need_root();

	VICTIM victim = victim_start("hooks", NULL);
	PROCESS process = open_victim(victim->pid);
	MAPS maps = read_maps(process);
	inj_addr dawdle = address_of(victim, "dawdle");
	inj_addr may_return = address_of(victim, "may_return");
	INJ_FREE pid_t *tids = NULL;
	const uint64_t arguments[6] = {0};
	struct inj_why why = {0};
	uint64_t result = 0;
	int64_t raw = 0;
	int one = 1;

	cr_assert_geq(list_threads(process, &tids), 2);

	struct inj_borrow *borrow = borrow_thread(process, maps, tids[1]);
	struct ground ground = prepare(borrow);

	cr_expect_eq(inj_borrow_call(borrow, ground.pad, ground.stack_top, dawdle, arguments,
				     inj_now_ns() + 20 * MS, &result, &why), INJ_HOOK_FAILED);
	cr_expect_not_null(strstr(why.text, "in time"), "%s", why.text);
	cr_expect_eq(inj_borrow_syscall(borrow, SYS_getpid, arguments, &raw, &why),
		     INJ_PROCESS_GONE);
	inj_borrow_close(borrow, NULL);

	/* Nobody holds the thread; it is in the function until that returns, then at home. */
	long long before = victim_ask_number(victim, "count");
	struct iovec local = {&one, sizeof(one)};
	struct iovec remote = {(void *)(uintptr_t)may_return, sizeof(one)};

	victim_expect(victim, "arrived", "1");
	cr_expect_eq(status_field(victim->pid, tids[1], "TracerPid", 10), 0);
	cr_assert_eq(process_vm_writev(victim->pid, &local, 1, &remote, 1, 0), sizeof(one));
	victim_expect_above(victim, "count", before);
	expect_alive(victim);
}

/* The function finishes and the thread goes home without us. */
static void die_calling(const char *fault)
{
	VICTIM victim = victim_start("hooks", NULL);
	inj_addr work_hard = address_of(victim, "work_hard");
	int status = 0;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		/* Whether any is armed is decided at the first one; which, at each. */
		setenv("DSUD_FAULT", "none-yet", 1);

		struct inj_process *process = open_victim(victim->pid);
		struct inj_borrow *borrow = borrow_thread(process, read_maps(process), 0);
		struct ground ground = prepare(borrow);

		setenv("DSUD_FAULT", fault, 1);
		call(borrow, ground, work_hard, 3, 0, 0, 0);
		inj_borrow_close(borrow, NULL);
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect(WIFSIGNALED(status), "%s: status %#x", fault, status);
	victim_expect_above(victim, "arrived", 0);
	expect_alive(victim);
}

Test(borrow_functions, death_in_the_middle)
{
	need_root();
	die_calling("borrow-calling");
	die_calling("borrow-returned");
	die_calling("borrow-armed");
	die_calling("borrow-called");
	die_calling("borrow-exited");
	die_calling("borrow-unmasked");
	die_calling("borrow-restored");
}
