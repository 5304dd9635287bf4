/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Return pads in use. The words of a pad are complete before its address stands on a stack, and a
 * stack slot is only ever written while its thread is held and the slot still holds what was read
 * from it, so a death between any two steps leaves a program that returns where it should.
 */
#include "protocols/pads.h"

#include <string.h>

#include "injector/base/fault-point.h"
#include "injector/process/mem.h"
#include "injector/redirect/return-pad.h"
#include "protocols/walk.h"

#define MAX_PLANTED 8
#define MAX_TRIES 16
#define MAX_FRAMES 256
/* `pause` takes 10 to 140 cycles: a wait of about one to five milliseconds. */
#define SPINS 60000

static inj_addr words_of(inj_addr control, size_t i)
{
	return control + offsetof(struct dsu_control_page, pads) + i * sizeof(struct dsu_pad);
}

static inj_addr entry_of(inj_addr code, size_t i)
{
	return inj_return_pad_entry(code + i * INJ_RETURN_PAD_BYTES);
}

static int read_words(const struct upd_subject *subject, inj_addr control,
		      struct dsu_pad words[DSU_N_PADS])
{
	return inj_mem_read(subject->process, words_of(control, 0), words,
			    DSU_N_PADS * sizeof(*words));
}

void upd_pads_init(struct upd_pads *pads, const struct dsu_ledger *record, bool registered,
		   const struct upd_unwinder *unwinder)
{
	const struct dsu_ledger_area *areas =
		(const void *)((const uint8_t *)record + record->areas);

	*pads = (struct upd_pads){ .control = record->control,
				   .may_plant = registered || !unwinder->may_unwind,
				   .passes = record->flags & DSU_LEDGER_PADS_PASS };
	for (size_t i = 0; i < record->n_areas; i++)
		if (areas[i].kind == DSU_AREA_PADS &&
		    areas[i].bytes >= DSU_N_PADS * INJ_RETURN_PAD_BYTES + INJ_PAD_PERSONALITY_BYTES)
			pads->code = areas[i].address;
}

/* Let the walker see through a planted pad. */
static int show(struct upd_subject *subject, inj_addr code, inj_addr back)
{
	struct upd_code_map *map = &subject->code_map;
	struct upd_code_pad *grown = reallocarray(map->pads, map->n_pads + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	map->pads = grown;
	grown[map->n_pads++] = (struct upd_code_pad){
		.code = { code, code + INJ_RETURN_PAD_POPPED }, .back = back,
	};
	return 0;
}

static void hide(struct upd_subject *subject, inj_addr code)
{
	struct upd_code_map *map = &subject->code_map;
	size_t kept = 0;

	for (size_t i = 0; i < map->n_pads; i++)
		if (map->pads[i].code.start != code)
			map->pads[kept++] = map->pads[i];
	map->n_pads = kept;
}

/* Exchange one return address. Words first, slot last. */
static int plant(struct upd_pads *pads, struct upd_subject *subject, size_t i, inj_addr slot,
		 inj_addr back)
{
	const inj_addr start = pads->code + i * INJ_RETURN_PAD_BYTES;
	const struct dsu_pad words = {
		.back = back, .slot = slot, .arrived = pads->seen[i], .armed = 1, .spins = SPINS,
	};
	int r = show(subject, start, back);

	if (r == 0)
		r = inj_writer_fill(subject->writer, words_of(pads->control, i), &words,
				    sizeof(words));
	inj_fault_point("pad-ready");
	if (r == 0)
		r = inj_writer_store(subject->writer, slot, entry_of(pads->code, i));
	inj_fault_point("pad-planted");
	if (r < 0)
		hide(subject, start);
	else
		pads->used[i] = true;
	return r;
}

static size_t find_free(const struct upd_pads *pads)
{
	size_t i = 0;

	while (i < DSU_N_PADS && pads->used[i])
		i++;
	return i;
}

/* The slot that the outermost watched frame of a thread will return through, and what stands
 * there. */
static bool find_return(const struct upd_pads *pads, struct upd_subject *subject,
			const struct inj_hold *hold, size_t index, unsigned frame,
			inj_addr *ret_slot, inj_addr *ret_back)
{
	struct inj_frame frames[MAX_FRAMES];
	size_t n = 0;
	bool reliable = false;
	uint64_t found;

	if (frame + 1 >= MAX_FRAMES ||
	    upd_walk_stack(subject, hold, index, frames, MAX_FRAMES, &n, &reliable, NULL) != 0 ||
	    !reliable || frame + 1 >= n || !frames[frame + 1].is_call ||
	    frames[frame + 1].cfa < 8 || frames[frame + 1].cfa % 8 != 0)
		return false;
	/* The caller's stack pointer stands right above the address that was popped. */
	*ret_slot = frames[frame + 1].cfa - 8;
	*ret_back = frames[frame + 1].pc;
	/* Without a personality routine an exception on its way to that very caller would stop at
	 * the pad and abort. */
	if (!pads->passes && upd_walk_handles_exceptions(subject, *ret_back))
		return false;
	/* Only an ordinary return address: not one of ours, not one that the walk translated. */
	return inj_mem_read(subject->process, *ret_slot, &found, sizeof(found)) == 0 &&
	       found == *ret_back && upd_code_map_translate(&subject->code_map, found) == found;
}

static bool outermost(const struct inj_activity *activity, pid_t tid, unsigned *ret_frame)
{
	bool any = false;

	for (size_t i = 0; i < activity->n_hits; i++) {
		const struct inj_hit *hit = &activity->hits[i];

		if (hit->tid != tid)
			continue;
		if (!hit->reliable)
			return false;
		if (!any || hit->frame > *ret_frame)
			*ret_frame = hit->frame;
		any = true;
	}
	return any;
}

/* A pad is used once in its life: a thread may still be inside one that an earlier request
 * planted. */
static bool know(struct upd_pads *pads, const struct upd_subject *subject)
{
	struct dsu_pad words[DSU_N_PADS];

	if (pads->known)
		return true;
	if (read_words(subject, pads->control, words) < 0)
		return false;
	for (size_t i = 0; i < DSU_N_PADS; i++)
		pads->used[i] = pads->passed[i] = words[i].back != 0;
	pads->known = true;
	return true;
}

size_t upd_pads_plant(struct upd_pads *pads, struct upd_subject *subject,
		      const struct inj_hold *hold, const struct inj_activity *activity)
{
	unsigned n_tries = 0;
	size_t n = 0;

	if (!pads->code || !pads->may_plant || !know(pads, subject))
		return 0;
	for (size_t i = 0; i < DSU_N_PADS; i++)
		n += pads->used[i] && !pads->passed[i];
	for (size_t i = 0; i < hold->n_threads && n < MAX_PLANTED && n_tries < MAX_TRIES; i++) {
		inj_addr slot, back;
		unsigned frame = 0;
		size_t pad = find_free(pads);

		if (pad == DSU_N_PADS || !outermost(activity, hold->threads[i].tid, &frame))
			continue;
		n_tries++;
		if (!find_return(pads, subject, hold, i, frame, &slot, &back))
			continue;
		n += plant(pads, subject, pad, slot, back) == 0;
	}
	return n;
}

bool upd_pads_any(const struct upd_pads *pads)
{
	for (size_t i = 0; i < DSU_N_PADS; i++)
		if (pads->used[i] && !pads->passed[i])
			return true;
	return false;
}

bool upd_pads_arrived(struct upd_pads *pads, const struct upd_subject *subject)
{
	struct dsu_pad words[DSU_N_PADS];
	bool any = false;

	if (!pads->code || read_words(subject, pads->control, words) < 0)
		return false;
	for (size_t i = 0; i < DSU_N_PADS; i++)
		any |= pads->used[i] && !pads->passed[i] && words[i].arrived != pads->seen[i];
	return any;
}

void upd_pads_dismiss(struct upd_pads *pads, struct upd_subject *subject)
{
	struct dsu_pad words[DSU_N_PADS];

	if (!pads->code || read_words(subject, pads->control, words) < 0)
		return;
	for (size_t i = 0; i < DSU_N_PADS; i++) {
		const inj_addr at = words_of(pads->control, i);
		struct dsu_pad idle = words[i];

		if (!pads->used[i] || pads->passed[i] || words[i].arrived == pads->seen[i])
			continue;
		/* The thread may still be waiting: `back` has to stay, only the wait ends. */
		idle.armed = 0;
		idle.slot = 0;
		inj_writer_fill(subject->writer, at + offsetof(struct dsu_pad, slot), &idle.slot,
				sizeof(idle.slot));
		inj_writer_fill(subject->writer, at + offsetof(struct dsu_pad, armed), &idle.armed,
				sizeof(idle.armed));
		pads->passed[i] = true;
	}
}

int upd_pads_withdraw(struct upd_subject *subject, inj_addr control, inj_addr code)
{
	struct dsu_pad words[DSU_N_PADS];
	int r = read_words(subject, control, words);

	for (size_t i = 0; r == 0 && i < DSU_N_PADS; i++) {
		uint64_t found;

		if (words[i].slot == 0 || words[i].slot % 8 != 0)
			continue;
		/* A slot that is gone or holds something else belonged to a frame that was left
		 * another way. */
		if (inj_mem_read(subject->process, words[i].slot, &found, sizeof(found)) == 0 &&
		    found == entry_of(code, i))
			r = inj_writer_store(subject->writer, words[i].slot, words[i].back);
		inj_fault_point("pad-withdrawn");
		if (r == 0)
			r = inj_writer_store(subject->writer,
					     words_of(control, i) + offsetof(struct dsu_pad, slot),
					     0);
	}
	return r;
}
