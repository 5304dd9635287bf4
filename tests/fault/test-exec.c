/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A target becomes another program between two looks at it, worst of all the same program at the
 * same addresses. Nothing of what was found out before may be used on it: the update ends as gone,
 * and the new program runs untouched.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <string.h>

#include "tests/fault/worker.h"
#include "tests/support/need.h"
#include "tests/support/victim.h"

#define PATCH "tests/patches/live/reborn-v2.so"
#define ID "reborn-v2"
#define UPDATE INJ_CLEANUP(update_done) struct update

TestSuite(exec, .timeout = 120);

static char programs[][16] = { "reborn", "reborn-nopie" };

static struct victim *start(const char *program)
{
	struct victim *victim;

	need_root();
	victim = victim_start(program, "fixed", NULL);
	victim_expect(victim, "value", "1");
	return victim;
}

static void expect_untouched(struct victim *victim)
{
	UPDATE update = {};

	victim_expect(victim, "value", "1");
	cr_assert_eq(update_status(&update, victim->pid)->n_patches, 0);
	expect_result(update_apply(&update, PATCH, victim->pid), UPD_APPLIED);
	victim_expect(victim, "value", "1000");
	expect_result(update_revert(&update, ID, victim->pid), UPD_REVERTED);
	victim_expect(victim, "value", "1");
}

ParameterizedTestParameters(exec, between_two_looks_of_an_apply)
{
	return cr_make_param_array(char[16], programs, INJ_ARRAY_LENGTH(programs));
}

/* A thread is in the function, so the first look says no; the second one meets another life. */
ParameterizedTest(char program[16], exec, between_two_looks_of_an_apply)
{
	VICTIM victim = start(program);
	const struct update apply = { .kind = UPD_APPLY, .patch = PATCH, .pids = &victim->pid,
				      .n_pids = 1 };
	pid_t worker;

	victim_expect(victim, "stay", "ok");
	worker = worker_start(&apply, "released:1:stop");
	worker_await_stop(worker);
	victim_expect(victim, "again", "ready");
	worker_go_on(worker);
	worker_await_result(worker, UPD_GONE);
	expect_untouched(victim);
}

ParameterizedTestParameters(exec, between_two_looks_of_a_revert)
{
	return cr_make_param_array(char[16], programs, INJ_ARRAY_LENGTH(programs));
}

ParameterizedTest(char program[16], exec, between_two_looks_of_a_revert)
{
	VICTIM victim = start(program);
	const struct update revert = { .kind = UPD_REVERT, .patch_id = ID, .pids = &victim->pid,
				       .n_pids = 1 };
	UPDATE update = {};
	pid_t worker;

	expect_result(update_apply(&update, PATCH, victim->pid), UPD_APPLIED);
	victim_expect(victim, "stay", "ok");
	worker = worker_start(&revert, "released:1:stop");
	worker_await_stop(worker);
	victim_expect(victim, "again", "ready");
	worker_go_on(worker);
	worker_await_result(worker, UPD_GONE);
	expect_untouched(victim);
}

/* Planned for one life, and nothing is mapped yet: the journal has two writes for its beginning and
 * one for that. */
Test(exec, between_plan_and_stage)
{
	VICTIM victim = start("reborn");
	const struct update apply = { .kind = UPD_APPLY, .patch = PATCH, .pids = &victim->pid,
				      .n_pids = 1 };
	pid_t worker = worker_start(&apply, "journal-written:3:stop");

	worker_await_stop(worker);
	victim_expect(victim, "again", "ready");
	worker_go_on(worker);
	worker_await_result(worker, UPD_GONE);
	expect_untouched(victim);
}

static void expect_lawful(const struct upd_target *target)
{
	switch (target->result) {
	case UPD_APPLIED:
	case UPD_REVERTED:
	case UPD_GONE:
		return;
	default:
		/* It was reborn before the patch was to be taken back; could not be caught; had no
		 * libc yet, where what returns from signal handlers is. */
		cr_assert(target->code == INJ_NOT_APPLIED || target->code == INJ_BLOCKED ||
				  target->code == INJ_NO_SUCH_SYMBOL ||
				  target->code == INJ_UNSUPPORTED_PROCESS,
			  "%s (%s): %s", upd_result_word(target->result),
			  inj_code_bus_name(target->code), target->message);
	}
}

ParameterizedTestParameters(exec, again_and_again)
{
	static char modes[][16] = { "reborn", "reborn-nopie", "fixed" };

	return cr_make_param_array(char[16], modes, INJ_ARRAY_LENGTH(modes));
}

/* A life ends wherever the update happens to be. A program that breaks kills itself. */
ParameterizedTest(char mode[16], exec, again_and_again)
{
	bool fixed = strcmp(mode, "fixed") == 0;
	UPDATE update = { .timeout_s = 2 };
	VICTIM victim = NULL;
	long long lives;
	unsigned n_applied = 0, n_gone = 0;

	need_root();
	victim = fixed ? victim_start("reborn-nopie", "fixed", NULL) : victim_start(mode, NULL);
	victim_expect(victim, "loop", "ok");
	for (int round = 0; round < 150; round++) {
		const struct upd_target *target = update_apply(&update, PATCH, victim->pid);

		expect_lawful(target);
		n_applied += target->result == UPD_APPLIED;
		n_gone += target->result == UPD_GONE;
		expect_lawful(update_revert(&update, ID, victim->pid));
		cr_assert(!victim_ended(victim), "round %d: it broke: %x", round, victim->status);
	}
	lives = victim_ask_number(victim, "lives");
	cr_log_info("%u applied, %u gone, %lld lives", n_applied, n_gone, lives);
	cr_assert_gt(lives, 10);
	if (strcmp(victim_ask(victim, "value"), "1000") == 0)
		expect_result(update_revert(&update, ID, victim->pid), UPD_REVERTED);
	expect_untouched(victim);
}
