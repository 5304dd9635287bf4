/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Functions of which there is more than one: inlined, cloned, split, merged. What a redirect at the
 * entry would miss, or would change besides, is refused by name, and accepted when the patch deals
 * with all of it.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "tests/support/need.h"
#include "tests/support/snapshot.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define PATCH(name) "tests/patches/traits/copies-" name ".so"
#define UPDATE INJ_CLEANUP(update_done) struct update

TestSuite(copies, .timeout = 60);

struct refusal {
	char program[24];
	char patch[56];
	char question[16];
	enum inj_code code;
	char words[3][40]; /* what the message must name */
};

static struct refusal refusals[] = {
	{"copies", PATCH("inner"), "inner", INJ_INLINED, {"host_one", "host_two", "same patch"}},
	{"copies-split", PATCH("inner"), "inner", INJ_INLINED, {"host_one", "host_two"}},
	{"copies-packed", PATCH("inner"), "inner", INJ_INLINED, {"host_one", "host_two"}},
	{"copies-dwarf4", PATCH("inner"), "inner", INJ_INLINED, {"host_one", "host_two"}},
	{"copies-gold", PATCH("inner"), "inner", INJ_INLINED, {"host_one", "host_two"}},
	{"copies-lld", PATCH("inner"), "inner", INJ_INLINED, {"host_one", "host_two"}},
	{"copies-lto", PATCH("inner"), "inner", INJ_INLINED, {"host_one", "host_two"}},
	{"copies",
	 PATCH("scaled"),
	 "scaled",
	 INJ_INLINED,
	 {"scaled.constprop.0", "scale_by_three"}},
	{"copies-plain",
	 PATCH("scaled"),
	 "scaled",
	 INJ_INLINED,
	 {"scaled.constprop.0", "scale_by_three"}},
	{"copies-split", PATCH("scaled"), "scaled", INJ_INLINED, {"scaled.constprop.0"}},
	{"copies", PATCH("shrunk"), "shrunk", INJ_NO_SUCH_SYMBOL, {"shrunk.isra.0"}},
	{"copies", PATCH("parted"), "parted", INJ_INLINED, {"call_parted", "call_parted_again"}},
	{"copies-plain", PATCH("parted"), "parted", INJ_INLINED, {"parted.part.0"}},
	{"copies", PATCH("merged_one"), "merged", INJ_INLINED, {"merged_two", "same new function"}},
	{"copies-plain", PATCH("merged_one"), "merged", INJ_INLINED, {"merged_two"}},
	{"copies-gold", PATCH("folded_one"), "folded", INJ_INLINED, {"folded_two"}},
	{"copies-lld", PATCH("folded_one"), "folded", INJ_INLINED, {"folded_two"}},
	{"copies-gold-plain", PATCH("folded_one"), "folded", INJ_INLINED, {"folded_two"}},
	{"copies-lld-plain", PATCH("folded_one"), "folded", INJ_INLINED, {"folded_two"}},
};

ParameterizedTestParameters(copies, refused_by_name)
{
	return cr_make_param_array(struct refusal, refusals, INJ_ARRAY_LENGTH(refusals));
}

ParameterizedTest(struct refusal *refusal, copies, refused_by_name)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	SNAPSHOT before = NULL;
	char answer[64];

	need_root();
	victim = victim_start(refusal->program, NULL);
	snprintf(answer, sizeof(answer), "%s", victim_ask(victim, refusal->question));
	before = snapshot_take(victim->pid);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(refusal->words); i++)
		expect_refusal(update_apply(&update, refusal->patch, victim->pid), refusal->code,
			       refusal->words[i]);
	snapshot_expect_same(before, SNAPSHOT_DATA);
	victim_expect(victim, refusal->question, answer);
}

struct acceptance {
	char program[24];
	char patch[56];
	char question[16];
	char before[24], after[24];
};

static struct acceptance acceptances[] = {
	{"copies", PATCH("inner-along"), "inner", "1 1 1", "1000 1000 1000"},
	{"copies-split", PATCH("inner-along"), "inner", "1 1 1", "1000 1000 1000"},
	{"copies-lto", PATCH("inner-along"), "inner", "1 1 1", "1000 1000 1000"},
	{"copies", PATCH("scaled-along"), "scaled", "1 1", "1000 1000"},
	{"copies", PATCH("parted-along"), "parted", "1 1 1 1", "1000 1000 1000 1000"},
	{"copies", PATCH("merged_one-along"), "merged", "1 1", "1000 1000"},
	{"copies", PATCH("folded_one"), "folded", "1 1", "1000 1"},
	{"copies-plain", PATCH("folded_one"), "folded", "1 1", "1000 1"},
	{"copies-gold", PATCH("folded_one-along"), "folded", "1 1", "1000 1000"},
	{"copies-lld", PATCH("folded_one-along"), "folded", "1 1", "1000 1000"},
	{"copies", PATCH("aliased"), "aliased", "1 1", "1000 1000"},
	{"copies-split", PATCH("aliased"), "aliased", "1 1", "1000 1000"},
	{"copies-plain", PATCH("aliased"), "aliased", "1 1", "1000 1000"},
	{"copies-gold", PATCH("aliased"), "aliased", "1 1", "1000 1000"},
	{"copies-lld", PATCH("aliased"), "aliased", "1 1", "1000 1000"},
	{"copies", PATCH("aliased-along"), "aliased", "1 1", "1000 1000"},
};

ParameterizedTestParameters(copies, accepted_with_all_of_it)
{
	return cr_make_param_array(struct acceptance, acceptances, INJ_ARRAY_LENGTH(acceptances));
}

ParameterizedTest(struct acceptance *acceptance, copies, accepted_with_all_of_it)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start(acceptance->program, NULL);
	victim_expect(victim, acceptance->question, acceptance->before);
	expect_result(update_apply(&update, acceptance->patch, victim->pid), UPD_APPLIED);
	victim_expect(victim, acceptance->question, acceptance->after);
	expect_result(update_revert(&update, "copies-v2", victim->pid), UPD_REVERTED);
	victim_expect(victim, acceptance->question, acceptance->before);
}

static bool has_note(const struct upd_target *target, const char *words)
{
	for (size_t i = 0; i < target->n_notes; i++)
		if (strstr(target->notes[i], words))
			return true;
	return false;
}

Test(copies, what_cannot_be_seen_is_said)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("copies-plain", NULL);
	cr_expect(has_note(update_check(&update, PATCH("aliased"), victim->pid),
			   "no debug information"));
	cr_expect(has_note(update_check(&update, PATCH("aliased"), victim->pid), "also_aliased"));
}

/* A thread waits in the part for what rarely happens: the function is live. */
ParameterizedTestParameters(copies, cold_parts_are_watched)
{
	static char programs[][24] = {"copies", "copies-plain", "copies-split", "copies-exported",
				      "copies-lto"};

	return cr_make_param_array(char[24], programs, INJ_ARRAY_LENGTH(programs));
}

ParameterizedTest(char program[24], copies, cold_parts_are_watched)
{
	UPDATE update = {.timeout_s = 0.3};
	VICTIM victim = NULL;
	const struct upd_target *target;

	need_root();
	victim = victim_start(program, NULL);
	victim_expect(victim, "cold", "waiting");
	target = update_apply(&update, PATCH("chilled"), victim->pid);
	expect_result(target, UPD_BLOCKED);
	cr_assert_eq(target->n_blockers, 1);
	cr_expect_str_eq(target->blockers[0].function, "chilled");
	victim_expect(victim, "on", "waiting");
	victim_expect(victim, "on", "1");
	update.timeout_s = 0;
	expect_result(update_apply(&update, PATCH("chilled"), victim->pid), UPD_APPLIED);
	victim_expect(victim, "chilled", "1000");
}
