/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The protocol safe-redefine on live programs: what their clients see before, during and after, and
 * what is left in them.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include <sys/eventfd.h>

#include "tests/support/need.h"
#include "tests/support/snapshot.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define PATCH(name) "tests/patches/live/" name ".so"
#define UPDATE INJ_CLEANUP(update_done) struct update

static void expect_running(struct victim *victim)
{
	long long before = victim_ask_number(victim, "slowest");

	victim_expect_above(victim, "slowest", before);
}

ParameterizedTestParameters(safe_redefine, every_kind_of_program)
{
	static char programs[][24] = { "threads", "threads-nopie", "threads-static",
				       "threads-static-pie" };

	return cr_make_param_array(char[24], programs, INJ_ARRAY_LENGTH(programs));
}

ParameterizedTest(char program[24], safe_redefine, every_kind_of_program)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	SNAPSHOT before = NULL;
	const struct upd_target *target;

	need_root();
	victim = victim_start(program, "8", NULL);
	victim_expect(victim, "greet", "hello");
	before = snapshot_take(victim->pid);

	for (int round = 0; round < 3; round++) {
		target = update_apply(&update, PATCH("greeting-v2"), victim->pid);
		expect_result(target, UPD_APPLIED);
		cr_assert_eq(target->n_functions, 1);
		cr_assert_str_eq(target->functions[0].name, "greeting");
		cr_assert_gt(target->held_ns, 0);
		victim_expect(victim, "greet", "hello, new world");
		expect_running(victim);

		target = update_status(&update, victim->pid);
		cr_assert_eq(target->n_patches, 1);
		cr_assert_str_eq(target->patches[0].id, "greeting-v2");
		cr_assert_str_eq(target->patches[0].state, "active");

		expect_result(update_revert(&update, "greeting-v2", victim->pid), UPD_REVERTED);
		victim_expect(victim, "greet", "hello");
		expect_running(victim);
	}
	/* The program's own code is what it was, byte for byte; only our own mappings were
	 * added. */
	char difference[4096];

	snapshot_diff(before, snapshot_take(victim->pid), SNAPSHOT_DATA, difference,
		      sizeof(difference));
	for (char *line = strtok(difference, "\n"); line; line = strtok(NULL, "\n"))
		cr_assert(strstr(line, "/memfd:dsu:"), "left behind: %s", line);
	cr_assert_eq(victim_quit(victim), 0);
}

Test(safe_redefine, without_manifest)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("threads", "2", NULL);
	expect_result(update_apply(&update, PATCH("no-manifest"), victim->pid), UPD_APPLIED);
	cr_assert_str_eq(update.report.targets[0].patch, "no-manifest.so");
	victim_expect(victim, "greet", "hello without manifest");
	expect_result(update_revert(&update, "no-manifest.so", victim->pid), UPD_REVERTED);
	victim_expect(victim, "greet", "hello");
	expect_result(update_apply(&update, PATCH("no-manifest"), victim->pid), UPD_APPLIED);
	expect_result(update_revert(&update, "no-manifest", victim->pid), UPD_REVERTED);
	victim_expect(victim, "greet", "hello");
	expect_code(update_revert(&update, "no-manifest", victim->pid), INJ_NOT_APPLIED);
}

Test(safe_redefine, two_functions_at_once)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("pair", NULL);
	victim_expect(victim, "both", "2 20");
	expect_result(update_apply(&update, PATCH("pair-v2"), victim->pid), UPD_APPLIED);
	victim_expect(victim, "both", "200 2000");
	expect_result(update_revert(&update, "pair-v2", victim->pid), UPD_REVERTED);
	victim_expect(victim, "both", "2 20");
}

Test(safe_redefine, stacked)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("threads", "4", NULL);
	expect_result(update_apply(&update, PATCH("greeting-v2"), victim->pid), UPD_APPLIED);
	expect_result(update_apply(&update, PATCH("greeting-v3"), victim->pid), UPD_APPLIED);
	victim_expect(victim, "greet", "hello, third world");

	expect_refusal(update_revert(&update, "greeting-v2", victim->pid), INJ_DEPENDS_ON,
		       "greeting-v3");
	victim_expect(victim, "greet", "hello, third world");

	expect_result(update_revert(&update, "greeting-v3", victim->pid), UPD_REVERTED);
	victim_expect(victim, "greet", "hello, new world");
	expect_result(update_revert(&update, "greeting-v2", victim->pid), UPD_REVERTED);
	victim_expect(victim, "greet", "hello");
}

/* The function is on a stack nearly always; polling would meet the gap once in thousands of
 * attempts. */
Test(safe_redefine, function_that_is_nearly_always_running)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("hot", "1", "30000", NULL);
	victim_expect_above(victim, "rounds", 0);
	for (int round = 0; round < 5; round++) {
		long long rounds;

		expect_result(update_apply(&update, PATCH("hot-v2"), victim->pid), UPD_APPLIED);
		cr_assert_lt(update.report.targets[0].attempts, 100);
		rounds = victim_ask_number(victim, "rounds");
		victim_expect_above(victim, "rounds", rounds + 1);
		victim_expect(victim, "version", "2");
		expect_result(update_revert(&update, "hot-v2", victim->pid), UPD_REVERTED);
		rounds = victim_ask_number(victim, "rounds");
		victim_expect_above(victim, "rounds", rounds + 1);
		victim_expect(victim, "version", "1");
	}
}

Test(safe_redefine, blocked_leaves_everything_as_it_was)
{
	UPDATE update = { .timeout_s = 1 };
	VICTIM victim = NULL;
	SNAPSHOT before = NULL;
	const struct upd_target *target;

	need_root();
	victim = victim_start("hot", "1", "30000", NULL);
	victim_expect(victim, "stuck", "ok");
	victim_expect_above(victim, "rounds", 1);
	before = snapshot_take(victim->pid);

	target = update_apply(&update, PATCH("hot-v2"), victim->pid);
	expect_result(target, UPD_BLOCKED);
	expect_code(target, INJ_BLOCKED);
	cr_assert_gt(target->n_blockers, 0);
	cr_assert_str_eq(target->blockers[0].function, "nap");
	cr_assert_str_eq(target->blockers[0].comm, "hot");
	cr_assert_gt(target->attempts, 1);

	snapshot_expect_same(before, SNAPSHOT_DATA);
	victim_expect_above(victim, "rounds", victim_ask_number(victim, "rounds"));
	victim_expect(victim, "version", "1");
}

/* Who is certainly inside may come out; of a stack that cannot be walked nobody knows, however long
 * one waits. */
Test(safe_redefine, stacks_that_cannot_be_walked)
{
	static const struct {
		const char *mode;
		enum upd_result result;
		int code;
	} cases[] = {
		{ "syscall", UPD_BLOCKED, INJ_BLOCKED },
		{ "untold", UPD_REFUSED, INJ_UNRELIABLE_STACK },
		{ "not-untold", UPD_APPLIED, 0 },
	};

	need_root();
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++) {
		UPDATE update = { .timeout_s = 0.3 };
		VICTIM victim = victim_start("stacks", cases[i].mode, NULL);
		SNAPSHOT before = snapshot_take(victim->pid);
		const struct upd_target *target = update_apply(
			&update, "tests/patches/traits/watched-v2.so", victim->pid);

		expect_code(target, cases[i].code);
		expect_result(target, cases[i].result);
		if (cases[i].code == 0)
			continue;
		cr_assert_eq(target->n_blockers, 1);
		cr_assert_str_eq(target->blockers[0].function, "watched");
		cr_assert_eq(target->blockers[0].reliable, cases[i].code == INJ_BLOCKED);
		snapshot_expect_same(before, SNAPSHOT_DATA);
	}
}

Test(safe_redefine, cancelled_leaves_everything_as_it_was)
{
	UPDATE update = { .timeout_s = 20 };
	VICTIM victim = NULL;
	SNAPSHOT before = NULL;
	INJ_CLOSE int cancel = eventfd(1, EFD_CLOEXEC);

	need_root();
	victim = victim_start("hot", "1", "30000", NULL);
	victim_expect(victim, "stuck", "ok");
	victim_expect_above(victim, "rounds", 0);
	before = snapshot_take(victim->pid);
	update.cancel_fd = cancel;
	expect_code(update_apply(&update, PATCH("hot-v2"), victim->pid), INJ_CANCELLED);
	snapshot_expect_same(before, SNAPSHOT_DATA);
	victim_expect(victim, "version", "1");
}

Test(safe_redefine, several_processes_all_or_none)
{
	UPDATE update = { .kind = UPD_APPLY, .patch = PATCH("hot-v2"), .timeout_s = 1 };
	VICTIM first = NULL;
	VICTIM second = NULL;
	SNAPSHOT before = NULL;
	pid_t pids[2];

	need_root();
	first = victim_start("hot", "2", "1000", NULL);
	second = victim_start("hot", "1", "1000", NULL);
	victim_expect(second, "stuck", "ok");
	pids[0] = first->pid;
	pids[1] = second->pid;
	before = snapshot_take(first->pid);
	update.pids = pids;
	update.n_pids = 2;
	update_run(&update);
	expect_result(&update.report.targets[1], UPD_BLOCKED);
	cr_assert_neq(update.report.targets[0].result, UPD_APPLIED);
	snapshot_expect_same(before, SNAPSHOT_DATA);
	victim_expect_above(first, "rounds", 1);
	victim_expect(first, "version", "1 1");
}

Test(safe_redefine, several_processes_at_one_moment)
{
	UPDATE update = { .kind = UPD_APPLY, .patch = PATCH("greeting-v2") };
	struct victim *victims[3] = {};
	pid_t pids[3];

	need_root();
	for (int i = 0; i < 3; i++) {
		victims[i] = victim_start("threads", "4", NULL);
		pids[i] = victims[i]->pid;
	}
	update.pids = pids;
	update.n_pids = 3;
	update_run(&update);
	for (int i = 0; i < 3; i++) {
		expect_result(&update.report.targets[i], UPD_APPLIED);
		victim_expect(victims[i], "greet", "hello, new world");
	}
	update_done(&update);
	update = (struct update){ .kind = UPD_REVERT, .patch_id = "greeting-v2", .pids = pids,
				  .n_pids = 3 };
	update_run(&update);
	for (int i = 0; i < 3; i++) {
		expect_result(&update.report.targets[i], UPD_REVERTED);
		victim_expect(victims[i], "greet", "hello");
		victim_free(victims[i]);
	}
}

Test(safe_redefine, refusals_touch_nothing)
{
	static const struct {
		const char *program;
		const char *patch;
		enum inj_code code;
		const char *word; /* the message says it */
	} cases[] = {
		{ "threads", PATCH("missing"), INJ_NO_SUCH_SYMBOL, "nobody_has_this" },
		{ "threads", PATCH("hot-v2"), INJ_NO_SUCH_SYMBOL, "nap" },
		{ "threads-stripped", PATCH("greeting-v2"), INJ_NO_SUCH_SYMBOL, "greeting" },
		{ "threads", "tests/victims/threads", INJ_BAD_PATCH, "threads" },
		{ "threads", "meson-private/coredata.dat", INJ_BAD_PATCH, "ELF" },
	};

	need_root();
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++) {
		UPDATE update = {};
		VICTIM victim = victim_start(cases[i].program, "2", NULL);
		SNAPSHOT before = snapshot_take(victim->pid);

		expect_refusal(update_apply(&update, cases[i].patch, victim->pid), cases[i].code,
			       cases[i].word);
		snapshot_expect_same(before, SNAPSHOT_DATA);
		victim_expect(victim, "greet", "hello");
	}
}

Test(safe_redefine, twice_and_never)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("threads", "2", NULL);
	expect_code(update_revert(&update, "greeting-v2", victim->pid), INJ_NOT_APPLIED);
	expect_result(update_apply(&update, PATCH("greeting-v2"), victim->pid), UPD_APPLIED);
	expect_code(update_apply(&update, PATCH("greeting-v2"), victim->pid), INJ_ALREADY_APPLIED);
	victim_expect(victim, "greet", "hello, new world");
}

Test(safe_redefine, check_says_what_apply_would_do_and_does_nothing)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	VICTIM stuck = NULL;
	SNAPSHOT before = NULL;
	const struct upd_target *target;

	need_root();
	victim = victim_start("threads", "4", NULL);
	before = snapshot_take(victim->pid);
	target = update_check(&update, PATCH("greeting-v2"), victim->pid);
	expect_result(target, UPD_UNCHANGED);
	cr_assert_eq(target->code, 0);
	cr_assert_eq(target->n_functions, 1);
	snapshot_expect_same(before, SNAPSHOT_DATA);
	victim_expect(victim, "greet", "hello");

	stuck = victim_start("hot", "1", NULL);
	victim_expect(stuck, "stuck", "ok");
	victim_expect_above(stuck, "rounds", 0);
	target = update_check(&update, PATCH("hot-v2"), stuck->pid);
	expect_result(target, UPD_UNCHANGED);
	cr_assert_gt(target->n_blockers, 0);
}
