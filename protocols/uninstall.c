/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way back, shared by reverting and by recovery. It works from a ledger alone, so that any dsud
 * can take back what
 * another one did. The order is: the stubs ask for the generation again; old generation, which is
 * the commit; then the sites. A site that is not restored yet still leads to the old code, through
 * the stub.
 */
#include "protocols/uninstall.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "injector/base/fault-point.h"
#include "injector/process/mem.h"
#include "injector/redirect/site.h"
#include "protocols/guard.h"
#include "protocols/promote.h"

void upd_write_of(const struct dsu_ledger_site *site, size_t i, struct inj_code_write *ret)
{
	ret->address = site->writes[i].address;
	ret->n = site->writes[i].n;
	memcpy(ret->before, site->writes[i].before, sizeof(ret->before));
	memcpy(ret->after, site->writes[i].after, sizeof(ret->after));
}

static int collect_writes(struct upd_removal *removal)
{
	const struct inj_ledger *ledger = removal->ledger;

	removal->writes = calloc(2 * (size_t)ledger->record->n_sites + 1, sizeof(*removal->writes));
	if (!removal->writes)
		return -ENOMEM;
	for (size_t i = 0; i < ledger->record->n_sites; i++) {
		const struct dsu_ledger_site *site = &ledger->sites[i];

		removal->needs_guard |= site->kind == INJ_SITE_LATE;
		for (size_t j = 0; j < site->n_writes; j++) {
			struct inj_code_write *write = &removal->writes[removal->n_writes++];

			upd_write_of(site, j, write);
			removal->needs_guard |= inj_code_tears(write);
		}
	}
	return 0;
}

/* Which new function a part of the image belongs to is the best that can be said without symbols of
 * the patch. */
static int watch_image(const struct inj_ledger *ledger, struct upd_watch_list *list)
{
	const struct dsu_ledger *record = ledger->record;
	const size_t n = record->n_sites;
	int r = 0;

	list->names = calloc(n + 1, sizeof(*list->names));
	if (!list->names)
		return -ENOMEM;
	list->n_names = n + 1;
	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct dsu_ledger_site *site = &ledger->sites[i];

		list->names[i] = inj_ledger_string(ledger, site->new_name);
		r = upd_watch_add(list,
				  (struct inj_range){site->replacement,
						     site->replacement + site->replacement_size},
				  (unsigned)i, true);
	}
	upd_watch_seal(list);
	list->names[n] = inj_ledger_string(ledger, record->patch_id);
	for (size_t i = 0; r == 0 && i < record->n_areas; i++) {
		const struct dsu_ledger_area *area = &ledger->areas[i];

		if (area->kind == DSU_AREA_IMAGE && (area->prot & PROT_EXEC))
			r = upd_watch_add_rest(
				list,
				(struct inj_range){area->address, area->address + area->bytes},
				(unsigned)n);
	}
	return r;
}

int upd_removal_prepare(struct upd_subject *subject, struct upd_removal *removal,
			struct upd_watch_list *list)
{
	struct inj_why why = {};
	int r = collect_writes(removal);

	if (r == 0)
		r = watch_image(removal->ledger, list);
	if (r == 0)
		r = inj_writer_prepare(subject->writer, removal->writes, removal->n_writes, false);
	if (r < 0)
		return upd_subject_fail(subject, inj_broke(&why, r, "preparing process %d",
							   subject->pid), &why);
	return 0;
}

void upd_removal_deinit(struct upd_removal *removal)
{
	free(removal->writes);
	*removal = (struct upd_removal){};
}

static bool is_in_padding(const struct inj_ledger *ledger, inj_addr pc)
{
	for (size_t i = 0; i < ledger->record->n_sites; i++)
		if (ledger->sites[i].pad && pc - ledger->sites[i].pad < 8)
			return true;
	return false;
}

static bool is_between(const struct inj_ledger *ledger, inj_addr pc)
{
	for (size_t i = 0; i < ledger->record->n_areas; i++)
		if (ledger->areas[i].kind == DSU_AREA_STUBS &&
		    pc - ledger->areas[i].address < ledger->areas[i].bytes)
			return true;
	return is_in_padding(ledger, pc);
}

static bool wait_for_threads(const struct inj_hold *hold, struct inj_why *why)
{
	inj_refuse(why, INJ_BLOCKED,
		   "A thread of process %d was at a redirect in each attempt until the deadline; "
		   "nothing was changed. Try a longer --timeout.",
		   hold->process->pid);
	return true;
}

bool upd_removal_must_wait(const struct upd_run *run, const struct upd_removal *removal,
			   const struct inj_hold *hold, struct inj_why *why)
{
	for (size_t i = 0; i < hold->n_threads; i++)
		if (is_between(removal->ledger, hold->threads[i].regs.rip))
			return wait_for_threads(hold, why);
	return removal->needs_guard && inj_guard_must_wait(run->tracer, hold, why);
}

bool upd_removal_may_restore(const struct upd_run *run, const struct upd_removal *removal,
			     const struct inj_hold *hold, struct inj_why *why)
{
	for (size_t i = 0; i < hold->n_threads; i++)
		if (is_in_padding(removal->ledger, hold->threads[i].regs.rip))
			return !wait_for_threads(hold, why);
	return !removal->needs_guard || !inj_guard_must_wait(run->tracer, hold, why);
}

int upd_removal_check_program(const struct upd_subject *subject, const struct upd_removal *removal,
			      struct inj_why *why)
{
	return upd_subject_check_program(subject, removal->ledger->record->control,
					 removal->ledger->address, why);
}

int upd_removal_verify(struct upd_subject *subject, const struct upd_removal *removal)
{
	struct inj_why why = {};
	int r = upd_removal_check_program(subject, removal, &why);

	if (r != 0)
		return upd_subject_fail(subject, r, &why);

	for (size_t i = 0; i < removal->n_writes; i++) {
		const struct inj_code_write *write = &removal->writes[i];
		uint8_t found[sizeof(write->after)];

		r = inj_mem_read(subject->process, write->address, found, write->n);
		if (r < 0)
			return upd_subject_fail(
				subject,
				inj_broke(&why, r, "reading code of process %d", subject->pid),
				&why);
		if (memcmp(found, write->after, write->n) != 0)
			return upd_subject_fail(subject,
				inj_refuse(&why, INJ_UNSUPPORTED_PROCESS,
					   "The redirect at 0x%llx of process %d is not as it was "
					   "installed; another tool changed it. Remove the other "
					   "tool's change first.",
					   (unsigned long long)write->address, subject->pid), &why);
	}
	return 0;
}

static int store(struct upd_subject *subject, const struct upd_removal *removal, size_t field,
		 uint64_t value)
{
	return inj_writer_store(subject->writer, removal->ledger->record->control + field, value);
}

int upd_removal_commit(struct upd_run *run, struct upd_subject *subject,
		       const struct upd_removal *removal, const struct inj_hold *hold)
{
	struct inj_why why = {};
	bool armed = false;
	int r = 0;

	if (removal->needs_guard) {
		r = upd_guard_arm(run, subject, hold, &armed, &why);
		if (r != 0)
			return upd_subject_fail(subject, r, &why);
	}
	inj_fault_point("before-revert");
	r = upd_demote(subject, removal->ledger);
	inj_fault_point("demoted");
	if (r == 0)
		r = store(subject, removal, offsetof(struct dsu_control, generation), 0);
	inj_fault_point("reverted");
	if (r < 0)
		r = inj_broke(&why, r, "reverting in process %d", subject->pid);
	else
		r = inj_writer_restore(subject->writer, removal->writes, removal->n_writes, &why);
	if (r == 0) {
		r = store(subject, removal, offsetof(struct dsu_control, phase),
			  DSU_PHASE_REVERTED);
		if (r < 0)
			inj_broke(&why, r, "closing the ledger in process %d", subject->pid);
	}
	upd_guard_disarm(run, subject, hold, armed);
	return r == 0 ? 0 : upd_subject_fail(subject, r, &why);
}
