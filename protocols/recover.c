/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finishing or undoing what a dead worker left, target by target, from the ledgers alone; the journal only says which
 * targets to look at and whether one may be stopped by the dead man's switch.
 *
 *   generation  phase     it died                          now
 *   1           staged    after the commit                 finish: note that it is active
 *   1           active    later, or nothing happened       nothing to do
 *   0           staged    before the commit                restore sites, unmap
 *   0           active    after the commit of a revert     restore sites, note that it is reverted
 *   0           reverted  later, or nothing happened       nothing to do
 *
 * Memory whose record is incomplete was never installed and is unmapped; a damaged record is left alone and told.
 */
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "injector/base/clock.h"
#include "injector/base/fault-point.h"
#include "protocols/fill.h"
#include "protocols/stage.h"
#include "protocols/uninstall.h"

#define RECOVER_NS 5000000000ull

/* Only an update that was asked for, or all when the request names none. */
static bool concerns(const struct upd_run *run, const struct inj_ledger *ledger)
{
	static const uint8_t any[16];
	const uint8_t *id = run->request->update_id;

	return memcmp(id, any, sizeof(any)) == 0 ||
	       memcmp(id, ledger->record->update_id, sizeof(any)) == 0;
}

static int set_phase(struct upd_subject *subject, const struct inj_ledger *ledger,
		     enum dsu_phase phase)
{
	struct inj_why why = {};
	int r = inj_writer_store(subject->writer,
				 ledger->record->control + offsetof(struct dsu_control, phase), phase);

	return r == 0 ? 0 : upd_subject_fail(subject, inj_broke(&why, r, "closing a ledger"), &why);
}

/* Put back the sites of one update that does not run, under a hold. Stubs and image stay where they are. */
static int restore_sites(struct upd_run *run, struct upd_subject *subject,
			 const struct inj_ledger *ledger)
{
	INJ_CLEANUP(upd_removal_deinit) struct upd_removal removal = { .ledger = ledger };
	INJ_CLEANUP(upd_watch_deinit) struct upd_watch_list list = {};
	const struct inj_process *process = subject->process;
	struct inj_hold *holds;
	struct inj_why why = {};
	struct upd_pads pads;
	int r = upd_removal_prepare(subject, &removal, &list);

	if (r != 0)
		return r;
	for (;;) {
		r = inj_tracer_hold(run->tracer, &process, 1, run->deadline_ns, run->hold_budget_ns,
				    &holds, &why);
		if (r == 0 && !upd_removal_in_padding(&removal, &holds[0]))
			break;
		inj_tracer_release(run->tracer, NULL);
		if (r == 0)
			r = inj_refuse(&why, INJ_BLOCKED, "A thread of process %d is at a redirect.",
				       subject->pid);
		if (r != INJ_BLOCKED || inj_remaining_ns(run->deadline_ns) == 0)
			return upd_subject_fail(subject, r, &why);
	}
	upd_pads_init(&pads, ledger->record);
	if (pads.code && upd_pads_withdraw(subject, pads.control, pads.code) < 0)
		r = inj_broke(&why, -EIO, "putting return addresses of process %d back",
			      subject->pid);
	if (r == 0)
		r = inj_writer_restore(subject->writer, removal.writes, removal.n_writes, &why);
	inj_tracer_release(run->tracer, NULL);
	return r == 0 ? 0 : upd_subject_fail(subject, r, &why);
}

/* Is any thread inside the memory of an update, or will it return there? */
static int is_in_use(struct upd_run *run, struct upd_subject *subject,
		     const struct inj_ledger *ledger, bool *ret)
{
	INJ_CLEANUP(upd_watch_deinit) struct upd_watch_list list = {};
	const struct inj_process *process = subject->process;
	struct inj_activity activity = {};
	struct inj_hold *holds;
	struct inj_why why = {};
	int r = upd_walker_prepare(subject);

	if (r != 0)
		return r;
	for (size_t i = 0; r == 0 && i < ledger->record->n_areas; i++)
		if (ledger->areas[i].prot & 4)
			r = upd_watch_add(&list, (struct inj_range){ ledger->areas[i].address,
								     ledger->areas[i].address +
									     ledger->areas[i].bytes },
					  0, false);
	upd_watch_seal(&list);
	/* What a pc in a stub stands for is not the question here, but whether it is in one. */
	upd_code_map_deinit(&subject->code_map);
	if (r == 0)
		r = inj_tracer_hold(run->tracer, &process, 1, run->deadline_ns, run->hold_budget_ns,
				    &holds, &why);
	if (r == 0) {
		r = inj_walker_find(subject->walker, &holds[0], list.watches, list.n_watches,
				    run->hold_budget_ns, &activity, &why);
		*ret = activity.n_hits > 0;
		inj_activity_deinit(&activity);
		inj_tracer_release(run->tracer, NULL);
	}
	return r == 0 ? 0 : upd_subject_fail(subject, r, &why);
}

/* Never committed: sites back, memory away. A thread that still is in a stub keeps the memory alive, inert. */
static int undo(struct upd_run *run, struct upd_subject *subject, const struct inj_ledger *ledger)
{
	struct inj_why why = {};
	bool used = true;
	int r = ledger->complete ? restore_sites(run, subject, ledger) : 0;

	while (r == 0 && used) {
		r = is_in_use(run, subject, ledger, &used);
		if (used && inj_remaining_ns(run->deadline_ns) == 0)
			break;
		if (used)
			upd_run_wait(run, inj_now_ns() + 5000000);
	}
	if (r != 0)
		return r;
	r = used ? 1 : upd_unmap_ledger(subject, ledger, run->deadline_ns, &why);
	if (r == 1)
		return set_phase(subject, ledger, DSU_PHASE_REVERTED);
	return r == 0 ? 0 : upd_subject_fail(subject, r, &why);
}

static int recover_ledger(struct upd_run *run, struct upd_subject *subject,
			  const struct inj_ledger *ledger)
{
	struct inj_why why = {};
	int r;

	if (ledger->complete && inj_ledger_active(ledger)) {
		if (ledger->control.phase == DSU_PHASE_STAGED)
			r = set_phase(subject, ledger, DSU_PHASE_ACTIVE);
		else
			r = 0;
		if (r == 0)
			upd_drop_scratch(subject, ledger, run->deadline_ns, &why);
		return r;
	}
	if (ledger->control.phase == DSU_PHASE_REVERTED)
		return 0;
	if (ledger->control.phase == DSU_PHASE_ACTIVE && ledger->complete) {
		r = restore_sites(run, subject, ledger);
		return r ? r : set_phase(subject, ledger, DSU_PHASE_REVERTED);
	}
	return undo(run, subject, ledger);
}

/* A target that the dead man's switch has stopped goes on once its code is whole again. */
static void let_go_on(const struct upd_run *run, const struct upd_subject *subject)
{
	struct inj_journal_view view;

	if (run->request->journal_fd < 0 || inj_journal_read(run->request->journal_fd, &view) != 0)
		return;
	for (size_t i = 0; i < view.n_targets; i++)
		if (view.targets[i].pid == subject->pid &&
		    view.targets[i].start_ticks == subject->process->start_ticks &&
		    (view.targets[i].flags & INJ_JOURNAL_GUARDED))
			syscall(SYS_pidfd_send_signal, subject->process->pidfd, SIGCONT, NULL, 0);
	inj_journal_view_deinit(&view);
}

static int close_strays(struct upd_subject *subject, uint64_t deadline_ns)
{
	struct inj_borrow *borrow = NULL;
	struct inj_why why = {};
	int r;

	if (!inj_space_has_strays(subject->process))
		return 0;
	r = inj_borrow_open(subject->process, subject->maps, deadline_ns, &borrow, &why);
	if (r == 0)
		r = inj_space_close_strays(subject->process, borrow, &why);
	inj_borrow_close(borrow, NULL);
	return r >= 0 ? 0 : upd_subject_fail(subject, r, &why);
}

static void recover_one(struct upd_run *run, struct upd_subject *subject, struct upd_target *target)
{
	const struct inj_ledger *last = NULL;
	struct inj_why why = {};
	bool active = false;
	int r = subject->writer ? 0 : inj_writer_new(subject->process, &subject->writer, &why);

	if (r != 0) {
		upd_subject_fail(subject, r, &why);
		return;
	}
	r = close_strays(subject, run->deadline_ns);
	/* Later updates may stand on earlier ones, so they go first. */
	for (size_t i = subject->history.n_ledgers; r == 0 && i-- > 0;) {
		const struct inj_ledger *ledger = subject->history.ledgers[i];

		if (!concerns(run, ledger))
			continue;
		last = last ? last : ledger;
		active |= ledger->complete && inj_ledger_active(ledger);
		r = recover_ledger(run, subject, ledger);
	}
	if (last)
		upd_fill_ledger(target, last);
	let_go_on(run, subject);
	if (r == 0 && upd_subject_refresh(subject) == 0)
		upd_fill_patches(target, &subject->history);
	target->result = active ? UPD_APPLIED : UPD_UNCHANGED;
}

/* The one ledger of the update in question, complete or not. */
static const struct inj_ledger *own_ledger(const struct upd_run *run,
					   const struct upd_subject *subject)
{
	for (size_t i = subject->history.n_ledgers; i-- > 0;)
		if (memcmp(run->request->update_id, subject->history.ledgers[i]->record->update_id,
			   sizeof(run->request->update_id)) == 0)
			return subject->history.ledgers[i];
	return NULL;
}

/* Does the update run in some of its targets and not in others? Then it died between two commits. */
static bool is_torn(const struct upd_run *run)
{
	bool runs = false, waits = false;

	for (size_t i = 0; i < run->n_subjects; i++) {
		const struct inj_ledger *ledger =
			run->subjects[i].code ? NULL : own_ledger(run, &run->subjects[i]);

		if (!ledger)
			continue;
		if (ledger->complete && inj_ledger_active(ledger))
			runs = true;
		else if (ledger->control.phase != DSU_PHASE_REVERTED)
			waits = true;
	}
	return runs && waits;
}

static int prepare_rejoin(const struct upd_run *run, struct upd_subject *subject,
			  struct upd_removal *removal, struct upd_watch_list *list)
{
	const struct inj_ledger *ledger = own_ledger(run, subject);
	struct inj_why why = {};
	int r = inj_writer_new(subject->process, &subject->writer, &why);

	if (r != 0)
		return upd_subject_fail(subject, r, &why);
	r = upd_walker_prepare(subject);
	if (r != 0 || !ledger || !ledger->complete || !inj_ledger_active(ledger))
		return r;
	removal->ledger = ledger;
	return upd_removal_prepare(subject, removal, list);
}

/* All or none: take it back where it runs. What cannot be taken back in time keeps running, and the report says where. */
static void rejoin(struct upd_run *run)
{
	INJ_FREE struct upd_removal *removals = calloc(run->n_subjects, sizeof(*removals));
	INJ_FREE struct upd_watch_list *lists = calloc(run->n_subjects, sizeof(*lists));
	int r = removals && lists ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < run->n_subjects; i++)
		r = prepare_rejoin(run, &run->subjects[i], &removals[i], &lists[i]);
	if (r == 0)
		upd_revert_ledgers(run, removals, lists);
	for (size_t i = 0; removals && lists && i < run->n_subjects; i++) {
		upd_removal_deinit(&removals[i]);
		upd_watch_deinit(&lists[i]);
	}
	for (size_t i = 0; i < run->n_subjects; i++)
		if (run->subjects[i].code == 0)
			upd_subject_refresh(&run->subjects[i]);
}

void upd_recover(struct upd_run *run)
{
	struct inj_why why = {};
	int r = inj_tracer_new(&run->tracer);

	if (r < 0) {
		upd_run_fail_all(run, inj_broke(&why, r, "preparing to hold the targets"), &why);
		return;
	}
	if (inj_remaining_ns(run->deadline_ns) < RECOVER_NS)
		run->deadline_ns = inj_now_ns() + RECOVER_NS;
	if (is_torn(run) && upd_run_failed(run) == 0)
		rejoin(run);
	for (size_t i = 0; i < run->n_subjects; i++)
		if (run->subjects[i].code == 0)
			recover_one(run, &run->subjects[i], &run->report->targets[i]);
}
