/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stubs of a committed update are straight jumps, those of one that is taken back ask for the
 * generation again, and a death in between leaves stubs that do the same either way.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "injector/descriptor/history.h"
#include "injector/process/maps.h"
#include "injector/process/mem.h"
#include "injector/redirect/promote.h"
#include "tests/support/need.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define PATCH "tests/patches/live/pair-v2.so"
#define UPDATE INJ_CLEANUP(update_done) struct update
#define OLD_ANSWER "2 20"
#define NEW_ANSWER "200 2000"

enum heads { HEADS_TEST, HEADS_JUMP, HEADS_MIXED };

static enum heads heads_of(const struct inj_process *process, const struct inj_ledger *ledger)
{
	size_t n_jumps = 0;
	uint64_t test;

	cr_assert_eq(
		inj_stub_test(ledger->record->control + offsetof(struct dsu_control, generation),
			      false, &test),
		0);
	cr_assert_gt(ledger->record->n_sites, 0);
	for (size_t i = 0; i < ledger->record->n_sites; i++) {
		uint8_t head[INJ_STUB_HEAD_BYTES];

		cr_assert_eq(inj_mem_read(process, ledger->sites[i].stub, head, sizeof(head)), 0);
		if (head[0] == 0xe9)
			n_jumps++;
		else
			cr_assert_arr_eq(head, &test, sizeof(head), "no stub starts so");
	}
	if (n_jumps == 0)
		return HEADS_TEST;
	return n_jumps == ledger->record->n_sites ? HEADS_JUMP : HEADS_MIXED;
}

/* How the stubs of the newest update start. */
static enum heads newest_heads(pid_t pid)
{
	struct inj_process *process = NULL;
	struct inj_maps *maps = NULL;
	struct inj_history history;
	struct inj_why why = {};
	enum heads heads;

	cr_assert_eq(inj_process_open(pid, &process, &why), 0, "%s", why.text);
	cr_assert_eq(inj_maps_read(process, &maps, &why), 0, "%s", why.text);
	cr_assert_eq(inj_history_read(process, maps, &history, &why), 0, "%s", why.text);
	cr_assert_gt(history.n_ledgers, 0);
	heads = heads_of(process, history.ledgers[history.n_ledgers - 1]);
	inj_history_deinit(&history);
	inj_maps_free(maps);
	inj_process_close(process);
	return heads;
}

static void die_at(enum upd_kind kind, const char *point, pid_t pid)
{
	int status;
	pid_t worker = fork();

	cr_assert_geq(worker, 0);
	if (worker == 0) {
		struct update update = {};

		setenv("DSUD_FAULT", point, 1);
		if (kind == UPD_APPLY)
			update_apply(&update, PATCH, pid);
		else
			update_revert(&update, "pair-v2", pid);
		_exit(0);
	}
	cr_assert_eq(waitpid(worker, &status, 0), worker);
	cr_assert(WIFSIGNALED(status), "%s was not reached", point);
}

Test(promotion, comes_with_the_commit_and_goes_with_the_revert)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("pair", NULL);
	for (int round = 0; round < 3; round++) {
		expect_result(update_apply(&update, PATCH, victim->pid), UPD_APPLIED);
		victim_expect(victim, "both", NEW_ANSWER);
		cr_assert_eq(newest_heads(victim->pid), HEADS_JUMP);
		expect_result(update_revert(&update, "pair-v2", victim->pid), UPD_REVERTED);
		victim_expect(victim, "both", OLD_ANSWER);
		cr_assert_eq(newest_heads(victim->pid), HEADS_TEST);
	}
}

Test(promotion, may_be_missing)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("pair", NULL);
	die_at(UPD_APPLY, "committed", victim->pid);
	cr_assert_eq(newest_heads(victim->pid), HEADS_TEST);
	victim_expect(victim, "both", NEW_ANSWER);
	expect_result(update_recover(&update, victim->pid), UPD_APPLIED);
	victim_expect(victim, "both", NEW_ANSWER);
	expect_result(update_revert(&update, "pair-v2", victim->pid), UPD_REVERTED);
	victim_expect(victim, "both", OLD_ANSWER);
}

/* Demoted, and the death comes before the store that reverts: the new version goes on. */
Test(promotion, may_have_been_taken_back)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("pair", NULL);
	expect_result(update_apply(&update, PATCH, victim->pid), UPD_APPLIED);
	die_at(UPD_REVERT, "demoted", victim->pid);
	cr_assert_eq(newest_heads(victim->pid), HEADS_TEST);
	victim_expect(victim, "both", NEW_ANSWER);
	expect_result(update_recover(&update, victim->pid), UPD_APPLIED);
	expect_result(update_revert(&update, "pair-v2", victim->pid), UPD_REVERTED);
	victim_expect(victim, "both", OLD_ANSWER);
}

/* The old road of a promoted stub stays as it was: who reverts without demoting would run new
 * code. */
Test(promotion, ends_before_the_old_generation)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("pair", NULL);
	expect_result(update_apply(&update, PATCH, victim->pid), UPD_APPLIED);
	die_at(UPD_REVERT, "reverted", victim->pid);
	victim_expect(victim, "both", OLD_ANSWER);
	update_recover(&update, victim->pid);
	victim_expect(victim, "both", OLD_ANSWER);
}
