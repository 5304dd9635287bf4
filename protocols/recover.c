/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finishing or undoing what a dead worker left, target by target, from the ledgers alone; the
 * journal only says which targets to look at and whether one may be stopped by the dead man's
 * switch.
 *
 *   generation  phase     it died                          now
 *   1           staged    after the commit                 finish: note that it is active
 *   1           active    later, or nothing happened       nothing to do
 *   0           staged    before the commit                restore sites, unmap
 *   0           active    after the commit of a revert     restore sites, note that it is reverted
 *   0           reverted  later, or nothing happened       nothing to do
 *
 * Memory whose record is incomplete was never installed and is unmapped; a damaged record is left
 * alone and told.
 */
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "injector/base/clock.h"
#include "injector/base/fault-point.h"
#include "injector/process/mem.h"
#include "injector/txn/ours.h"
#include "protocols/fill.h"
#include "protocols/guard.h"
#include "protocols/stage.h"
#include "protocols/uninstall.h"
#include "protocols/walk.h"

#define RECOVER_NS 5000000000ull

/* Between attempts the target shall breathe, whoever wants us to hurry. */
static void rest(long ns)
{
	const struct timespec pause = { .tv_nsec = ns };

	nanosleep(&pause, NULL);
}

static int set_phase(struct upd_subject *subject, const struct inj_ledger *ledger,
		     enum dsu_phase phase)
{
	struct inj_why why = {};
	int r = inj_writer_store(subject->writer,
				 ledger->record->control + offsetof(struct dsu_control, phase),
				 phase);

	return r == 0 ? 0 : upd_subject_fail(subject, inj_broke(&why, r, "closing a ledger"), &why);
}

/* Put back the sites of one update that does not run, under a hold. Stubs and image stay where they
 * are. */
static int restore_sites(struct upd_run *run, struct upd_subject *subject,
			 const struct inj_ledger *ledger)
{
	INJ_CLEANUP(upd_removal_deinit) struct upd_removal removal = { .ledger = ledger };
	INJ_CLEANUP(upd_watch_deinit) struct upd_watch_list list = {};
	const struct inj_process *process = subject->process;
	struct inj_hold *holds;
	struct inj_why why = {};
	struct upd_pads pads;
	bool armed = false;
	int r = upd_removal_prepare(subject, &removal, &list);

	if (r != 0)
		return r;
	for (;;) {
		r = inj_tracer_hold(run->tracer, &process, 1, run->deadline_ns, run->hold_budget_ns,
				    &holds, &why);
		if (r == 0 && upd_removal_may_restore(run, &removal, &holds[0], &why))
			break;
		inj_tracer_release(run->tracer, NULL);
		rest(1000000);
		r = r ? r : INJ_BLOCKED;
		if (r != INJ_BLOCKED || inj_remaining_ns(run->deadline_ns) == 0)
			return upd_subject_fail(subject, r, &why);
	}
	r = upd_removal_check_program(subject, &removal, &why);
	if (r != 0) {
		inj_tracer_release(run->tracer, NULL);
		return upd_subject_fail(subject, r, &why);
	}
	/* Where it cannot be armed any more, whole code is still better than what is there. */
	if (removal.needs_guard)
		upd_guard_arm(run, subject, &holds[0], &armed, NULL);
	upd_pads_init(&pads, ledger->record, false, &(struct upd_unwinder){});
	if (pads.code && upd_pads_withdraw(subject, pads.control, pads.code) < 0)
		r = inj_broke(&why, -EIO, "putting return addresses of process %d back",
			      subject->pid);
	if (r == 0)
		r = inj_writer_restore(subject->writer, removal.writes, removal.n_writes, &why);
	upd_guard_disarm(run, subject, &holds[0], armed);
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
	int r = upd_walk_prepare(subject);

	if (r != 0)
		return r;
	for (size_t i = 0; r == 0 && i < ledger->record->n_areas; i++) {
		const struct dsu_ledger_area *area = &ledger->areas[i];
		const struct inj_range code = { area->address, area->address + area->bytes };

		if (area->prot & PROT_EXEC)
			r = upd_watch_add(&list, code, 0, false);
	}
	upd_watch_seal(&list);
	/* What a pc in a stub stands for is not the question here, but whether it is in one. */
	upd_code_map_forget_stubs(&subject->code_map);
	if (r == 0)
		r = inj_tracer_hold(run->tracer, &process, 1, run->deadline_ns, run->hold_budget_ns,
				    &holds, &why);
	if (r == 0) {
		r = upd_walk_find(subject, &holds[0], list.watches, list.n_watches,
				  run->hold_budget_ns, &activity, &why);
		*ret = activity.n_hits > 0;
		inj_activity_deinit(&activity);
		inj_tracer_release(run->tracer, NULL);
	}
	/* Whoever cannot be held now is looked at again. */
	if (r == INJ_BLOCKED)
		*ret = true;
	return r == 0 || r == INJ_BLOCKED ? 0 : upd_subject_fail(subject, r, &why);
}

/* Never committed: sites back, memory away. A thread that still is in a stub keeps the memory
 * alive, inert. */
int upd_undo_ledger(struct upd_run *run, struct upd_subject *subject,
		    const struct inj_ledger *ledger)
{
	struct inj_why why = {};
	bool used = true;
	int r = ledger->complete ? restore_sites(run, subject, ledger) : 0;

	while (r == 0 && used) {
		r = is_in_use(run, subject, ledger, &used);
		if (used && inj_remaining_ns(run->deadline_ns) == 0)
			break;
		if (used)
			rest(5000000);
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
	return upd_undo_ledger(run, subject, ledger);
}

/* What the journal says of one target, NULL when it says nothing or speaks of another process with
 * that pid. */
static struct inj_journal_target *journal_of(const struct inj_journal_view *view,
					     const struct upd_subject *subject)
{
	for (size_t i = 0; i < view->n_targets; i++)
		if (view->targets[i].pid == subject->pid &&
		    view->targets[i].start_ticks == subject->process->start_ticks)
			return &view->targets[i];
	return NULL;
}

/* What the journal says of a target that may be stopped by the switch, else NULL. */
static struct inj_journal_target *guarded(const struct inj_journal_view *view,
					  const struct upd_subject *subject)
{
	struct inj_journal_target *target = journal_of(view, subject);

	return target && (target->flags & INJ_JOURNAL_GUARDED) ? target : NULL;
}

/* The stop of this target is not, or no longer, ours. Whoever reads the journal after us shall
 * know. */
static void forget_guard(struct upd_run *run, struct inj_journal_target *target,
			 const struct upd_subject *subject)
{
	target->flags &= ~INJ_JOURNAL_GUARDED;
	if (run->journal)
		inj_journal_set_guarded(run->journal, (size_t)(subject - run->subjects), false);
}

/* Before anything is held: later one cannot tell any more who else wants the target stopped. */
static void respect_others(struct upd_run *run, const struct inj_journal_view *view)
{
	for (size_t i = 0; i < run->n_subjects; i++) {
		const struct upd_subject *subject = &run->subjects[i];
		struct inj_journal_target *target =
			subject->process ? guarded(view, subject) : NULL;

		if (target && inj_guard_is_shared(subject->process))
			forget_guard(run, target, subject);
	}
}

/* A target that the dead man's switch has stopped goes on once its code is whole again. */
static void let_go_on(struct upd_run *run, const struct inj_journal_view *view,
		      const struct upd_subject *subject)
{
	struct inj_journal_target *target = guarded(view, subject);

	if (!target)
		return;
	inj_guard_let_go(subject->process);
	inj_fault_point("let-go-on");
	forget_guard(run, target, subject);
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

/* The record that the journal is about, complete or not. */
static const struct inj_ledger *own_ledger(const struct inj_journal_view *view,
					   const struct upd_subject *subject)
{
	const struct inj_journal_target *target = journal_of(view, subject);

	for (size_t i = 0; target && i < subject->history.n_ledgers; i++) {
		const struct inj_ledger *ledger = subject->history.ledgers[i];
		const bool is_its_own = memcmp(ledger->record->update_id, view->update_id,
					       sizeof(view->update_id)) == 0;

		/* After an undone apply another update may have come to the same address. */
		if (ledger->address == target->ledger && (is_its_own || view->kind != UPD_APPLY))
			return ledger;
	}
	return NULL;
}

/*
 * A control page without its record: the death came between the first two mappings. Nothing can
 * lead to it.
 */
static int unmap_lone_controls(struct upd_subject *subject, uint64_t deadline_ns)
{
	for (size_t i = 0; i < subject->maps->n_items; i++) {
		const struct inj_map *map = &subject->maps->items[i];
		const struct dsu_ledger_area area = {
			.address = map->range.start, .bytes = INJ_PAGE_BYTES,
			.kind = DSU_AREA_CONTROL,
		};
		struct inj_borrow *borrow = NULL;
		struct dsu_control control;
		struct inj_why why = {};
		const struct inj_map *home;
		int r;

		if (!inj_map_is_ours(map) || map->prot != (PROT_READ | PROT_WRITE) ||
		    map->range.end - map->range.start != INJ_PAGE_BYTES ||
		    inj_mem_read(subject->process, map->range.start, &control, sizeof(control)) <
			    0 ||
		    control.magic != DSU_CONTROL_MAGIC || control.generation != 0)
			continue;
		home = inj_maps_find(subject->maps, control.ledger);
		if (home && inj_map_is_ours(home))
			continue;
		r = inj_borrow_open(subject->process, subject->maps, deadline_ns, &borrow, &why);
		if (r == 0)
			r = inj_space_unmap(subject->process, borrow, &area, 1, &why);
		inj_borrow_close(borrow, NULL);
		if (r != 0)
			return upd_subject_fail(subject, r, &why);
	}
	return 0;
}

/*
 * What became of the update. Where the journal speaks of this process, only the record of that
 * update counts: an earlier patch that runs is no proof that this one does.
 */
static void tell(struct upd_target *target, const struct inj_journal_view *view,
		 const struct upd_subject *subject)
{
	const struct inj_history *history = &subject->history;
	const struct inj_ledger *last = own_ledger(view, subject);

	if (!journal_of(view, subject))
		for (size_t i = history->n_ledgers; !last && i-- > 0;)
			last = history->ledgers[i];
	target->result = UPD_UNCHANGED;
	if (!last)
		return;
	upd_fill_ledger(target, last);
	if (!last->complete)
		return;
	if (inj_ledger_active(last))
		target->result = UPD_APPLIED;
	else if (last->control.phase == DSU_PHASE_ACTIVE ||
		 (last->control.phase == DSU_PHASE_REVERTED && view->kind == UPD_REVERT))
		target->result = UPD_REVERTED;
}

static void recover_one(struct upd_run *run, const struct inj_journal_view *view,
			struct upd_subject *subject, struct upd_target *target)
{
	struct inj_why why = {};
	int r = subject->writer ? 0 : inj_writer_new(subject->process, &subject->writer, &why);

	if (r != 0) {
		upd_subject_fail(subject, r, &why);
		return;
	}
	tell(target, view, subject);
	r = close_strays(subject, run->deadline_ns);
	if (r == 0)
		r = unmap_lone_controls(subject, run->deadline_ns);
	/* Later updates may stand on earlier ones, so they go first. */
	for (size_t i = subject->history.n_ledgers; r == 0 && i-- > 0;)
		r = recover_ledger(run, subject, subject->history.ledgers[i]);
	/* Code that could not be put right must not run; the next recovery tries again. */
	if (r == 0)
		let_go_on(run, view, subject);
	if (r == 0 && upd_subject_refresh(subject) == 0)
		upd_fill_patches(target, &subject->history);
}

/* Does the update run in some of its targets and not in others? Then it died between two commits of
 * a decided group. */
static bool is_torn(const struct upd_run *run, const struct inj_journal_view *view)
{
	bool runs = false, rests = false;

	for (size_t i = 0; view->decided && i < run->n_subjects; i++) {
		const struct inj_ledger *ledger =
			run->subjects[i].code ? NULL : own_ledger(view, &run->subjects[i]);

		if (ledger && ledger->complete && inj_ledger_active(ledger))
			runs = true;
		else
			rests = true;
	}
	return runs && rests;
}

static int prepare_rejoin(const struct inj_journal_view *view, struct upd_subject *subject,
			  struct upd_removal *removal, struct upd_watch_list *list)
{
	const struct inj_ledger *ledger = own_ledger(view, subject);
	struct inj_why why = {};
	int r = inj_writer_new(subject->process, &subject->writer, &why);

	if (r != 0)
		return upd_subject_fail(subject, r, &why);
	r = upd_walk_prepare(subject);
	if (r != 0 || !ledger || !ledger->complete || !inj_ledger_active(ledger))
		return r;
	removal->ledger = ledger;
	return upd_removal_prepare(subject, removal, list);
}

/* All or none: take it back where it runs. What cannot be taken back in time keeps running, and the
 * report says where. */
static void rejoin(struct upd_run *run, const struct inj_journal_view *view)
{
	INJ_FREE struct upd_removal *removals = calloc(run->n_subjects, sizeof(*removals));
	INJ_FREE struct upd_watch_list *lists = calloc(run->n_subjects, sizeof(*lists));
	int r = removals && lists ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < run->n_subjects; i++)
		if (run->subjects[i].code == 0)
			r = prepare_rejoin(view, &run->subjects[i], &removals[i], &lists[i]);
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

static int take_up_journal(struct upd_run *run)
{
	INJ_FREE const struct inj_process **processes = calloc(run->n_subjects, sizeof(*processes));

	if (!processes)
		return -ENOMEM;
	for (size_t i = 0; i < run->n_subjects; i++)
		processes[i] = run->subjects[i].process;
	return inj_journal_resume(run->request->journal_fd, processes, run->n_subjects,
				  &run->journal);
}

/* Its writer may have left what we know nothing of. */
static void refuse_foreign(struct upd_run *run)
{
	struct inj_why why = {};

	inj_refuse(&why, INJ_UNSUPPORTED_PROCESS,
		   "The journal of this update was written by another version of dsud. Start that "
		   "version, which settles the update, before this one.");
	upd_run_fail_all(run, INJ_UNSUPPORTED_PROCESS, &why);
}

void upd_recover(struct upd_run *run)
{
	INJ_CLEANUP(inj_journal_view_deinit) struct inj_journal_view view = {};
	struct inj_why why = {};
	int r = inj_tracer_new(&run->tracer);

	if (r < 0) {
		upd_run_fail_all(run, inj_broke(&why, r, "preparing to hold the targets"), &why);
		return;
	}
	/* A journal that cannot be read says nothing; the ledgers still do. */
	if (run->request->journal_fd >= 0 && inj_journal_is_foreign(run->request->journal_fd)) {
		refuse_foreign(run);
		return;
	}
	if (run->request->journal_fd >= 0 && inj_journal_read(run->request->journal_fd, &view) == 0)
		r = take_up_journal(run);
	if (r < 0) {
		inj_broke(&why, r, "taking up the journal of the update");
		upd_run_fail_all(run, r, &why);
		return;
	}
	respect_others(run, &view);
	if (inj_remaining_ns(run->deadline_ns) < RECOVER_NS)
		run->deadline_ns = inj_now_ns() + RECOVER_NS;
	if (is_torn(run, &view))
		rejoin(run, &view);
	for (size_t i = 0; i < run->n_subjects; i++)
		if (run->subjects[i].code == 0)
			recover_one(run, &view, &run->subjects[i], &run->report->targets[i]);
}
