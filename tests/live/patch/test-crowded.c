/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Programs that map memory all the time, beside their libraries, where the kernel puts the next
 * mapping and where a patch
 * for a library has to lie: whoever comes second looks for another place, and nobody loses
 *   anything.
 */
#include <criterion/criterion.h>

#include "tests/support/need.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define UPDATE INJ_CLEANUP(update_done) struct update
#define PATCH  "tests/patches/live/labs-v2.so"

Test(crowded, program_that_maps_all_the_time, .timeout = 240)
{
	UPDATE update = { .timeout_s = 60 };
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("churn", "maps", NULL);
	for (int i = 0; i < 30; i++) {
		expect_result(update_apply(&update, PATCH, victim->pid), UPD_APPLIED);
		cr_assert_eq(update.report.targets[0].n_functions, 1);
		expect_result(update_revert(&update, "labs-v2", victim->pid), UPD_REVERTED);
	}
	victim_expect_above(victim, "made", victim_ask_number(victim, "made"));
	victim_expect(victim, "failed", "0");
	cr_assert_eq(victim_quit(victim), 0);
}
