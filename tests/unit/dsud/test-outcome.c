/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is told when the worker cannot tell it any more. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dsud/registry/outcome.h"

static struct dsud_subject subjects[] = {{.pid = 10}, {.pid = 20}};

static struct dsud_update make_update(enum upd_kind kind)
{
	static char patch[] = "one";

	return (struct dsud_update){
		.order = {.kind = kind, .subjects = subjects, .n_subjects = 2},
		.patch = patch,
		.death = "was killed by signal 9",
	};
}

static struct upd_target *add(struct upd_report *report, pid_t pid, enum upd_result result)
{
	struct upd_target *target = upd_report_add(report, pid);

	cr_assert_not_null(target);
	target->result = result;
	return target;
}

static const struct {
	enum upd_kind kind;
	bool cancelled;
	enum upd_result found;
	enum upd_result told;
	int code;
} recoveries[] = {
	{UPD_APPLY, false, UPD_APPLIED, UPD_APPLIED, 0},
	{UPD_APPLY, true, UPD_APPLIED, UPD_APPLIED, 0},
	{UPD_APPLY, false, UPD_UNCHANGED, UPD_FAILED, INJ_INTERNAL},
	{UPD_APPLY, false, UPD_REVERTED, UPD_FAILED, INJ_INTERNAL},
	{UPD_APPLY, true, UPD_UNCHANGED, UPD_UNCHANGED, INJ_CANCELLED},
	{UPD_REVERT, false, UPD_REVERTED, UPD_REVERTED, 0},
	{UPD_REVERT, false, UPD_APPLIED, UPD_FAILED, INJ_INTERNAL},
	{UPD_REVERT, false, UPD_UNCHANGED, UPD_FAILED, INJ_INTERNAL},
	{UPD_REVERT, true, UPD_APPLIED, UPD_UNCHANGED, INJ_CANCELLED},
};

Test(outcome, of_a_recovery)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(recoveries); i++) {
		UPD_REPORT_CLEAN struct upd_report report = {0};
		struct dsud_update update = make_update(recoveries[i].kind);
		struct upd_target *target = add(&report, 10, recoveries[i].found);

		update.cancel_asked = recoveries[i].cancelled;
		dsud_outcome_of_recovery(&update, &report);
		cr_assert_eq(target->result, recoveries[i].told, "case %zu", i);
		cr_assert_eq(target->code, recoveries[i].code, "case %zu", i);
		cr_assert_str_eq(target->patch, "one");
		/* Either way the death is told. */
		cr_assert_not_null(strstr(target->code ? target->message : target->notes[0],
					  "signal 9"),
				   "case %zu", i);
	}
}

Test(outcome, a_recovery_that_met_trouble_keeps_its_own_words)
{
	UPD_REPORT_CLEAN struct upd_report report = {0};
	struct dsud_update update = make_update(UPD_APPLY);
	struct upd_target *target = add(&report, 10, UPD_GONE);

	target->code = INJ_PROCESS_GONE;
	dsud_outcome_of_recovery(&update, &report);
	cr_assert_eq(target->result, UPD_GONE);
	cr_assert_eq(target->code, INJ_PROCESS_GONE);
}

Test(outcome, what_could_not_be_settled_is_no_promise)
{
	UPD_REPORT_CLEAN struct upd_report report = {0};
	struct dsud_update update = make_update(UPD_APPLY);
	struct upd_target *target = add(&report, 10, UPD_GONE);

	target->code = INJ_PROCESS_GONE;
	add(&report, 20, UPD_APPLIED);
	dsud_outcome_tell_unsettled(&update, &report);
	cr_assert_null(dsud_outcome_unsettled(&report));
	cr_assert_eq(report.targets[0].result, UPD_GONE);
	/* Nobody has this number. */
	target = add(&report, INT32_MAX, UPD_BLOCKED);
	target->code = INJ_BLOCKED;
	dsud_outcome_tell_unsettled(&update, &report);
	cr_assert_null(dsud_outcome_unsettled(&report));
	cr_assert_eq(target->result, UPD_BLOCKED);
	target = add(&report, getpid(), UPD_BLOCKED);
	target->code = INJ_BLOCKED;
	dsud_outcome_tell_unsettled(&update, &report);
	cr_assert_eq(dsud_outcome_unsettled(&report), &report.targets[3]);
	cr_assert_eq(report.targets[1].result, UPD_APPLIED);
	cr_assert_eq(report.targets[3].result, UPD_FAILED);
	cr_assert_eq(report.targets[3].code, INJ_INTERNAL);
	cr_assert_not_null(strstr(report.targets[3].message, "signal 9"));
}

Test(outcome, a_report_fits_when_it_is_about_the_same_processes_in_order)
{
	struct dsud_update update = make_update(UPD_APPLY);
	UPD_REPORT_CLEAN struct upd_report report = {0};

	cr_assert_not(dsud_outcome_fits(&update.order, &report));
	add(&report, 10, UPD_APPLIED);
	cr_assert_not(dsud_outcome_fits(&update.order, &report));
	add(&report, 20, UPD_APPLIED);
	cr_assert(dsud_outcome_fits(&update.order, &report));
	report.targets[0].pid = 20;
	cr_assert_not(dsud_outcome_fits(&update.order, &report));
	update.order.scan = true;
	cr_assert(dsud_outcome_fits(&update.order, &report));
}

Test(outcome, a_made_up_report_speaks_of_every_process)
{
	struct dsud_update update = make_update(UPD_APPLY);
	UPD_REPORT_CLEAN struct upd_report report = {0};

	cr_assert_eq(dsud_outcome_fill(&update, UPD_FAILED, INJ_INTERNAL, "It broke.", &report), 0);
	cr_assert(dsud_outcome_fits(&update.order, &report));
	for (size_t i = 0; i < report.n_targets; i++) {
		cr_assert_eq(report.targets[i].result, UPD_FAILED);
		cr_assert_str_eq(report.targets[i].message, "It broke.");
		cr_assert_str_eq(report.targets[i].patch, "one");
	}
}

Test(outcome, the_gravest_result_counts)
{
	UPD_REPORT_CLEAN struct upd_report report = {0};

	cr_assert_eq(dsud_outcome_gravest(&report), UPD_FAILED);
	add(&report, 10, UPD_APPLIED);
	cr_assert_eq(dsud_outcome_gravest(&report), UPD_APPLIED);
	add(&report, 20, UPD_UNCHANGED);
	cr_assert_eq(dsud_outcome_gravest(&report), UPD_UNCHANGED);
	add(&report, 30, UPD_REFUSED);
	add(&report, 40, UPD_BLOCKED);
	cr_assert_eq(dsud_outcome_gravest(&report), UPD_BLOCKED);
	add(&report, 50, UPD_GONE);
	cr_assert_eq(dsud_outcome_gravest(&report), UPD_GONE);
}
