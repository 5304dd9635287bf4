/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Static functions and variables of one name in two files: chosen by file, or refused with the
 * choice. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "tests/support/need.h"
#include "tests/support/snapshot.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define PATCH(name) "tests/patches/traits/" name ".so"
#define UPDATE INJ_CLEANUP(update_done) struct update

ParameterizedTestParameters(namesakes, chosen_by_file)
{
	static char programs[][20] = { "namesakes", "namesakes-nopie", "namesakes-static" };

	return cr_make_param_array(char[20], programs, INJ_ARRAY_LENGTH(programs));
}

ParameterizedTest(char program[20], namesakes, chosen_by_file)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start(program, NULL);
	victim_expect(victim, "both", "11 101");
	expect_result(update_apply(&update, PATCH("namesakes-v2"), victim->pid), UPD_APPLIED);
	victim_expect(victim, "both", "12 1102");
	expect_result(update_revert(&update, "namesakes-v2", victim->pid), UPD_REVERTED);
	victim_expect(victim, "both", "13 103");
}

Test(namesakes, refused_with_the_candidates)
{
	static const char *const patches[] = { PATCH("namesakes-vague-function"),
					       PATCH("namesakes-vague-data") };

	need_root();
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(patches); i++) {
		UPDATE update = {};
		VICTIM victim = victim_start("namesakes", NULL);
		SNAPSHOT before = snapshot_take(victim->pid);

		expect_refusal(update_apply(&update, patches[i], victim->pid),
			       INJ_AMBIGUOUS_SYMBOL, "namesakes.c");
		cr_assert(strstr(update.report.targets[0].message, "namesakes-other.c"));
		snapshot_expect_same(before, SNAPSHOT_DATA);
		victim_expect(victim, "both", "11 101");
	}
}
