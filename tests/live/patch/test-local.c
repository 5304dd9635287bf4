/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * New code that uses the program's thread-local and ordinary variables, in every access model of
 * the compiler, and the functions that the C library chooses for the processor.
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

static const char *const programs[] = {"local", "local-nopie", "local-static", "local-static-pie"};

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
			expect_refusal(update_apply(&update, patch, victim->pid),
				       INJ_NO_SUCH_SYMBOL, "__tls_get_addr");
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

struct kept {
	char library[8];
	char model[8];
	bool refused;
};

/* In a thread from before the library came, in the main thread and in new ones; private and
 * exported variables. */
ParameterizedTestParameters(local, variables_of_libraries)
{
	static struct kept cases[] = {
		{ "linked", "gd", false }, { "linked", "ie", false }, { "linked", "desc", false },
		{ "fixed", "gd", false },  { "fixed", "ie", false },  { "fixed", "desc", false },
		{ "loaded", "gd", false }, { "loaded", "ie", true },  { "loaded", "desc", true },
	};

	return cr_make_param_array(struct kept, cases, INJ_ARRAY_LENGTH(cases));
}

/* Ask a thread about a library. */
static void expect_kept(struct victim *victim, const char *who, const struct kept *kept,
			const char *answer)
{
	char question[32];

	snprintf(question, sizeof(question), "%s %s", who, kept->library);
	victim_expect(victim, question, answer);
}

ParameterizedTest(struct kept *kept, local, variables_of_libraries)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	char patch[64];

	need_root();
	snprintf(patch, sizeof(patch), "tests/patches/traits/kept-%s-%s.so", kept->library,
		 kept->model);
	victim = victim_start("kept", NULL);
	expect_kept(victim, "main", kept, "6");
	if (kept->refused) {
		expect_refusal(update_apply(&update, patch, victim->pid), INJ_UNSUPPORTED_TLS,
			       "-ftls-model=global-dynamic -mtls-dialect=gnu");
		expect_kept(victim, "main", kept, "7");
		return;
	}
	expect_result(update_apply(&update, patch, victim->pid), UPD_APPLIED);
	expect_kept(victim, "main", kept, "106");
	expect_kept(victim, "sum", kept, "1106");
	expect_kept(victim, "other", kept, "105");
	expect_kept(victim, "waiting", kept, "105");
	expect_kept(victim, "waiting", kept, "205");
	expect_result(update_revert(&update, "kept-v2", victim->pid), UPD_REVERTED);
	expect_kept(victim, "waiting", kept, "206");
	expect_kept(victim, "main", kept, "107");
	expect_kept(victim, "other", kept, "6");
	expect_kept(victim, "sum", kept, "1106");
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
