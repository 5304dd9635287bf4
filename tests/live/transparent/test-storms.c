/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Programs that make threads, children or other programs as fast as they can, or that become
 * another program or end, in
 * the middle of updates: each update is done, or there is a clear answer; whatever they make is
 * whole, and has one of the two versions.
 */
#include <criterion/parameterized.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/live/transparent/repeating.h"

TestSuite(storms, .timeout = 300);

struct storm {
	char name[16];
	unsigned n_rounds;
};

static struct storm all_storms[] = {
	{ "threads", 100 }, { "chain", 100 },  { "forks", 60 },
	{ "vforks", 40 },   { "spawns", 40 },  { "clones", 60 },
};

ParameterizedTestParameters(storms, updates_are_done)
{
	return cr_make_param_array(struct storm, all_storms, INJ_ARRAY_LENGTH(all_storms));
}

/* Made per second while nobody disturbs. */
static double rate(struct victim *victim)
{
	uint64_t begin_ns = inj_now_ns();
	long long before = victim_ask_number(victim, "made");
	long long after = victim_expect_above(victim, "made", before + 200);

	return (double)(after - before) * 1e9 / (double)(inj_now_ns() - begin_ns);
}

ParameterizedTest(struct storm *storm, storms, updates_are_done)
{
	VICTIM victim = NULL;
	double per_second;

	need_root();
	victim = victim_start("churn", storm->name, NULL);
	per_second = rate(victim);
	for (unsigned i = 0; i < times(storm->n_rounds); i++) {
		update_twice(victim);
		victim_expect_above(victim, "made", victim_ask_number(victim, "made"));
	}
	victim_expect(victim, "failed", "0");
	cr_log_info("%s: %.0f a second, %lld in all, %u updates", storm->name, per_second,
		    victim_ask_number(victim, "made"), 2 * times(storm->n_rounds));
	cr_assert_eq(victim_quit(victim), 0);
}

/* --- becoming another program, ending ------------------------------------------------------ */

/* Ended, not reaped yet, or another program by now. */
static bool is_gone(const struct upd_target *target)
{
	return target->code == INJ_PROCESS_GONE || target->code == INJ_NO_SUCH_PROCESS ||
	       (target->code == INJ_UNSUPPORTED_PROCESS && strstr(target->message, "zombie"));
}

static void expect_clear_answer(const struct upd_target *target)
{
	cr_assert(target->result == UPD_APPLIED || target->result == UPD_REVERTED ||
			  is_gone(target) || target->code == INJ_NOT_APPLIED,
		  "%s (%s): %s", upd_result_word(target->result), inj_code_bus_name(target->code),
		  target->message);
}

/* One update after the other until the process is gone, or for a while. */
static void update_until(struct victim *victim, const char *what, uint64_t end_ns)
{
	UPDATE update = {};

	while (inj_now_ns() < end_ns) {
		const struct upd_target *target =
			update_apply(&update, VERSION_PATCH, victim->pid);

		expect_clear_answer(target);
		if (is_gone(target) && strcmp(what, "exit") == 0)
			return;
		expect_clear_answer(update_revert(&update, VERSION_ID, victim->pid));
	}
}

/* At another moment of the updates in each round. */
static void tell_later(struct victim *victim, const char *what, unsigned round)
{
	struct timespec pause = { 0, (long)(round * 7919 % 20) * 1000000 };

	nanosleep(&pause, NULL);
	victim_tell(victim, what);
}

struct change {
	char storm[16];
	char question[16];
};

static struct change changes[] = {
	{ "threads", "exec" }, { "threads", "exec-main" }, { "crowd", "exec" },
	{ "threads", "exit" }, { "crowd", "exit" },	   { "forks", "exit" },
};

ParameterizedTestParameters(storms, other_programs_and_ends)
{
	return cr_make_param_array(struct change, changes, INJ_ARRAY_LENGTH(changes));
}

ParameterizedTest(struct change *change, storms, other_programs_and_ends)
{
	need_root();
	for (unsigned round = 0; round < times(20); round++) {
		VICTIM victim = victim_start("churn", change->storm, "200", NULL);

		victim_expect_above(victim, "made", 0);

		pid_t pid = fork();

		cr_assert_geq(pid, 0);
		if (pid == 0) {
			tell_later(victim, change->question, round);
			_exit(0);
		}
		update_until(victim, change->question, inj_now_ns() + 60000000);
		cr_assert_eq(waitpid(pid, NULL, 0), pid);
		if (strcmp(change->question, "exit") == 0) {
			cr_expect_eq(victim_wait(victim), 7 << 8);
			continue;
		}
		/* The new program says that it is ready, and can be updated like any. */
		cr_expect_str_eq(victim_hear(victim), "ready");
		if (strcmp(victim_ask(victim, "version"), "2") == 0) {
			UPDATE update = {};

			expect_result(update_revert(&update, VERSION_ID, victim->pid),
				      UPD_REVERTED);
		}
		update_twice(victim);
		victim_expect(victim, "failed", "0");
		cr_assert_eq(victim_quit(victim), 0);
	}
}
