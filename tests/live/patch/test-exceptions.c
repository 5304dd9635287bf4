/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Unwinding through patched functions with the target's own unwinder: exceptions thrown by, passing
 * through and caught inside of old and new code, and the cancellation of threads, while patches
 * come and go.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>

#include "tests/support/need.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define PATCH "tests/patches/traits/throwing-v2.so"
#define TRIES_PATCH "tests/patches/traits/tries-v2.so"
#define UPDATE INJ_CLEANUP(update_done) struct update

TestSuite(exceptions, .timeout = 240);

static void expect_old(struct victim *victim)
{
	victim_expect(victim, "ask 4", "refusal 4");
	victim_expect(victim, "ask 5", "deep 5");
	victim_expect(victim, "ask 6", "value 6");
	victim_expect(victim, "ask 7", "value 7");
	victim_expect(victim, "cancel", "old 2");
}

static void expect_new(struct victim *victim)
{
	victim_expect(victim, "ask 4", "refusal 1004");
	victim_expect(victim, "ask 5", "deep 1005");
	victim_expect(victim, "ask 6", "value 1006");
	victim_expect(victim, "ask 7", "value 1007");
	victim_expect(victim, "cancel", "new 3");
}

ParameterizedTestParameters(exceptions, come_and_go)
{
	static char programs[][24] = { "throwing", "throwing-nopie", "throwing-static" };

	return cr_make_param_array(char[24], programs, INJ_ARRAY_LENGTH(programs));
}

ParameterizedTest(char program[24], exceptions, come_and_go)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start(program, "3", NULL);
	expect_old(victim);
	for (int round = 0; round < 20; round++) {
		long long rounds;

		expect_result(update_apply(&update, PATCH, victim->pid), UPD_APPLIED);
		expect_new(victim);
		rounds = victim_ask_number(victim, "rounds");
		victim_expect_above(victim, "rounds", rounds + 400);

		expect_result(update_revert(&update, "throwing-v2", victim->pid), UPD_REVERTED);
		expect_old(victim);
		rounds = victim_ask_number(victim, "rounds");
		victim_expect_above(victim, "rounds", rounds + 400);
	}
	victim_expect(victim, "wrong", "0");
	cr_assert_eq(victim_quit(victim), 0);
}

/* The function is on the stack nearly always, and mostly an exception is under way to its caller,
 * who has the handler. */
Test(exceptions, under_way_nearly_always)
{
	UPDATE update = { .timeout_s = 30 };
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("throwing", "1", "0", NULL);
	for (int round = 0; round < 5; round++) {
		expect_result(update_apply(&update, PATCH, victim->pid), UPD_APPLIED);
		expect_new(victim);
		expect_result(update_revert(&update, "throwing-v2", victim->pid), UPD_REVERTED);
		expect_old(victim);
	}
	victim_expect(victim, "wrong", "0");
	cr_assert_eq(victim_quit(victim), 0);
}

ParameterizedTestParameters(exceptions, threads_are_caught_as_they_leave)
{
	static char programs[][16] = { "tries", "tries-nopie", "tries-static" };

	return cr_make_param_array(char[16], programs, INJ_ARRAY_LENGTH(programs));
}

/* Polling would meet the gap between two calls once in thousands of attempts. */
ParameterizedTest(char program[16], exceptions, threads_are_caught_as_they_leave)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start(program, "1", "30000", NULL);
	victim_expect_above(victim, "caught", 0);
	for (int round = 0; round < 5; round++) {
		long long rounds;

		expect_result(update_apply(&update, TRIES_PATCH, victim->pid), UPD_APPLIED);
		cr_assert_lt(update.report.targets[0].attempts, 100);
		rounds = victim_ask_number(victim, "rounds");
		victim_expect_above(victim, "rounds", rounds + 2);
		victim_expect(victim, "version", "2");
		expect_result(update_revert(&update, "tries-v2", victim->pid), UPD_REVERTED);
		cr_assert_lt(update.report.targets[0].attempts, 100);
		rounds = victim_ask_number(victim, "rounds");
		victim_expect_above(victim, "rounds", rounds + 2);
		victim_expect(victim, "version", "1");
	}
}

/* One thread never leaves, so the others run into pads all the time, returning and throwing, until
 * the deadline. */
Test(exceptions, pads_that_lead_to_nothing)
{
	UPDATE update = { .timeout_s = 1 };
	VICTIM victim = NULL;
	long long caught;

	need_root();
	victim = victim_start("tries", "3", "500", NULL);
	victim_expect(victim, "stuck", "ok");
	for (int round = 0; round < 5; round++) {
		caught = victim_expect_above(victim, "caught", 0);
		expect_result(update_apply(&update, TRIES_PATCH, victim->pid), UPD_BLOCKED);
		victim_expect_above(victim, "caught", caught + 100);
		victim_expect(victim, "version", "1 1 1");
	}
}

/* A refused request leaves the tables of the first one registered. */
Test(exceptions, survive_a_refused_request)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("throwing", "1", NULL);
	expect_result(update_apply(&update, PATCH, victim->pid), UPD_APPLIED);
	expect_code(update_apply(&update, PATCH, victim->pid), INJ_ALREADY_APPLIED);
	expect_new(victim);
	victim_expect(victim, "wrong", "0");
}
