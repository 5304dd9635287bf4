/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The same patch made by different compilers with different options: its new code does the same in
 * every program. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/support/need.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define UPDATE INJ_CLEANUP(update_done) struct update

struct making {
	char compiler[8];
	char options[8];
};

static struct making makings[] = {
	{ "gcc", "O0" },   { "gcc", "O2" },   { "gcc", "O3" },
	{ "gcc", "lto" },  { "gcc", "hidden" }, { "clang", "O0" },
	{ "clang", "O2" }, { "clang", "O3" }, { "clang", "lto" },
	{ "clang", "hidden" },
};

/* Skips the test when this build had no such compiler. */
static const char *patch_of(const char *what, const struct making *making)
{
	static char path[96];

	snprintf(path, sizeof(path), "tests/patches/traits/%s-%s-%s.so", what, making->compiler,
		 making->options);
	need(access(build_path(path), R_OK) == 0, "there is no %s", path);
	return path;
}

ParameterizedTestParameters(compilers, a_bit_of_everything)
{
	return cr_make_param_array(struct making, makings, INJ_ARRAY_LENGTH(makings));
}

/* Each piece that works is a digit: libc, weak and hidden names, tables, constants, private data of
 * the target. */
ParameterizedTest(struct making *making, compilers, a_bit_of_everything)
{
	static const char *const programs[] = { "mixture", "mixture-nopie", "mixture-static" };

	need_root();
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(programs); i++) {
		const char *patch = patch_of("mixture", making);
		UPDATE update = {};
		VICTIM victim = victim_start(programs[i], NULL);

		victim_expect(victim, "compute", "1");
		for (int round = 0; round < 2; round++) {
			expect_result(update_apply(&update, patch, victim->pid), UPD_APPLIED);
			victim_expect(victim, "compute", "11111111");
			expect_result(update_revert(&update, "mixture-v2", victim->pid),
				      UPD_REVERTED);
			victim_expect(victim, "compute", "1");
		}
	}
}

ParameterizedTestParameters(compilers, exceptions)
{
	return cr_make_param_array(struct making, makings, INJ_ARRAY_LENGTH(makings));
}

ParameterizedTest(struct making *making, compilers, exceptions)
{
	const char *patch = patch_of("throwing", making);
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("throwing", "1", NULL);
	expect_result(update_apply(&update, patch, victim->pid), UPD_APPLIED);
	victim_expect(victim, "ask 4", "refusal 1004");
	victim_expect(victim, "ask 5", "deep 1005");
	victim_expect(victim, "ask 6", "value 1006");
	victim_expect(victim, "ask 7", "value 1007");
	victim_expect(victim, "cancel", "new 3");
	expect_result(update_revert(&update, "throwing-v2", victim->pid), UPD_REVERTED);
	victim_expect(victim, "ask 4", "refusal 4");
	victim_expect(victim, "ask 6", "value 6");
	victim_expect(victim, "cancel", "old 2");
	victim_expect(victim, "wrong", "0");
}
