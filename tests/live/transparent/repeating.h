/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_LIVE_TRANSPARENT_REPEATING_H
#define TESTS_LIVE_TRANSPARENT_REPEATING_H

/* Updates of victims that have version() to be patched and are about something else, many times. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "injector/base/clock.h"
#include "tests/support/need.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define VERSION_PATCH "tests/patches/traits/version-v2.so"
#define VERSION_ID "version-v2"
#define UPDATE INJ_CLEANUP(update_done) struct update

static inline bool is_set_to_yes(const char *variable)
{
	const char *value = getenv(variable);

	return value && strcmp(value, "yes") == 0;
}

/* n as the promise has it; a tenth of it when all should go quickly, ten times as much in a
 * soak. */
static inline unsigned times(unsigned n)
{
	return is_set_to_yes("DSU_SOAK") ? 10 * n : is_set_to_yes("DSU_QUICK") ? n / 10 : n;
}

/* There and back. */
static inline void update_twice(struct victim *victim)
{
	UPDATE update = {};

	expect_result(update_apply(&update, VERSION_PATCH, victim->pid), UPD_APPLIED);
	victim_expect(victim, "version", "2");
	expect_result(update_revert(&update, VERSION_ID, victim->pid), UPD_REVERTED);
	victim_expect(victim, "version", "1");
}

#endif
