/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Targets that make up what we remember in them. Whatever they forge: we come back soon and small,
 * what we say can be shown, nobody but the target itself is changed, and where the forgery is not
 * believed the target can be patched.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "injector/abi/ledger.h"
#include "tests/support/need.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define PATCH "tests/patches/live/work-v2.so"
#define UPDATE INJ_CLEANUP(update_done) struct update

/* Unprotected, the slow kinds take minutes and the large ones gigabytes. */
TestSuite(forged, .timeout = 60);

#define MAX_GROWTH_KB (512L << 10)

struct expectation {
	char kind[16];
	size_t n_patches;  /* in the status */
	int status_code;
	int apply_code;    /* 0: applied */
};

ParameterizedTestParameters(forged, every_kind)
{
	static struct expectation all[] = {
		{"plain", 1, 0, 0},
		{"checksum", 0, 0, 0},
		{"version", 1, 0, INJ_UNSUPPORTED_PROCESS},
		{"counts", 0, 0, 0},
		{"strings", 0, 0, 0},
		{"candidates", 0, INJ_UNSUPPORTED_PROCESS, INJ_UNSUPPORTED_PROCESS},
		{"crowd", 0, INJ_UNSUPPORTED_PROCESS, INJ_UNSUPPORTED_PROCESS},
		{"frames", 3, 0, INJ_UNSUPPORTED_PROCESS},
		{"text", 0, 0, 0},
		{"escapes", 1, 0, 0},
	};

	return cr_make_param_array(struct expectation, all, INJ_ARRAY_LENGTH(all));
}

static long most_resident_kb(void)
{
	struct rusage usage;

	cr_assert_eq(getrusage(RUSAGE_SELF, &usage), 0);
	return usage.ru_maxrss;
}

static void expect_printable(const char *text)
{
	char copy[4096];

	snprintf(copy, sizeof(copy), "%s", text);
	inj_printable(copy);
	cr_assert_str_eq(copy, text);
}

static void expect_shown_well(const struct upd_target *target)
{
	expect_printable(target->message);
	for (size_t i = 0; i < target->n_patches; i++) {
		const struct upd_patch_state *patch = &target->patches[i];

		expect_printable(patch->id);
		expect_printable(patch->version);
		expect_printable(patch->protocol);
		expect_printable(patch->digest);
		for (size_t j = 0; j < patch->n_functions; j++) {
			expect_printable(patch->functions[j].name);
			expect_printable(patch->functions[j].module);
			expect_printable(patch->functions[j].build_id);
			expect_printable(patch->functions[j].new_name);
		}
	}
}

static void forge(struct victim *victim, const char *kind)
{
	char line[64];

	snprintf(line, sizeof(line), "forge %s", kind);
	victim_expect(victim, line, "ok");
}

ParameterizedTest(struct expectation *expected, forged, every_kind)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	const struct upd_target *target;
	long before_kb;

	need_root();
	victim = victim_start("forger", NULL);
	victim_expect(victim, "work", "42");
	forge(victim, expected->kind);
	before_kb = most_resident_kb();

	target = update_status(&update, victim->pid);
	cr_log_info("forged: %s", expected->kind);
	expect_code(target, expected->status_code);
	cr_assert_eq(target->n_patches, expected->n_patches, "%zu patches", target->n_patches);
	expect_shown_well(target);

	target = update_apply(&update, PATCH, victim->pid);
	expect_code(target, expected->apply_code);
	expect_shown_well(target);
	victim_expect(victim, "work", expected->apply_code ? "42" : "41");

	expect_shown_well(update_recover(&update, victim->pid));
	victim_expect(victim, "work", expected->apply_code ? "42" : "41");
	victim_expect(victim, "treasure", "0x1122334455667788");
#ifndef __SANITIZE_ADDRESS__
	cr_assert_lt(most_resident_kb() - before_kb, MAX_GROWTH_KB);
#endif
}

/* Taking back what never was changes at most what the record names, in the target. */
Test(forged, a_patch_that_never_was_is_taken_back_from_the_forger_alone)
{
	UPDATE update = {};
	VICTIM victim = NULL;

	need_root();
	victim = victim_start("forger", NULL);
	forge(victim, "plain");
	expect_result(update_revert(&update, "forged", victim->pid), UPD_REVERTED);
	victim_expect(victim, "treasure", "0x1100000000000000");
	victim_expect(victim, "work", "42");
	expect_code(update_revert(&update, "forged", victim->pid), INJ_NOT_APPLIED);
}

static void write_control(const char *path, uint64_t ledger)
{
	INJ_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	const struct dsu_control control = {
		.magic = DSU_CONTROL_MAGIC, .phase = DSU_PHASE_STAGED, .ledger = ledger,
	};

	cr_assert_geq(fd, 0);
	cr_assert_eq(pwrite(fd, &control, sizeof(control), 0), (ssize_t)sizeof(control));
	cr_assert_eq(ftruncate(fd, 4096), 0);
}

/* Recovery notes in the control page what became of an update; here that page is a file of
 * root's. */
Test(forged, a_file_that_the_target_may_not_write_is_not_written_for_it)
{
	UPDATE update = {};
	VICTIM victim = NULL;
	char path[] = "/tmp/dsud-forged-XXXXXX";
	INJ_CLOSE int fd = -1;
	char line[128];
	uint8_t before[4096], after[4096];

	need_root();
	fd = mkostemp(path, O_CLOEXEC);
	cr_assert_geq(fd, 0);
	write_control(path, 0);
	victim = victim_start("forger", NULL);
	snprintf(line, sizeof(line), "forge control %s", path);
	write_control(path, strtoull(victim_ask(victim, line), NULL, 16));
	cr_assert_eq(pread(fd, before, sizeof(before), 0), (ssize_t)sizeof(before));
	update_recover(&update, victim->pid);
	update_revert(&update, "forged", victim->pid);
	update_apply(&update, PATCH, victim->pid);
	cr_assert_eq(pread(fd, after, sizeof(after), 0), (ssize_t)sizeof(after));
	cr_assert_arr_eq(before, after, sizeof(after));
	unlink(path);
}

/* Each forger has its share of the report, whatever it carries; who is honest is told about. */
Test(forged, forgers_hide_nobody)
{
	static const char *const kinds[] = {"heavy", "heavy", "heavy", "dozens", "crowd"};
	VICTIM honest = NULL;
	struct victim *forgers[INJ_ARRAY_LENGTH(kinds)];
	pid_t pids[INJ_ARRAY_LENGTH(kinds) + 1];
	UPDATE update = {};
	UPDATE status = {.kind = UPD_STATUS, .pids = pids, .n_pids = INJ_ARRAY_LENGTH(pids)};
	const struct upd_target *target;
	void *bytes = NULL;
	size_t n;

	need_root();
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(kinds); i++) {
		forgers[i] = victim_start("forger", NULL);
		forge(forgers[i], kinds[i]);
		pids[i] = forgers[i]->pid;
	}
	honest = victim_start("forger", NULL);
	expect_result(update_apply(&update, PATCH, honest->pid), UPD_APPLIED);
	pids[INJ_ARRAY_LENGTH(kinds)] = honest->pid;

	update_run(&status);
	cr_assert_eq(upd_report_encode(&status.report, &bytes, &n), 0);
	target = &status.report.targets[INJ_ARRAY_LENGTH(kinds)];
	cr_assert_eq(target->n_patches, 1);
	cr_assert_str_eq(target->patches[0].id, "work-v2");
	cr_assert_eq(target->patches[0].n_functions, 1);
	for (size_t i = 0; i < 4; i++) {
		target = &status.report.targets[i];
		cr_assert_eq(target->code, 0, "%s", target->message);
		cr_assert_eq(target->n_notes, 1, "%s: %zu notes", kinds[i], target->n_notes);
		cr_assert_not_null(strstr(target->notes[0], "not listed"));
	}
	cr_assert_eq(status.report.targets[4].code, INJ_UNSUPPORTED_PROCESS);
	free(bytes);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(kinds); i++)
		victim_free(forgers[i]);
}
