/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Functions that are chosen at run time (IFUNC): the chosen code changes for all callers, or the
 * refusal says why not. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "tests/support/need.h"
#include "tests/support/snapshot.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define PATCH(name) "tests/patches/traits/chosen-" name ".so"
#define ID "chosen-v2"
#define UPDATE INJ_CLEANUP(update_done) struct update

ParameterizedTestParameters(chosen, of_the_program)
{
	static char programs[][24] = {"chosen", "chosen-nopie", "chosen-static", "chosen-stripped"};

	return cr_make_param_array(char[24], programs, INJ_ARRAY_LENGTH(programs));
}

/* The stripped one exports the name; the size of what was chosen stands in its unwind table. */
ParameterizedTest(char program[24], chosen, of_the_program)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start(program, NULL);
	victim_expect(victim, "near", "1 1");
	for (int round = 0; round < 3; round++) {
		expect_result(update_apply(&update, PATCH("near"), victim->pid), UPD_APPLIED);
		cr_assert_str_eq(update.report.targets[0].functions[0].name, "near_one");
		cr_assert_geq(update.report.targets[0].n_notes, 1);
		cr_assert(strstr(update.report.targets[0].notes[0], "IFUNC"));
		victim_expect(victim, "near", "1000 1000");
		expect_result(update_revert(&update, ID, victim->pid), UPD_REVERTED);
		victim_expect(victim, "near", "1 1");
	}
}

ParameterizedTestParameters(chosen, shared_with_another)
{
	static char programs[][24] = { "chosen", "chosen-nopie", "chosen-static" };

	return cr_make_param_array(char[24], programs, INJ_ARRAY_LENGTH(programs));
}

ParameterizedTest(char program[24], chosen, shared_with_another)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	SNAPSHOT before = NULL;

	need_root();
	victim = victim_start(program, NULL);
	before = snapshot_take(victim->pid);
	expect_refusal(update_apply(&update, PATCH("twin"), victim->pid), INJ_AMBIGUOUS_SYMBOL,
		       "twin_two");
	snapshot_expect_same(before, SNAPSHOT_DATA);
	victim_expect(victim, "twins", "3 3");
}

ParameterizedTestParameters(chosen, of_a_library)
{
	static char programs[][24] = { "chosen", "chosen-stripped" };

	return cr_make_param_array(char[24], programs, INJ_ARRAY_LENGTH(programs));
}

ParameterizedTest(char program[24], chosen, of_a_library)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	SNAPSHOT before = NULL;

	need_root();
	victim = victim_start(program, NULL);
	before = snapshot_take(victim->pid);
	expect_refusal(update_apply(&update, PATCH("far"), victim->pid), INJ_NO_SUCH_SYMBOL,
		       "LD_BIND_NOW");
	snapshot_expect_same(before, SNAPSHOT_DATA);
	victim_expect(victim, "far", "2");
	for (int round = 0; round < 3; round++) {
		expect_result(update_apply(&update, PATCH("far"), victim->pid), UPD_APPLIED);
		victim_expect(victim, "far", "1000");
		expect_result(update_revert(&update, ID, victim->pid), UPD_REVERTED);
		victim_expect(victim, "far", "2");
	}
}
