/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * New code that uses the program's thread-local and ordinary variables, in every access model of the compiler, and the
 * functions that the C library chooses for the processor.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/need.h"
#include "tests/support/snapshot.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define UPDATE INJ_CLEANUP(update_done) struct update

TestSuite(local, .timeout = 120);

static const char *const programs[] = { "local", "local-nopie", "local-static", "local-static-pie" };

ParameterizedTestParameters(local, variables_of_the_program)
{
	static char models[][8] = { "gd", "ie", "desc" };

	return cr_make_param_array(char[8], models, INJ_ARRAY_LENGTH(models));
}

ParameterizedTest(char model[8], local, variables_of_the_program)
{
	char patch[64];

	need_root();
	snprintf(patch, sizeof(patch), "tests/patches/traits/local-%s.so", model);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(programs); i++) {
		UPDATE update = {};
		VICTIM victim = victim_start(programs[i], NULL);

		/* A static program has no __tls_get_addr() for this model to call. */
		if (strcmp(model, "gd") == 0 && strstr(programs[i], "-static")) {
			expect_refusal(update_apply(&update, patch, victim->pid), INJ_NO_SUCH_SYMBOL,
				       "__tls_get_addr");
			victim_expect(victim, "tick", "1");
			continue;
		}
		victim_expect(victim, "tick", "1");
		victim_expect(victim, "other", "2");
		victim_expect(victim, "measure", "a string 8");
		expect_result(update_apply(&update, patch, victim->pid), UPD_APPLIED);
		victim_expect(victim, "tick", "101");
		victim_expect(victim, "other", "200");
		victim_expect(victim, "mine", "101 6");
		victim_expect(victim, "measure", "a stringa string 16");
		expect_result(update_revert(&update, "local-v2", victim->pid), UPD_REVERTED);
		victim_expect(victim, "tick", "102");
		victim_expect(victim, "other", "2");
		victim_expect(victim, "measure", "a string 8");
	}
}

Test(local, variables_of_its_own_are_refused)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	SNAPSHOT before = NULL;

	need_root();
	victim = victim_start("local", NULL);
	before = snapshot_take(victim->pid);
	expect_refusal(update_apply(&update, "tests/patches/traits/local-own.so", victim->pid),
		       INJ_UNSUPPORTED_TLS, "own");
	snapshot_expect_same(before, SNAPSHOT_DATA);
	victim_expect(victim, "tick", "1");
}
