/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One patch for two modules that lie further apart than a jump reaches. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>

#include "tests/support/need.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define UPDATE INJ_CLEANUP(update_done) struct update

ParameterizedTestParameters(distant, program_and_library_at_once)
{
	static char programs[][16] = { "distant", "distant-nopie" };

	return cr_make_param_array(char[16], programs, INJ_ARRAY_LENGTH(programs));
}

ParameterizedTest(char program[16], distant, program_and_library_at_once)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start(program, NULL);
	for (int round = 1; round <= 5; round++) {
		char counted[64];

		victim_expect(victim, "both", "1 2");
		expect_result(
			update_apply(&update, "tests/patches/traits/distant-v2.so", victim->pid),
			UPD_APPLIED);
		cr_assert_eq(update.report.targets[0].n_functions, 2);
		victim_expect(victim, "both", "1000 2002");
		/* Once by the old version, ten by the new one. */
		snprintf(counted, sizeof(counted), "%d %d", round, 11 * round);
		victim_expect(victim, "counted", counted);
		expect_result(update_revert(&update, "distant-v2", victim->pid), UPD_REVERTED);
	}
	victim_expect(victim, "both", "1 2");
	cr_assert_eq(victim_quit(victim), 0);
}
