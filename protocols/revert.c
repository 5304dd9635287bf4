/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking a patch back: when none of its code is on any stack, one store makes every stub choose the
 * old version again, and within the same hold the original bytes return to the sites. The patch's
 * memory stays mapped, because the program may have kept pointers to its functions and data.
 *
 * Refuses while a later patch stands above this one.
 */
#include <string.h>

#include "injector/base/clock.h"
#include "injector/base/fault-point.h"
#include "protocols/draw.h"
#include "protocols/fill.h"
#include "protocols/quiesce.h"
#include "protocols/stage.h"
#include "protocols/uninstall.h"
#include "protocols/walk.h"

/* A patch without a name of its own is called as its file; what it is, a shared object, need not be
 * said. */
static const struct inj_ledger *find_active(const struct upd_subject *subject, const char *patch_id)
{
	const struct inj_ledger *ledger = inj_history_active(&subject->history, patch_id);
	char file_name[INJ_PATCH_ID_MAX];

	if (!ledger && snprintf(file_name, sizeof(file_name), "%s.so", patch_id) <
			       (int)sizeof(file_name))
		ledger = inj_history_active(&subject->history, file_name);
	return ledger;
}

static int find_ledger(struct upd_subject *subject, const char *patch_id,
		       const struct inj_ledger **ret)
{
	const struct inj_ledger *ledger = find_active(subject, patch_id);
	const struct inj_ledger *above;
	struct inj_why why = {};
	char name[INJ_LEDGER_NAME_MAX];

	if (!ledger)
		return upd_subject_fail(subject,
			inj_refuse(&why, INJ_NOT_APPLIED,
				   "Patch %s is not active in process %d. `dsuctl status` lists "
				   "what is.",
				   patch_id, subject->pid), &why);
	above = inj_history_above(&subject->history, ledger);
	if (!above) {
		*ret = ledger;
		return 0;
	}
	snprintf(name, sizeof(name), "%s", inj_ledger_string(above, above->record->patch_id));
	return upd_subject_fail(subject,
		inj_refuse(&why, INJ_DEPENDS_ON,
			   "Patch %s in process %d replaces functions of %s and stands above it. "
			   "Revert "
			   "%s first.", name, subject->pid, patch_id, name), &why);
}

static int prepare_one(struct upd_subject *subject, const char *patch_id, struct upd_target *target,
		       struct upd_removal *removal, struct upd_watch_list *list)
{
	struct inj_why why = {};
	int r = upd_subject_refuse_unknown(subject, &why);

	if (r != 0)
		return upd_subject_fail(subject, r, &why);
	r = find_ledger(subject, patch_id, &removal->ledger);
	if (r != 0)
		return r;
	upd_fill_ledger(target, removal->ledger);
	if (!subject->writer) {
		r = inj_writer_new(subject->process, &subject->writer, &why);
		if (r != 0)
			return upd_subject_fail(subject, r, &why);
	}
	r = upd_walk_prepare(subject);
	if (r == 0)
		r = upd_removal_prepare(subject, removal, list);
	return r;
}

static bool ready(const struct upd_run *run, size_t i, const struct inj_hold *hold,
		  struct inj_why *why)
{
	const struct upd_removal *removals = run->action;

	return !removals[i].ledger || !upd_removal_must_wait(run, &removals[i], hold, why);
}

static int act(struct upd_run *run, const struct inj_hold *holds)
{
	struct upd_removal *removals = run->action;
	int r = 0;

	for (size_t i = 0; r == 0 && i < run->n_subjects; i++)
		if (removals[i].ledger)
			r = upd_removal_verify(&run->subjects[i], &removals[i]);
	if (r == 0 && run->journal) {
		struct inj_why why = {};

		r = inj_journal_decide(run->journal);
		if (r < 0)
			upd_run_fail_all(
				run, inj_broke(&why, r, "writing the journal of the update"), &why);
	}
	for (size_t i = 0; r == 0 && i < run->n_subjects; i++)
		if (removals[i].ledger)
			upd_removal_commit(run, &run->subjects[i], &removals[i], &holds[i]);
	return r;
}

int upd_revert_ledgers(struct upd_run *run, struct upd_removal *removals,
		       struct upd_watch_list *lists)
{
	INJ_FREE struct upd_pads *pads = calloc(run->n_subjects, sizeof(*pads));
	const struct upd_switch what = {
		.lists = lists, .ready = ready, .act = act, .pads = pads, .phase = "wait",
	};
	int r;

	for (size_t i = 0; pads && i < run->n_subjects; i++) {
		struct upd_unwinder unwinder = { .may_unwind = true };
		bool registered;

		if (!removals[i].ledger)
			continue;
		registered = removals[i].ledger->control.unwind_state == DSU_UNWIND_REGISTERED;
		if (!registered)
			upd_look_for_unwinder(&run->subjects[i], false, &unwinder, NULL);
		upd_pads_init(&pads[i], removals[i].ledger->record, registered, &unwinder);
	}
	run->action = removals;
	r = upd_quiesce(run, &what);
	run->action = NULL;
	return r;
}

static int revert_all(struct upd_run *run, struct upd_removal *removals,
		      struct upd_watch_list *lists)
{
	int r;

	for (size_t i = 0; i < run->n_subjects; i++)
		if (run->subjects[i].code == 0)
			prepare_one(&run->subjects[i], run->request->patch_id,
				    &run->report->targets[i], &removals[i], &lists[i]);
	r = upd_run_failed(run);
	upd_run_phase_done(run, "plan");
	for (size_t i = 0; r == 0 && i < run->n_subjects; i++)
		inj_journal_ledger(run->journal, i, removals[i].ledger->address);
	if (r == 0)
		r = upd_run_mark(run, INJ_JOURNAL_COMMITTING);
	return r ? r : upd_revert_ledgers(run, removals, lists);
}

void upd_revert(struct upd_run *run)
{
	INJ_FREE struct upd_removal *removals = calloc(run->n_subjects, sizeof(*removals));
	INJ_FREE struct upd_watch_list *lists = calloc(run->n_subjects, sizeof(*lists));
	struct inj_why why = {};

	if (!removals || !lists) {
		upd_run_fail_all(run, inj_broke(&why, -ENOMEM, "preparing to revert"), &why);
		return;
	}
	if (revert_all(run, removals, lists) != 0)
		upd_run_fail_others(run);
	upd_run_phase_done(run, "commit");
	for (size_t i = 0; i < run->n_subjects; i++) {
		upd_removal_deinit(&removals[i]);
		upd_watch_deinit(&lists[i]);
	}
	upd_run_mark(run, INJ_JOURNAL_DONE);
}
