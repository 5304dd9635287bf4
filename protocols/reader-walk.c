/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Walking stacks in the reader: the target's unwind tables are a program that its files bring
 * along, and here is where it is run. The threads are held meanwhile by the worker; registers come
 * with the question, stacks are read through the descriptor of the target's memory.
 */
#include <string.h>

#include "injector/unwind/activity.h"
#include "injector/unwind/known.h"
#include "protocols/quiesce.h"
#include "protocols/reader-priv.h"

#define MAX_THREADS (1u << 20)
#define MAX_PLACES 64
#define MAX_FRAMES 1024
#define MAX_NAMES 4096
#define MAX_NAME 4000

struct walk {
	struct upd_ask_walk ask;
	struct inj_thread *threads; /* owned */
	struct inj_watch *watches;  /* owned */
	struct inj_hold hold;
};

static void forget_walk(struct walk *walk)
{
	free(walk->threads);
	free(walk->watches);
}

/* Return pads that are planted now; the worker says it anew with each question. */
static int take_pads(struct upd_code_map *map, struct upd_cursor *question, size_t n)
{
	struct upd_code_pad *pads = calloc(n ? n : 1, sizeof(*pads));

	if (!pads || !upd_cursor_take(question, pads, n * sizeof(*pads))) {
		free(pads);
		return -ENOMEM;
	}
	free(map->pads);
	map->pads = pads;
	map->n_pads = n;
	return 0;
}

static int take_walk(struct upd_reading *reading, struct upd_cursor *question, struct walk *ret)
{
	struct upd_subject *subject = &reading->subject;

	if (!upd_cursor_take(question, &ret->ask, sizeof(ret->ask)) || !subject->walker ||
	    ret->ask.n_threads > MAX_THREADS)
		return -EPROTO;
	ret->threads = calloc(ret->ask.n_threads + 1, sizeof(*ret->threads));
	ret->watches = calloc(ret->ask.n_watches + 1, sizeof(*ret->watches));
	if (!ret->threads || !ret->watches)
		return -ENOMEM;
	for (size_t i = 0; i < ret->ask.n_threads; i++) {
		struct upd_ask_thread thread;

		if (!upd_cursor_take(question, &thread, sizeof(thread)))
			return -EPROTO;
		ret->threads[i] = (struct inj_thread){ .tid = thread.tid, .regs = thread.regs,
						       .in_syscall = thread.in_syscall != 0 };
	}
	for (size_t i = 0; i < ret->ask.n_watches; i++) {
		struct upd_ask_watch watch;

		if (!upd_cursor_take(question, &watch, sizeof(watch)))
			return -EPROTO;
		ret->watches[i] = (struct inj_watch){ .code = watch.code, .tag = watch.tag,
						      .entry_is_free = watch.entry_is_free != 0 };
	}
	ret->hold = (struct inj_hold){ .process = subject->process, .threads = ret->threads,
				       .n_threads = ret->ask.n_threads };
	if (ret->ask.is_forgotten)
		upd_code_map_forget_stubs(&subject->code_map);
	return take_pads(&subject->code_map, question, ret->ask.n_pads);
}

static void put_known(struct upd_reading *reading, inj_addr pc)
{
	struct inj_known known;
	struct upd_tell_known tell;

	inj_walker_know(reading->subject.walker, pc, &known);
	tell = (struct upd_tell_known){ .code = known.code, .is_odd = known.is_odd };
	upd_parcel_put(&reading->answer, &tell, sizeof(tell));
}

int upd_reading_prepare(struct upd_reading *reading, struct upd_cursor *question)
{
	struct upd_subject *subject = &reading->subject;
	struct inj_place places[MAX_PLACES];
	struct upd_tell_prepared tell = {};
	const struct inj_range *trampolines;
	size_t n = 0, n_trampolines;
	int r = upd_reading_refresh(reading);

	if (r == 0)
		r = upd_walker_make(subject);
	if (r != 0) {
		if (reading->why.code == 0)
			reading->why = subject->why;
		return r;
	}
	while (n < MAX_PLACES && upd_cursor_take(question, &places[n], sizeof(places[n])))
		n++;
	inj_walker_warm(subject->walker, places, n);
	trampolines = inj_walker_trampolines(subject->walker, &n_trampolines);
	tell.n_trampolines = (uint32_t)n_trampolines;
	tell.n_known = (uint32_t)n;
	upd_parcel_put(&reading->answer, &tell, sizeof(tell));
	upd_parcel_put(&reading->answer, trampolines, n_trampolines * sizeof(*trampolines));
	for (size_t i = 0; i < n; i++)
		put_known(reading, places[i].pc);
	return 0;
}

int upd_reading_find(struct upd_reading *reading, struct upd_cursor *question)
{
	INJ_CLEANUP(inj_activity_deinit) struct inj_activity activity = {};
	INJ_CLEANUP(forget_walk) struct walk walk = {};
	struct upd_tell_found tell;
	int r = take_walk(reading, question, &walk);

	if (r == 0)
		r = inj_walker_find(reading->subject.walker, &walk.hold, walk.watches,
				    walk.ask.n_watches, walk.ask.budget_ns, &activity,
				    &reading->why);
	if (r != 0)
		return r;
	tell = (struct upd_tell_found){
		.n_hits = (uint32_t)activity.n_hits, .n_known = walk.ask.n_threads,
		.n_scanned = activity.n_scanned, .n_walked = activity.n_walked,
		.n_unreliable = activity.n_unreliable,
	};
	upd_parcel_put(&reading->answer, &tell, sizeof(tell));
	for (size_t i = 0; i < activity.n_hits; i++) {
		const struct inj_hit *hit = &activity.hits[i];
		const struct upd_tell_hit told = {
			.tid = hit->tid, .tag = hit->tag, .frame = hit->frame,
			.reliable = hit->reliable, .address = hit->address, .slot = hit->slot,
		};

		upd_parcel_put(&reading->answer, &told, sizeof(told));
	}
	for (size_t i = 0; i < walk.ask.n_threads; i++)
		put_known(reading, walk.threads[i].regs.rip);
	return 0;
}

int upd_reading_stack(struct upd_reading *reading, struct upd_cursor *question)
{
	INJ_CLEANUP(forget_walk) struct walk walk = {};
	struct inj_frame frames[MAX_FRAMES];
	struct upd_tell_stack tell = {};
	bool reliable = false;
	size_t n = 0;
	int r = take_walk(reading, question, &walk);

	if (r == 0)
		r = inj_walker_stack(reading->subject.walker, &walk.hold, 0, frames,
				     walk.ask.max < MAX_FRAMES ? walk.ask.max : MAX_FRAMES, &n,
				     &reliable, &reading->why);
	if (r != 0)
		return r;
	tell.n_frames = (uint32_t)n;
	tell.reliable = reliable;
	upd_parcel_put(&reading->answer, &tell, sizeof(tell));
	for (size_t i = 0; i < n; i++) {
		const struct upd_tell_frame frame = {frames[i].pc, frames[i].cfa,
						     frames[i].is_call};

		upd_parcel_put(&reading->answer, &frame, sizeof(frame));
	}
	return 0;
}

int upd_reading_handles(struct upd_reading *reading, struct upd_cursor *question)
{
	uint64_t pc, handles;

	if (!upd_cursor_take(question, &pc, sizeof(pc)) || !reading->subject.walker)
		return -EPROTO;
	handles = inj_walker_handles_exceptions(reading->subject.walker, pc);
	upd_parcel_put(&reading->answer, &handles, sizeof(handles));
	return 0;
}

int upd_reading_snapshot(struct upd_reading *reading, struct upd_cursor *question)
{
	INJ_CLEANUP(forget_walk) struct walk walk = {};
	int r = take_walk(reading, question, &walk);

	return r ? r
		 : inj_walker_snapshot(reading->subject.walker, &walk.hold, walk.ask.max,
				       &reading->why);
}

static void put_text(struct upd_parcel *parcel, const char *text)
{
	const size_t n = strlen(text);

	upd_parcel_put(parcel, text, n < MAX_NAME ? n : MAX_NAME);
	upd_parcel_put(parcel, "", 1);
}

/* Of each address: the address of its symbol, 0: none; names of module and symbol. */
int upd_reading_names(struct upd_reading *reading, struct upd_cursor *question)
{
	const struct inj_modules *modules = reading->subject.modules;
	uint64_t pc;

	if (!modules)
		return -EPROTO;
	for (size_t i = 0; i < MAX_NAMES && upd_cursor_take(question, &pc, sizeof(pc)); i++) {
		const struct inj_module *module = inj_modules_at(modules, pc);
		struct inj_symbol symbol = {};
		bool found = inj_symbol_at(modules, pc, &symbol);
		const uint64_t address = found ? symbol.address : 0;

		upd_parcel_put(&reading->answer, &address, sizeof(address));
		put_text(&reading->answer, module ? module->name : "");
		put_text(&reading->answer, found ? symbol.name : "");
	}
	return 0;
}
