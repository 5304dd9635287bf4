/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Callers that rely on how their callee was compiled: registers that it left alone, a stack that it
 * did not need aligned. The victim checks its own results.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "injector/descriptor/history.h"
#include "injector/process/maps.h"
#include "tests/support/need.h"
#include "tests/support/snapshot.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define PATCH(name) "tests/patches/live/" name ".so"
#define UPDATE INJ_CLEANUP(update_done) struct update

/* Bytes of the smallest and the largest stub of the newest update. */
static void measure_stubs(pid_t pid, unsigned *ret_least, unsigned *ret_most)
{
	struct inj_process *process = NULL;
	struct inj_maps *maps = NULL;
	struct inj_history history;
	struct inj_why why = {};
	const struct inj_ledger *ledger;

	cr_assert_eq(inj_process_open(pid, &process, &why), 0, "%s", why.text);
	cr_assert_eq(inj_maps_read(process, &maps, &why), 0, "%s", why.text);
	cr_assert_eq(inj_history_read(process, maps, &history, &why), 0, "%s", why.text);
	cr_assert_gt(history.n_ledgers, 0);
	ledger = history.ledgers[history.n_ledgers - 1];
	*ret_least = UINT32_MAX;
	*ret_most = 0;
	for (size_t i = 0; i < ledger->record->n_sites; i++) {
		const unsigned bytes = ledger->sites[i].stub_bytes;

		*ret_least = bytes < *ret_least ? bytes : *ret_least;
		*ret_most = bytes > *ret_most ? bytes : *ret_most;
	}
	inj_history_deinit(&history);
	inj_maps_free(maps);
	inj_process_close(process);
}

ParameterizedTestParameters(callers, keep_what_they_rely_on)
{
	static char programs[][16] = { "ipara", "ipara-nopie", "ipara-static" };

	return cr_make_param_array(char[16], programs, INJ_ARRAY_LENGTH(programs));
}

ParameterizedTest(char program[16], callers, keep_what_they_rely_on)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	unsigned least, most;

	need_root();
	victim = victim_start(program, NULL);
	victim_expect(victim, "check", "ok");
	for (int round = 0; round < 3; round++) {
		victim_tell(victim, "check"); /* at work while it is changed */
		expect_result(update_apply(&update, PATCH("ipara-v2"), victim->pid), UPD_APPLIED);
		cr_assert_str_eq(victim_hear(victim), "ok");
		victim_expect(victim, "check", "ok");
		measure_stubs(victim->pid, &least, &most);
		cr_assert_gt(least, 200, "%u bytes is no wrapper", least);

		/* the callers of version 2 are its stubs */
		expect_result(update_apply(&update, PATCH("ipara-v3"), victim->pid), UPD_APPLIED);
		victim_expect(victim, "check", "ok");
		measure_stubs(victim->pid, &least, &most);
		cr_assert_lt(most, 100, "%u bytes is more than a jump", most);
		expect_result(update_revert(&update, "ipara-v3", victim->pid), UPD_REVERTED);
		victim_expect(victim, "check", "ok");

		victim_tell(victim, "check");
		expect_result(update_revert(&update, "ipara-v2", victim->pid), UPD_REVERTED);
		cr_assert_str_eq(victim_hear(victim), "ok");
		victim_expect(victim, "check", "ok");
	}
	cr_assert_eq(victim_quit(victim), 0);
}

Test(callers, that_pass_arguments_on_the_stack_are_named)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	SNAPSHOT before = NULL;

	need_root();
	victim = victim_start("ipara", NULL);
	before = snapshot_take(victim->pid);
	expect_refusal(update_apply(&update, PATCH("ipara-stack"), victim->pid),
		       INJ_UNSAFE_CALLERS, "call_seven+0x");
	cr_assert(strstr(update.report.targets[0].message, "in the same patch"));
	snapshot_expect_same(before, SNAPSHOT_DATA);
	victim_expect(victim, "check", "ok");
}

/* Nothing to keep when all callers are replaced, too; then arguments on the stack are no hindrance
 * either. */
Test(callers, that_come_along_need_nothing)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	unsigned least, most;

	need_root();
	victim = victim_start("ipara", NULL);
	expect_result(update_apply(&update, PATCH("ipara-along"), victim->pid), UPD_APPLIED);
	measure_stubs(victim->pid, &least, &most);
	cr_assert_lt(least, 100, "%u bytes is more than a jump", least);
	victim_expect(victim, "check", "ok");
	expect_result(update_revert(&update, "ipara-along", victim->pid), UPD_REVERTED);
	victim_expect(victim, "check", "ok");
}
