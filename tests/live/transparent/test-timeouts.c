/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Programs whose threads wait with timeouts of all kinds, updated again and again: the timeouts
 * come when they should, though every update interrupts the calls and ends long before them.
 */
#include <criterion/criterion.h>
#include <sys/wait.h>
#include <unistd.h>

#include "injector/base/clock.h"
#include "tests/support/need.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define PATCH "tests/patches/traits/version-v2.so"
#define ID "version-v2"
#define UPDATE INJ_CLEANUP(update_done) struct update
#define MS 1000000ull
#define TIMEOUT "1500"
#define UPDATES_MS 4000
#define MAX_KEEPERS 4096

TestSuite(timeouts, .timeout = 120);

/* Children that stay behind, as those of workers do. */
struct keepers {
	pid_t pids[MAX_KEEPERS];
	size_t n;
};

/* A request as the daemon's worker makes it. */
static void request(struct keepers *keepers, const char *patch, pid_t pid)
{
	INJ_CLEANUP(upd_timekeeper_deinit) struct upd_timekeeper timekeeper = {};
	UPDATE update = { .timekeeper = &timekeeper };

	cr_assert_eq(upd_timekeeper_init(&timekeeper), 0);
	if (patch)
		expect_result(update_apply(&update, patch, pid), UPD_APPLIED);
	else
		expect_result(update_revert(&update, ID, pid), UPD_REVERTED);
	if (!keepers || !upd_timekeeper_is_needed(&timekeeper))
		return;
	cr_assert_lt(keepers->n, MAX_KEEPERS);
	keepers->pids[keepers->n] = fork();
	cr_assert_geq(keepers->pids[keepers->n], 0);
	if (keepers->pids[keepers->n] == 0) {
		upd_timekeeper_stay(&timekeeper, 60000 * MS);
		_exit(0);
	}
	keepers->n++;
}

static void await_asleep(struct victim *victim)
{
	while (victim_ask_number(victim, "asleep") < victim_ask_number(victim, "count"))
		;
}

/* Updates without a pause, for much longer than the timeouts. */
static void update_and_update(struct victim *victim, struct keepers *keepers)
{
	const uint64_t end_ns = inj_now_ns() + UPDATES_MS * MS;

	await_asleep(victim);
	while (inj_now_ns() < end_ns) {
		request(keepers, PATCH, victim->pid);
		victim_expect(victim, "version", "2");
		request(keepers, NULL, victim->pid);
		victim_expect(victim, "version", "1");
	}
}

/* All that were to stay have gone, by themselves. */
static void expect_ended(const struct keepers *keepers)
{
	for (size_t i = 0; i < keepers->n; i++) {
		int status = -1;

		cr_expect_eq(waitpid(keepers->pids[i], &status, 0), keepers->pids[i]);
		cr_expect_eq(status, 0);
	}
}

Test(timeouts, come_though_updates_follow_each_other)
{
	static struct keepers keepers;
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("blocking", TIMEOUT, NULL);
	update_and_update(victim, &keepers);
	cr_expect_gt(keepers.n, 0);
	cr_expect(victim_ask_number(victim, "late") >= 0, "some have not ended: %s",
		  victim_ask(victim, "report"));
	victim_expect(victim, "early", "0");
	expect_ended(&keepers);
	cr_assert_eq(victim_quit(victim), 0);
}

/* What would happen to the same program otherwise. */
Test(timeouts, do_not_come_when_nobody_keeps_them)
{
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("blocking", TIMEOUT, NULL);
	update_and_update(victim, NULL);
	victim_expect(victim, "late", "-1");
}

/* However many requests there were, one process in the end waits for a call that lasts for
 * hours. */
Test(timeouts, one_stays_for_all)
{
	static struct keepers keepers;
	VICTIM victim = NULL;
	size_t n_left;

	need_root();
	victim = victim_start("blocking", "3600000", NULL);
	await_asleep(victim);
	for (int i = 0; i < 10; i++) {
		request(&keepers, PATCH, victim->pid);
		request(&keepers, NULL, victim->pid);
	}
	cr_assert_gt(keepers.n, 1);
	/* Each leaves when it has seen that another one stays; the last has nobody to leave to. */
	for (n_left = keepers.n; n_left > 1; n_left--)
		cr_assert_gt(waitpid(-1, NULL, 0), 0);
	cr_expect_eq(waitpid(-1, NULL, WNOHANG), 0);
	cr_expect_eq(victim_ask_number(victim, "returned"), 0);
	/* When the calls end, that one has no reason to stay either. */
	victim_expect(victim, "wake", "woken");
	/* It has the other end of the pipe, too. */
	victim_tell(victim, "quit");
	cr_assert_eq(victim_wait(victim), 0);
	cr_expect_gt(waitpid(-1, NULL, 0), 0);
	cr_expect_eq(waitpid(-1, NULL, 0), -1);
}
