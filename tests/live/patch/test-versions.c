/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Symbols with versions: which of several is replaced, and which of them new code calls. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "tests/support/need.h"
#include "tests/support/snapshot.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define PATCH(name) "tests/patches/traits/versions-" name ".so"
#define UPDATE INJ_CLEANUP(update_done) struct update

static const char *const programs[] = { "versions", "versions-stripped" };

struct replacement {
	char patch[64];
	char question[16];
	char before[16], after[16];
};

ParameterizedTestParameters(versions, one_is_replaced)
{
	static struct replacement cases[] = {
		{ PATCH("v1"), "answer", "1 2", "1000 2" },
		{ PATCH("v2"), "answer", "1 2", "1 1000" },
		{ PATCH("default"), "answer", "1 2", "1 1000" },
		{ PATCH("retired-v1"), "retired", "10 20", "1000 20" },
	};

	return cr_make_param_array(struct replacement, cases, INJ_ARRAY_LENGTH(cases));
}

ParameterizedTest(struct replacement *replacement, versions, one_is_replaced)
{
	need_root();
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(programs); i++) {
		UPDATE update = {};
		VICTIM victim = victim_start(programs[i], NULL);

		victim_expect(victim, replacement->question, replacement->before);
		expect_result(update_apply(&update, replacement->patch, victim->pid), UPD_APPLIED);
		victim_expect(victim, replacement->question, replacement->after);
		expect_result(update_revert(&update, "versions-v2", victim->pid), UPD_REVERTED);
		victim_expect(victim, replacement->question, replacement->before);
	}
}

struct refusal {
	char patch[64];
	enum inj_code code;
	char word[64];
};

ParameterizedTestParameters(versions, refused)
{
	static struct refusal cases[] = {
		{ PATCH("none"), INJ_NO_SUCH_SYMBOL, "answer@V3" },
		{ PATCH("retired"), INJ_AMBIGUOUS_SYMBOL, "retired@V1@" },
		{ PATCH("retired"), INJ_AMBIGUOUS_SYMBOL, "\"retired@VERSION\"" },
		{ PATCH("ask-vague"), INJ_AMBIGUOUS_SYMBOL, "retired@V2@" },
		{ PATCH("ask-vague"), INJ_AMBIGUOUS_SYMBOL, ".symver" },
	};

	return cr_make_param_array(struct refusal, cases, INJ_ARRAY_LENGTH(cases));
}

ParameterizedTest(struct refusal *refusal, versions, refused)
{
	need_root();
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(programs); i++) {
		UPDATE update = {};
		VICTIM victim = victim_start(programs[i], NULL);
		SNAPSHOT before = snapshot_take(victim->pid);

		expect_refusal(update_apply(&update, refusal->patch, victim->pid), refusal->code,
			       refusal->word);
		snapshot_expect_same(before, SNAPSHOT_DATA);
		victim_expect(victim, "answer", "1 2");
	}
}

/* Linked with the library, new code gets the versions that it asks for; else the default one. */
Test(versions, new_code_calls_what_it_was_linked_to)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("versions", NULL);
	victim_expect(victim, "ask", "0");
	expect_result(update_apply(&update, PATCH("ask-linked"), victim->pid), UPD_APPLIED);
	victim_expect(victim, "ask", "102");
	expect_result(update_revert(&update, "versions-ask", victim->pid), UPD_REVERTED);
	expect_result(update_apply(&update, PATCH("ask-unlinked"), victim->pid), UPD_APPLIED);
	victim_expect(victim, "ask", "2");
	expect_result(update_revert(&update, "versions-ask", victim->pid), UPD_REVERTED);
	victim_expect(victim, "ask", "0");
}
