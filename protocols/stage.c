/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Staging: the memory of an update comes into the target and is filled. The target meets none of it before a redirect is
 * installed, so everything here can be undone by unmapping, with one exception: once a table may be known to the target's
 * unwinder, its memory stays unless the unwinder has forgotten it.
 */
#include "protocols/stage.h"

#include <stdio.h>
#include <string.h>

#include "injector/base/clock.h"
#include "injector/base/fault-point.h"
#include "injector/txn/ours.h"
#include "protocols/remote.h"
#include "protocols/unwinder.h"

/* Undoing is worth waiting for, whatever the deadline of the update was. */
#define UNSTAGE_NS 2000000000ull

static void fill_control(const struct upd_plan *plan, uint8_t *view)
{
	struct dsu_control control = {
		.magic = DSU_CONTROL_MAGIC,
		.phase = DSU_PHASE_STAGED,
		.sequence = plan->sequence,
		.ledger = plan->ledger,
	};

	memcpy(view + plan->areas[0].offset, &control, sizeof(control));
	memcpy(view + plan->areas[1].offset, plan->ledger_bytes, plan->n_ledger_bytes);
}

static void fill_stubs(const struct upd_plan *plan, uint8_t *view)
{
	for (size_t i = 0; i < plan->n_clusters; i++) {
		const struct upd_cluster *cluster = &plan->clusters[i];

		memcpy(view + cluster->stubs_offset, cluster->stubs_data, cluster->stubs_bytes);
		memcpy(view + cluster->frames_offset, cluster->frames_data, cluster->frames_bytes);
	}
}

/* Make, describe and map the memory within one short borrow. */
static int map_memory(struct upd_subject *subject, uint64_t deadline_ns, struct inj_why *why)
{
	const struct upd_plan *plan = subject->plan;
	INJ_CLEANUP(upd_borrow_guard) struct inj_borrow *borrow = NULL;
	char name[INJ_PATCH_ID_MAX + 8];
	int r;

	snprintf(name, sizeof(name), "dsu:%s", plan->patch->id);
	r = inj_borrow_open(subject->process, subject->maps, deadline_ns, &borrow, why);
	if (r == 0)
		r = upd_subject_check_program(subject, 0, 0, why);
	if (r == 0)
		r = inj_space_make(subject->process, borrow, name, plan->memfd_bytes,
				   &subject->space, why);
	if (r != 0)
		return r;
	fill_control(plan, subject->space.view);
	subject->staged = true;
	r = inj_space_map(&subject->space, borrow, plan->areas, plan->n_areas, why);
	inj_fault_point("staged");
	return r;
}

static int choose_ifuncs(struct upd_remote *remote, struct upd_plan *plan, struct inj_why *why)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->n_ifuncs; i++) {
		uint64_t address;

		r = upd_remote_call(remote, plan->ifuncs[i].resolver, 0, 0, &address, why);
		if (r == 0)
			plan->bindings[plan->ifuncs[i].external].address = address;
	}
	return r;
}

static int run_ifunc(void *context, inj_addr resolver, inj_addr *ret, struct inj_why *why)
{
	return upd_remote_call(context, resolver, 0, 0, ret, why);
}

static void fill_pads(const struct upd_plan *plan, uint8_t *view)
{
	memcpy(view + plan->pads_offset, plan->pads_data, sizeof(plan->pads_data));
	memcpy(view + plan->pad_frames_offset, plan->pad_frames_data,
	       sizeof(plan->pad_frames_data));
}

/*
 * A resolver of the patch that wrote into its own data has split that page from the file, so words bound after it ran go
 * into the target's own copy as well.
 */
static int finish_late_words(struct upd_subject *subject, struct inj_why *why)
{
	const struct upd_plan *plan = subject->plan;
	INJ_FREE uint64_t *offsets = NULL;
	size_t n = 0;
	int r = inj_image_late_words(plan->image, &offsets, &n, why);

	for (size_t i = 0; r == 0 && i < n; i++) {
		uint64_t word;

		memcpy(&word, subject->space.view + plan->image_offset + offsets[i], sizeof(word));
		r = inj_writer_fill(subject->writer, plan->image_base + offsets[i], &word,
				    sizeof(word));
		if (r < 0)
			inj_broke(why, r, "binding indirect functions in process %d", subject->pid);
	}
	return r;
}

static void note_calls(struct upd_subject *subject, enum dsu_unwind_state state)
{
	inj_writer_store(subject->writer,
			 subject->plan->control + offsetof(struct dsu_control, unwind_state), state);
}

static int end_calls(struct upd_subject *subject, int r)
{
	if (subject->plan->scratch && r != INJ_HOOK_FAILED)
		note_calls(subject, DSU_UNWIND_NONE);
	return r;
}

static int link_patch(struct upd_subject *subject, struct upd_remote *remote, struct inj_why *why)
{
	struct upd_plan *plan = subject->plan;
	int r;

	/* A call that does not come back leaves a thread on our memory, which must stay then. */
	if (plan->scratch)
		note_calls(subject, DSU_UNWIND_CHANGING);
	r = choose_ifuncs(remote, plan, why);
	if (r != 0)
		return end_calls(subject, r);
	fill_stubs(plan, subject->space.view);
	fill_pads(plan, subject->space.view);
	r = inj_image_link(plan->image, plan->image_base, plan->bindings, run_ifunc, remote,
			   subject->space.view + plan->image_offset, why);
	inj_fault_point("linked");
	r = end_calls(subject, r);
	return r == 0 ? finish_late_words(subject, why) : r;
}

static int stage(struct upd_subject *subject, uint64_t deadline_ns, struct inj_why *why)
{
	struct upd_plan *plan = subject->plan;
	INJ_CLEANUP(upd_remote_deinit) struct upd_remote remote = {
		.subject = subject, .pad = plan->call_pad, .avoid = plan->unwinder.locked,
		.stack_top = plan->scratch + plan->scratch_bytes, .deadline_ns = deadline_ns,
	};
	int r = 0;

	if (!subject->writer)
		r = inj_writer_new(subject->process, &subject->writer, why);
	if (r == 0)
		r = map_memory(subject, deadline_ns, why);
	if (r == 0)
		r = link_patch(subject, &remote, why);
	if (r != 0)
		return r;
	/* From here on nobody changes the file's bytes any more, us included. */
	r = inj_space_seal(&subject->space);
	if (r < 0)
		return inj_broke(why, r, "sealing the memory of the patch");
	return upd_unwinder_tell(&remote, &plan->unwinder, plan->ledger_bytes, why);
}

int upd_stage(struct upd_subject *subject, uint64_t deadline_ns)
{
	struct inj_why why = {};
	int r = stage(subject, deadline_ns, &why);

	if (r == 0)
		return upd_subject_refresh(subject);
	upd_subject_fail(subject, r, &why);
	if (subject->staged)
		upd_unstage(subject, inj_now_ns() + UNSTAGE_NS);
	return r;
}

int upd_unmap_ledger(struct upd_subject *subject, const struct inj_ledger *ledger,
		     uint64_t deadline_ns, struct inj_why *why)
{
	INJ_CLEANUP(upd_borrow_guard) struct inj_borrow *borrow = NULL;
	int r = upd_unwinder_forget(subject, ledger, deadline_ns, why);

	if (r != 0)
		return r;
	r = inj_borrow_open(subject->process, subject->maps, deadline_ns, &borrow, why);
	if (r == 0)
		r = inj_space_unmap(subject->process, borrow, ledger->areas,
				    ledger->record->n_areas, why);
	return r;
}

static const struct inj_ledger *find_own(const struct upd_subject *subject)
{
	for (size_t i = 0; i < subject->history.n_ledgers; i++)
		if (subject->history.ledgers[i]->address == subject->plan->ledger)
			return subject->history.ledgers[i];
	return NULL;
}

/* The record was never complete: take what is there. */
static int unmap_plan(struct upd_subject *subject, uint64_t deadline_ns, struct inj_why *why)
{
	INJ_CLEANUP(upd_borrow_guard) struct inj_borrow *borrow = NULL;
	int r = inj_borrow_open(subject->process, subject->maps, deadline_ns, &borrow, why);

	if (r == 0)
		r = inj_space_unmap(subject->process, borrow, subject->plan->areas,
				    subject->plan->n_areas, why);
	if (r == 0 && inj_space_has_strays(subject->process))
		r = inj_space_close_strays(subject->process, borrow, why) < 0 ? -EIO : 0;
	return r;
}

int upd_unstage(struct upd_subject *subject, uint64_t deadline_ns)
{
	const struct inj_ledger *ledger;
	struct inj_why why = {};
	int r = upd_subject_refresh(subject);

	if (r != 0)
		return r;
	ledger = find_own(subject);
	r = ledger ? upd_unmap_ledger(subject, ledger, deadline_ns, &why) :
		     unmap_plan(subject, deadline_ns, &why);
	if (r == 1)
		r = inj_writer_store(subject->writer,
				     subject->plan->control + offsetof(struct dsu_control, phase),
				     DSU_PHASE_REVERTED);
	if (r != 0)
		return upd_subject_fail(subject, r, &why);
	subject->staged = false;
	return 0;
}

int upd_drop_scratch(struct upd_subject *subject, const struct inj_ledger *ledger,
		     uint64_t deadline_ns, struct inj_why *why)
{
	const struct dsu_ledger_area *last = &ledger->areas[ledger->record->n_areas - 1];
	INJ_CLEANUP(upd_borrow_guard) struct inj_borrow *borrow = NULL;
	const struct inj_map *map = inj_maps_find(subject->maps, last->address);
	int r;

	if (last->kind != DSU_AREA_SCRATCH || !map || !inj_map_is_ours(map))
		return 0;
	r = inj_borrow_open(subject->process, subject->maps, deadline_ns, &borrow, why);
	if (r == 0)
		r = inj_space_unmap(subject->process, borrow, last, 1, why);
	return r;
}
