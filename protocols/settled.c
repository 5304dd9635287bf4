/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Is an update over for its targets? Judged by what stands in them, not by what was tried: a record
 * is settled when its code runs and its phase says so, or when it does not run and its sites were
 * put back; without a record nothing of ours may be mapped where it was to be.
 */
#include "protocols/settled.h"

#include <sys/mman.h>

#include "injector/process/mem.h"
#include "injector/txn/ours.h"

static bool is_over(const struct inj_ledger *ledger)
{
	return ledger->complete && (inj_ledger_active(ledger) ?
					    ledger->control.phase == DSU_PHASE_ACTIVE :
					    ledger->control.phase == DSU_PHASE_REVERTED);
}

/* A control page that belongs to this record, mapped before it or left after it. */
static bool is_control_of(const struct upd_subject *subject, const struct inj_map *map,
			  inj_addr ledger)
{
	struct dsu_control control;

	return map->prot == (PROT_READ | PROT_WRITE) &&
	       inj_mem_read(subject->process, map->range.start, &control, sizeof(control)) == 0 &&
	       control.magic == DSU_CONTROL_MAGIC && control.ledger == ledger;
}

static bool is_settled(const struct upd_subject *subject, inj_addr ledger)
{
	if (inj_space_has_strays(subject->process))
		return false;
	for (size_t i = 0; i < subject->history.n_ledgers; i++)
		if (subject->history.ledgers[i]->address == ledger)
			return is_over(subject->history.ledgers[i]);
	for (size_t i = 0; i < subject->maps->n_items; i++) {
		const struct inj_map *map = &subject->maps->items[i];

		if (inj_map_is_ours(map) &&
		    (inj_range_has(map->range, ledger) || is_control_of(subject, map, ledger)))
			return false;
	}
	return true;
}

static bool is_gone(const struct upd_subject *subject)
{
	return subject->code == INJ_PROCESS_GONE || subject->code == INJ_NO_SUCH_PROCESS ||
	       (subject->process &&
		inj_process_check(subject->process, NULL) == INJ_PROCESS_GONE);
}

static bool may_be_unsettled(const struct upd_run *run, struct upd_subject *subject, size_t i)
{
	inj_addr ledger = run->journal ? inj_journal_ledger_of(run->journal, i) : 0;

	if (is_gone(subject))
		return false;
	if (run->request->kind == UPD_RECOVER)
		return subject->code != 0;
	/* A success was read back, and before the journal said where the record would be nothing
	 * was touched. */
	if (subject->code == 0 || ledger == 0)
		return false;
	return upd_subject_refresh(subject) != 0 || !is_settled(subject, ledger);
}

void upd_tell_unsettled(struct upd_run *run)
{
	if (run->request->kind != UPD_APPLY && run->request->kind != UPD_REVERT &&
	    run->request->kind != UPD_RECOVER)
		return;
	for (size_t i = 0; i < run->n_subjects; i++)
		run->report->targets[i].unsettled = may_be_unsettled(run, &run->subjects[i], i);
}
