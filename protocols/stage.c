/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Staging: the memory of an update comes into the target and is filled. The target meets none of it
 * before a redirect is installed, so everything here can be undone by unmapping, with one
 * exception: once a table may be known to the target's unwinder, its memory stays unless the
 *   unwinder has forgotten it.
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

static void fill_control(const struct upd_blueprint *blueprint, uint8_t *view)
{
	const struct inj_ledger *ledger = blueprint->record;
	struct dsu_control control = {
		.magic = DSU_CONTROL_MAGIC,
		.phase = DSU_PHASE_STAGED,
		.sequence = blueprint->sheet->sequence,
		.ledger = blueprint->ledger,
	};

	memcpy(view + ledger->areas[0].offset, &control, sizeof(control));
	memcpy(view + ledger->areas[1].offset, ledger->record, ledger->record->total_bytes);
}

/* Make, describe and map the memory within one short borrow. */
static int map_memory(struct upd_subject *subject, uint64_t deadline_ns, struct inj_why *why)
{
	const struct upd_blueprint *blueprint = subject->blueprint;
	const struct inj_ledger *ledger = blueprint->record;
	INJ_CLEANUP(upd_borrow_guard) struct inj_borrow *borrow = NULL;
	char name[INJ_PATCH_ID_MAX + 8];
	int r;

	snprintf(name, sizeof(name), "dsu:%s", upd_blueprint_patch_id(blueprint));
	r = inj_borrow_open(subject->process, subject->maps, deadline_ns, &borrow, why);
	if (r == 0)
		r = upd_subject_check_program(subject, 0, 0, why);
	if (r != 0)
		return r;
	/* From here on there may be something of ours. */
	subject->staged = true;
	r = inj_space_make(subject->process, borrow, name, blueprint->sheet->memfd_bytes,
			   &subject->space, why);
	if (r != 0)
		return r;
	fill_control(blueprint, subject->space.view);
	r = inj_space_map(&subject->space, borrow, ledger->areas, ledger->record->n_areas, why);
	inj_fault_point("staged");
	return r;
}

/* What the resolver of one word answers; neighbours often ask the same one. */
static int resolve(struct upd_remote *remote, const struct inj_late_word *words, size_t i,
		   uint64_t *answer, struct inj_why *why)
{
	uint64_t word;
	int r;

	if (i == 0 || words[i].resolver != words[i - 1].resolver) {
		r = upd_remote_call(remote, words[i].resolver, 0, 0, answer, why);
		if (r != 0)
			return r;
	}
	if (*answer == 0)
		return inj_refuse(why, INJ_UNSUPPORTED_RELOCATION,
				  "The resolver at 0x%llx of an indirect function found no "
				  "implementation for this CPU.",
				  (unsigned long long)words[i].resolver);
	word = *answer + (uint64_t)words[i].addend;
	if (words[i].addend < 0 ? word > *answer : word < *answer)
		return inj_refuse(why, INJ_UNSUPPORTED_RELOCATION,
				  "An addend of the patch leads out of the address space; the file "
				  "is damaged.");
	memcpy(remote->subject->space.view + remote->subject->blueprint->image_offset +
		       words[i].offset,
	       &word, sizeof(word));
	return 0;
}

/*
 * A resolver of the patch that wrote into its own data has split that page from the file, so words
 * bound after it ran go into the target's own copy as well.
 */
static int finish_late_words(struct upd_subject *subject, struct inj_why *why)
{
	const struct upd_blueprint *blueprint = subject->blueprint;
	int r = 0;

	for (size_t i = 0; r == 0 && i < blueprint->sheet->n_late; i++) {
		const uint64_t offset = blueprint->late[i].offset;

		if (!upd_blueprint_is_writable(blueprint, offset))
			continue;
		r = inj_writer_fill(subject->writer, blueprint->image_base + offset,
				    subject->space.view + blueprint->image_offset + offset,
				    sizeof(uint64_t));
		if (r < 0)
			inj_broke(why, r, "binding indirect functions in process %d", subject->pid);
	}
	return r;
}

static int bind_late_words(struct upd_subject *subject, struct upd_remote *remote,
			   struct inj_why *why)
{
	const struct upd_blueprint *blueprint = subject->blueprint;
	uint64_t answer = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < blueprint->sheet->n_late; i++)
		r = resolve(remote, blueprint->late, i, &answer, why);
	return r == 0 ? finish_late_words(subject, why) : r;
}

static void note_calls(struct upd_subject *subject, enum dsu_unwind_state state)
{
	inj_writer_store(subject->writer,
			 subject->blueprint->control + offsetof(struct dsu_control, unwind_state),
			 state);
}

static int end_calls(struct upd_subject *subject, int r)
{
	if (subject->blueprint->scratch && r != INJ_HOOK_FAILED)
		note_calls(subject, DSU_UNWIND_NONE);
	return r;
}

static int link_patch(struct upd_subject *subject, struct upd_remote *remote, struct inj_why *why)
{
	const struct upd_blueprint *blueprint = subject->blueprint;
	int r;

	/* A call that does not come back leaves a thread on our memory, which must stay then. */
	if (blueprint->scratch)
		note_calls(subject, DSU_UNWIND_CHANGING);
	upd_blueprint_fill(blueprint, subject->space.view);
	r = bind_late_words(subject, remote, why);
	inj_fault_point("linked");
	return end_calls(subject, r);
}

static int stage(struct upd_subject *subject, uint64_t deadline_ns, struct inj_why *why)
{
	const struct upd_blueprint *blueprint = subject->blueprint;
	INJ_CLEANUP(upd_remote_deinit)
	struct upd_remote remote = {
		.subject = subject,
		.pad = blueprint->call_pad,
		.avoid = blueprint->unwinder.locked,
		.stack_top = blueprint->scratch + blueprint->scratch_bytes,
		.deadline_ns = deadline_ns,
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
	return upd_unwinder_tell(&remote, &blueprint->unwinder, blueprint->record->record, why);
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
		if (subject->history.ledgers[i]->address == subject->blueprint->ledger)
			return subject->history.ledgers[i];
	return NULL;
}

static bool any_area_mapped(const struct upd_subject *subject)
{
	const struct inj_ledger *ledger = subject->blueprint->record;

	for (size_t i = 0; i < ledger->record->n_areas; i++) {
		const struct inj_map *map = inj_maps_find(subject->maps, ledger->areas[i].address);

		if (map && inj_map_is_ours(map))
			return true;
	}
	return false;
}

/* The record was never complete: take what is there. */
static int unmap_plan(struct upd_subject *subject, uint64_t deadline_ns, struct inj_why *why)
{
	const struct inj_ledger *ledger = subject->blueprint->record;
	INJ_CLEANUP(upd_borrow_guard) struct inj_borrow *borrow = NULL;
	int r;

	if (!any_area_mapped(subject) && !inj_space_has_strays(subject->process))
		return 0;
	r = inj_borrow_open(subject->process, subject->maps, deadline_ns, &borrow, why);
	if (r == 0)
		r = inj_space_unmap(subject->process, borrow, ledger->areas,
				    ledger->record->n_areas, why);
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
				     subject->blueprint->control +
					     offsetof(struct dsu_control, phase),
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
