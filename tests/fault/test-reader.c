/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Readers of foreign files in wrong hands. Whatever a reader tries, at whatever question, the
 * update is refused with words that say so, the target is what it was, nobody is left behind, and
 * the next update goes on as if nothing had happened.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/need.h"
#include "tests/support/snapshot.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

TestSuite(reader, .timeout = 120);

#define PATCH "tests/patches/live/greeting-v2.so"
#define NEW "hello, new world"
#define STUCK_PATCH "tests/patches/live/hot-v2.so"
#define UPDATE INJ_CLEANUP(update_done) struct update

struct misdeed {
	char what[32];
	char told[48]; /* part of the message */
};

static struct misdeed forbidden[] = {
	{"patch:open", "signal 31"},
	{"plan:open", "signal 31"},
	{"plan:socket", "signal 31"},
	{"plan:ptrace", "signal 31"},
	{"plan:readv", "signal 31"},
	{"plan:signal", "signal 31"},
	{"plan:fork", "signal 31"},
	{"plan:exec", "signal 31"},
	{"plan:code", "signal 31"},
	{"attach:open", "signal 31"},
	{"plan:crash", "signal 4"},
	{"plan:memory", "signal 4"},
	{"plan:end", "gave up"},
	{"plan:hang", "in time"},
	{"patch:hang", "in time"},
	{"patch:nonsense", "cannot be"},
	{"patch:nothing", "cannot be"},
	{"plan:unknown", "cannot be"},
	{"plan:nonsense", "cannot be"},
	{"plan:nothing", "cannot be"},
	{"plan:refuse-badly", "cannot be"},
	{"plan:promise", "cannot be"},
	{"prepare:file", "signal 4"},
	{"prepare:frame", "gave up"},
	{"prepare:open", "signal 31"},
	{"prepare:nonsense", "cannot be"},
	{"prepare:crash", "signal 4"},
	{"prepare:nothing", "cannot be"},
	{"prepare:unknown", "cannot be"},
};

/* The only child that we have is the victim. */
static void expect_nobody_left(const struct victim *victim)
{
	char path[64], children[256] = "", expected[32];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	snprintf(expected, sizeof(expected), "%d ", victim->pid);
	file = fopen(path, "re");
	cr_assert(file);
	cr_expect(fgets(children, sizeof(children), file));
	cr_expect_str_eq(children, expected);
	fclose(file);
}

ParameterizedTestParameters(reader, that_does_what_it_may_not)
{
	return cr_make_param_array(struct misdeed, forbidden, INJ_ARRAY_LENGTH(forbidden));
}

ParameterizedTest(struct misdeed *misdeed, reader, that_does_what_it_may_not)
{
	UPDATE update = { .timeout_s = 1 };
	const struct upd_target *target;
	VICTIM victim = NULL;
	SNAPSHOT before = NULL;
	SNAPSHOT after = NULL;
	char differences[1024];

	need_root();
	victim = victim_start("single", NULL);
	before = snapshot_take(victim->pid);
	setenv("DSUD_MISDEED", misdeed->what, 1);
	cr_log_info("%s", misdeed->what);
	target = update_apply(&update, PATCH, victim->pid);
	expect_refusal(target, INJ_BAD_PATCH, misdeed->told);
	expect_nobody_left(victim);
	unsetenv("DSUD_MISDEED");
	victim_expect(victim, "greet", "hello");
	after = snapshot_take(victim->pid);
	cr_expect_eq(
		snapshot_diff(before, after, SNAPSHOT_GROWTH, differences, sizeof(differences)), 0,
		"%s: %s", misdeed->what, differences);
	expect_result(update_apply(&update, PATCH, victim->pid), UPD_APPLIED);
	victim_expect(victim, "greet", NEW);
}

static struct misdeed while_held[] = {
	{"find:open", "signal 31"},	{"find:crash", "signal 4"},
	{"find:end", "gave up"},	{"find:hang", "in time"},
	{"find:nonsense", "cannot be"}, {"find:nothing", "cannot be"},
	{"find:unknown", "cannot be"},	{"find:promise", "cannot be"},
	{"find:file", "gave up"},
};

ParameterizedTestParameters(reader, that_misbehaves_under_a_hold)
{
	return cr_make_param_array(struct misdeed, while_held, INJ_ARRAY_LENGTH(while_held));
}

/* Nothing is committed on the word of such a reader, and no hold is longer than its budget and the
 * reader's grace. */
ParameterizedTest(struct misdeed *misdeed, reader, that_misbehaves_under_a_hold)
{
	UPDATE update = { .timeout_s = 2 };
	const struct upd_target *target;
	VICTIM victim = NULL;
	SNAPSHOT before = NULL;
	SNAPSHOT after = NULL;
	char differences[1024];

	need_root();
	/* Somebody is in the function, so a walk has to decide. */
	victim = victim_start("hot", "1", NULL);
	victim_ask(victim, "stuck");
	before = snapshot_take(victim->pid);
	setenv("DSUD_MISDEED", misdeed->what, 1);
	cr_log_info("%s", misdeed->what);
	target = update_apply(&update, STUCK_PATCH, victim->pid);
	expect_refusal(target, INJ_BAD_PATCH, misdeed->told);
	unsetenv("DSUD_MISDEED");
	/* A reader that never answers cannot say either that nobody is in our memory, so that waits
	 * for a recovery. */
	update_recover(&update, victim->pid);
	after = snapshot_take(victim->pid);
	cr_expect_eq(snapshot_diff(before, after, SNAPSHOT_DATA, differences, sizeof(differences)),
		     0, "%s: %s", misdeed->what, differences);
}
