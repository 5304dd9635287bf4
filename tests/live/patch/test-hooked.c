/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Code that somebody else has changed is left alone, and told: before the update, and between its
 * plan and its commit, where the jump goes as well as behind it, in what the stub has copied.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "injector/base/clock.h"
#include "injector/symbol/resolve.h"
#include "tests/support/need.h"
#include "tests/support/snapshot.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define PATCH "tests/patches/traits/copies-chilled.so"
#define UPDATE INJ_CLEANUP(update_done) struct update
/* A breakpoint, as a debugger sets it. */
#define INT3 0xcc

TestSuite(hooked, .timeout = 60);

static inj_addr find_chilled(pid_t pid)
{
	struct inj_process *process = NULL;
	struct inj_maps *maps = NULL;
	struct inj_modules *modules = NULL;
	struct inj_symbol symbol = {};
	struct inj_why why = {};

	cr_assert_eq(inj_process_open(pid, &process, &why), 0, "%s", why.text);
	cr_assert_eq(inj_maps_read(process, &maps, &why), 0, "%s", why.text);
	cr_assert_eq(inj_modules_load(process, maps, &modules, &why), 0, "%s", why.text);
	cr_assert_eq(inj_resolve_function(modules, NULL, NULL, "chilled", &symbol, &why), 0, "%s",
		     why.text);
	inj_modules_free(modules);
	inj_maps_free(maps);
	inj_process_close(process);
	return symbol.address;
}

/* Exchange one byte of code. Return: the one before. */
static uint8_t exchange(pid_t pid, inj_addr address, uint8_t byte)
{
	char path[64];
	uint8_t before;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	INJ_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);

	cr_assert_eq(pread(fd, &before, 1, (off_t)address), 1);
	cr_assert_eq(pwrite(fd, &byte, 1, (off_t)address), 1);
	return before;
}

ParameterizedTestParameters(hooked, code_is_refused)
{
	static int offsets[] = {0, 2, 5, 20};

	return cr_make_param_array(int, offsets, INJ_ARRAY_LENGTH(offsets));
}

ParameterizedTest(int *offset, hooked, code_is_refused)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	SNAPSHOT before = NULL;
	inj_addr at;
	uint8_t byte;
	char where[32];

	need_root();
	victim = victim_start("copies", NULL);
	at = find_chilled(victim->pid) + (inj_addr)*offset;
	byte = exchange(victim->pid, at, INT3);
	before = snapshot_take(victim->pid);
	snprintf(where, sizeof(where), "chilled+%d", *offset);
	expect_refusal(update_apply(&update, PATCH, victim->pid), INJ_UNSUPPORTED_PROCESS, where);
	expect_refusal(update_apply(&update, PATCH, victim->pid), INJ_UNSUPPORTED_PROCESS, "0xcc");
	snapshot_expect_same(before, SNAPSHOT_DATA);
	exchange(victim->pid, at, byte);
	victim_expect(victim, "chilled", "1");
	expect_result(update_apply(&update, PATCH, victim->pid), UPD_APPLIED);
}

/* Our memory is there: the plan was made. */
static void await_staged(pid_t pid)
{
	const uint64_t deadline_ns = inj_now_ns() + 20000000000ull;
	char path[64], text[65536];

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	do {
		INJ_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
		size_t n = 0;
		ssize_t r;

		while ((r = read(fd, text + n, sizeof(text) - 1 - n)) > 0)
			n += (size_t)r;
		text[n] = '\0';
		cr_assert(inj_remaining_ns(deadline_ns) > 0, "nothing was staged");
	} while (!strstr(text, "/memfd:dsu:"));
}

/* What the update in a child said. */
struct outcome {
	enum upd_result result;
	int code;
	char message[512];
};

static pid_t apply_in_child(pid_t pid, int to)
{
	pid_t child = fork();

	cr_assert_geq(child, 0);
	if (child == 0) {
		UPDATE update = {.timeout_s = 20};
		const struct upd_target *target = update_apply(&update, PATCH, pid);
		struct outcome outcome = {.result = target->result, .code = target->code};

		snprintf(outcome.message, sizeof(outcome.message), "%s", target->message);
		_exit(write(to, &outcome, sizeof(outcome)) == sizeof(outcome) ? 0 : 1);
	}
	return child;
}

ParameterizedTestParameters(hooked, late_changes_are_refused)
{
	static int offsets[] = {0, 2, 5};

	return cr_make_param_array(int, offsets, INJ_ARRAY_LENGTH(offsets));
}

ParameterizedTest(int *offset, hooked, late_changes_are_refused)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	struct outcome outcome;
	pid_t child;
	inj_addr at;
	uint8_t byte, now;
	int ends[2], status;

	need_root();
	victim = victim_start("copies", NULL);
	at = find_chilled(victim->pid) + (inj_addr)*offset;
	victim_expect(victim, "cold", "waiting");
	cr_assert_eq(pipe(ends), 0);
	child = apply_in_child(victim->pid, ends[1]);
	await_staged(victim->pid);
	byte = exchange(victim->pid, at, INT3);
	victim_expect(victim, "on", "waiting");
	victim_expect(victim, "on", "1");
	cr_assert_eq(read(ends[0], &outcome, sizeof(outcome)), (ssize_t)sizeof(outcome));
	cr_assert_eq(waitpid(child, &status, 0), child);
	now = exchange(victim->pid, at, byte);
	cr_assert_eq(outcome.result, UPD_REFUSED, "%s", outcome.message);
	cr_expect_eq(outcome.code, INJ_UNSUPPORTED_PROCESS);
	cr_expect(strstr(outcome.message, " cc"), "%s", outcome.message);
	cr_expect_eq(now, INT3, "the other tool's change is gone");
	victim_expect(victim, "chilled", "1");
	expect_result(update_apply(&update, PATCH, victim->pid), UPD_APPLIED);
	victim_expect(victim, "chilled", "1000");
}
