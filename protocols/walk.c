/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The worker's half of looking at stacks. Always holds: a thread counts as clear only by its own
 * words or by the answer of the reader; a reader that fails under a hold costs at most the hold's
 * budget, and then nothing is changed. A reader that lies about a stack lies about the stack of the
 * very target that has it in its hands.
 */
#include "protocols/walk.h"

#include <string.h>

#include "injector/base/clock.h"
#include "injector/unwind/known.h"
#include "protocols/reader-priv.h"

#define PREPARE_NS 20000000000ull
#define ASK_NS 5000000000ull
/* What the reader may take beyond the budget that it keeps itself. */
#define GRACE_NS 20000000ull
#define MAX_PLACES 16
#define MAX_TRAMPOLINES 64
#define MAX_ANSWER (64u << 20)

static int read_code_map(struct upd_subject *subject)
{
	struct inj_why why = {};
	int r = 0;

	upd_code_map_deinit(&subject->code_map);
	for (size_t i = 0; r == 0 && i < subject->history.n_ledgers; i++)
		if (subject->history.ledgers[i]->complete)
			r = upd_code_map_add(&subject->code_map, subject->process,
					     subject->history.ledgers[i]);
	if (r == -E2BIG)
		return upd_subject_fail(subject,
			inj_refuse(&why, INJ_UNSUPPORTED_PROCESS,
				   "The records of updates in process %d speak of more code than "
				   "any patch has; "
				   "they are forged. Restart it.", subject->pid), &why);
	if (r < 0)
		return upd_subject_fail(
			subject, inj_broke(&why, r, "reading our code in process %d", subject->pid),
			&why);
	upd_code_map_seal(&subject->code_map);
	return 0;
}

int upd_walker_make(struct upd_subject *subject)
{
	struct inj_why why = {};
	int r;

	inj_walker_free(INJ_TAKE(subject->walker));
	r = read_code_map(subject);
	if (r != 0)
		return r;
	r = inj_walker_new(subject->process, subject->maps, subject->modules,
			   subject->code_map.tables, subject->code_map.n_tables,
			   upd_code_map_translate, &subject->code_map, &subject->walker, &why);
	return r == 0 ? 0 : upd_subject_fail(subject, r, &why);
}

/* Learn n functions out of an answer. Return: they were there. */
static bool learn(struct upd_subject *subject, struct upd_cursor *cursor, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct upd_tell_known told;

		if (!upd_cursor_take(cursor, &told, sizeof(told)))
			return false;
		inj_sieve_learn(subject->sieve,
				&(struct inj_known){.code = told.code, .is_odd = told.is_odd != 0});
	}
	return cursor->left == 0;
}

static int make_sieve(struct upd_subject *subject, struct upd_reader *reader,
		      const struct upd_message *answer, struct inj_why *why)
{
	const struct upd_code_map *map = &subject->code_map;
	INJ_FREE struct inj_range *own = calloc(map->n_tables + 1, sizeof(*own));
	struct inj_range trampolines[MAX_TRAMPOLINES];
	struct upd_cursor cursor = { answer->bytes, answer->n_bytes };
	struct upd_tell_prepared tell;
	int r;

	if (!own)
		return inj_broke(why, -ENOMEM, "preparing process %d", subject->pid);
	for (size_t i = 0; i < map->n_tables; i++)
		own[i] = map->tables[i].code;
	if (!upd_cursor_take(&cursor, &tell, sizeof(tell)) ||
	    tell.n_trampolines > MAX_TRAMPOLINES || tell.n_known > MAX_PLACES ||
	    !upd_cursor_take(&cursor, trampolines, tell.n_trampolines * sizeof(*trampolines)))
		return upd_reader_lied(reader, why);
	r = inj_sieve_new(subject->process, subject->maps, own, map->n_tables, trampolines,
			  tell.n_trampolines, upd_code_map_translate, &subject->code_map,
			  &subject->sieve, why);
	if (r == 0 && !learn(subject, &cursor, tell.n_known))
		return upd_reader_lied(reader, why);
	return r;
}

int upd_walk_prepare(struct upd_subject *subject)
{
	INJ_CLEANUP(upd_message_deinit) struct upd_message answer = UPD_MESSAGE_NONE;
	const struct upd_patience patience = { inj_now_ns() + PREPARE_NS, -1 };
	struct inj_place places[MAX_PLACES];
	struct upd_reader *reader;
	struct inj_why why = {};
	size_t n;
	int r;

	inj_sieve_free(INJ_TAKE(subject->sieve));
	r = read_code_map(subject);
	if (r != 0)
		return r;
	r = upd_subject_reader(subject, &reader, &why);
	if (r == 0) {
		n = inj_places_read(subject->process, places, MAX_PLACES);
		r = upd_reader_ask(reader, UPD_ASK_PREPARE, places, n * sizeof(*places), MAX_ANSWER,
				   &patience, &answer, &why);
	}
	if (r == 0)
		r = make_sieve(subject, reader, &answer, &why);
	return r == 0 ? 0 : upd_subject_fail(subject, r, &why);
}

static void put_threads(struct upd_parcel *parcel, const struct inj_thread *threads, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct upd_ask_thread thread = {
			.regs = threads[i].regs,
			.tid = threads[i].tid,
			.in_syscall = threads[i].in_syscall,
		};

		upd_parcel_put(parcel, &thread, sizeof(thread));
	}
}

static void put_watches(struct upd_parcel *parcel, const struct inj_watch *watches, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct upd_ask_watch watch = {
			.code = watches[i].code, .tag = watches[i].tag,
			.entry_is_free = watches[i].entry_is_free,
		};

		upd_parcel_put(parcel, &watch, sizeof(watch));
	}
}

/* A question about some threads. The reader is there since the subject was prepared; a dead one
 * says so itself. */
static int ask_walk(struct upd_subject *subject, enum upd_message_kind kind,
		    const struct inj_thread *threads, size_t n_threads,
		    const struct inj_watch *watches, size_t n_watches, uint64_t budget_ns,
		    uint64_t max, struct upd_message *ret, struct inj_why *why)
{
	const struct upd_code_map *map = &subject->code_map;
	INJ_CLEANUP(upd_parcel_deinit) struct upd_parcel parcel = {};
	const struct upd_patience patience = { inj_now_ns() + budget_ns + GRACE_NS, -1 };
	const struct upd_ask_walk ask = {
		.n_threads = (uint32_t)n_threads, .n_watches = (uint32_t)n_watches,
		.n_pads = (uint32_t)map->n_pads, .is_forgotten = map->is_forgotten,
		.budget_ns = budget_ns, .max = max,
	};

	upd_parcel_put(&parcel, &ask, sizeof(ask));
	put_threads(&parcel, threads, n_threads);
	put_watches(&parcel, watches, n_watches);
	upd_parcel_put(&parcel, map->pads, map->n_pads * sizeof(*map->pads));
	if (parcel.failed)
		return inj_broke(why, -ENOMEM, "looking at the stacks of process %d", subject->pid);
	return upd_reader_ask(subject->reader, kind, parcel.bytes, parcel.n_bytes, MAX_ANSWER,
			      &patience, ret, why);
}

static bool is_among(const struct inj_thread *threads, size_t n, pid_t tid)
{
	for (size_t i = 0; i < n; i++)
		if (threads[i].tid == tid)
			return true;
	return false;
}

static int take_found(struct upd_subject *subject, const struct upd_message *answer,
		      const struct inj_thread *suspects, size_t n, struct inj_activity *ret,
		      struct inj_why *why)
{
	struct upd_cursor cursor = { answer->bytes, answer->n_bytes };
	struct inj_activity activity = { .n_threads = ret->n_threads };
	struct upd_tell_found tell;

	if (!upd_cursor_take(&cursor, &tell, sizeof(tell)) || tell.n_hits > INJ_HITS_MAX)
		return upd_reader_lied(subject->reader, why);
	activity.hits = calloc(tell.n_hits + 1, sizeof(*activity.hits));
	if (!activity.hits)
		return inj_broke(why, -ENOMEM, "looking at the stacks of process %d", subject->pid);
	activity.n_scanned = tell.n_scanned;
	activity.n_walked = tell.n_walked;
	activity.n_unreliable = tell.n_unreliable;
	for (size_t i = 0; i < tell.n_hits; i++) {
		struct upd_tell_hit hit;

		if (!upd_cursor_take(&cursor, &hit, sizeof(hit)) ||
		    !is_among(suspects, n, hit.tid)) {
			inj_activity_deinit(&activity);
			return upd_reader_lied(subject->reader, why);
		}
		activity.hits[activity.n_hits++] = (struct inj_hit){
			.tid = hit.tid, .tag = hit.tag, .frame = hit.frame,
			.address = hit.address, .slot = hit.slot, .reliable = hit.reliable != 0,
		};
	}
	if (!learn(subject, &cursor, tell.n_known)) {
		inj_activity_deinit(&activity);
		return upd_reader_lied(subject->reader, why);
	}
	*ret = activity;
	return 0;
}

/* Its memory is that of the program that it was; a program that came in its place is for whoever
 * asks next. */
static int changed_program(const struct upd_subject *subject, int r, struct inj_why *why)
{
	if (r != -ESRCH)
		return r;
	return inj_refuse(why, INJ_PROCESS_GONE,
			  "process %d ended, or became another program (exec) while the update "
			  "waited; look at it again and repeat the update",
			  subject->pid);
}

int upd_walk_find(struct upd_subject *subject, const struct inj_hold *hold,
		  const struct inj_watch *watches, size_t n_watches, uint64_t budget_ns,
		  struct inj_activity *ret, struct inj_why *why)
{
	INJ_CLEANUP(upd_message_deinit) struct upd_message answer = UPD_MESSAGE_NONE;
	INJ_FREE struct inj_thread *suspects = calloc(hold->n_threads + 1, sizeof(*suspects));
	struct inj_activity activity = { .n_threads = hold->n_threads };
	const uint64_t start_ns = inj_now_ns();
	uint64_t used_ns;
	size_t n = 0;
	int r;

	if (!suspects)
		return inj_broke(why, -ENOMEM, "looking at the stacks of process %d", subject->pid);
	r = inj_sieve_suspect(subject->sieve, hold, watches, n_watches, budget_ns, suspects, &n,
			      why);
	if (r == 0 && n > 0) {
		used_ns = inj_now_ns() - start_ns;
		r = ask_walk(subject, UPD_ASK_FIND, suspects, n, watches, n_watches,
			     used_ns < budget_ns ? budget_ns - used_ns : 0, 0, &answer, why);
		if (r == 0)
			r = take_found(subject, &answer, suspects, n, &activity, why);
	}
	if (r != 0)
		return changed_program(subject, r, why);
	activity.n_scanned += hold->n_threads - n;
	*ret = activity;
	return 0;
}

int upd_walk_stack(struct upd_subject *subject, const struct inj_hold *hold, size_t index,
		   struct inj_frame *frames, size_t max, size_t *ret_n, bool *ret_reliable,
		   struct inj_why *why)
{
	INJ_CLEANUP(upd_message_deinit) struct upd_message answer = UPD_MESSAGE_NONE;
	struct upd_cursor cursor;
	struct upd_tell_stack tell;
	int r;

	if (index >= hold->n_threads)
		return inj_broke(why, -EINVAL, "process %d has no thread number %zu", subject->pid,
				 index);
	r = ask_walk(subject, UPD_ASK_STACK, &hold->threads[index], 1, NULL, 0, ASK_NS, max,
		     &answer, why);
	if (r != 0)
		return r;
	cursor = (struct upd_cursor){ answer.bytes, answer.n_bytes };
	if (!upd_cursor_take(&cursor, &tell, sizeof(tell)) || tell.n_frames > max)
		return upd_reader_lied(subject->reader, why);
	for (size_t i = 0; i < tell.n_frames; i++) {
		struct upd_tell_frame frame;

		if (!upd_cursor_take(&cursor, &frame, sizeof(frame)))
			return upd_reader_lied(subject->reader, why);
		frames[i] = (struct inj_frame){ .pc = frame.pc, .cfa = frame.cfa,
						.is_call = frame.is_call != 0 };
	}
	*ret_n = tell.n_frames;
	*ret_reliable = tell.reliable != 0;
	return 0;
}

bool upd_walk_handles_exceptions(struct upd_subject *subject, inj_addr pc)
{
	INJ_CLEANUP(upd_message_deinit) struct upd_message answer = UPD_MESSAGE_NONE;
	const struct upd_patience patience = { inj_now_ns() + GRACE_NS, -1 };
	uint64_t handles = 1;

	if (upd_reader_ask(subject->reader, UPD_ASK_HANDLES, &pc, sizeof(pc), sizeof(handles),
			   &patience, &answer, NULL) == 0 &&
	    answer.n_bytes == sizeof(handles))
		memcpy(&handles, answer.bytes, sizeof(handles));
	return handles != 0;
}

int upd_walk_snapshot(struct upd_subject *subject, const struct inj_hold *hold, uint64_t max_bytes,
		      struct inj_why *why)
{
	INJ_CLEANUP(upd_message_deinit) struct upd_message answer = UPD_MESSAGE_NONE;

	return ask_walk(subject, UPD_ASK_SNAPSHOT, hold->threads, hold->n_threads, NULL, 0, ASK_NS,
			max_bytes, &answer, why);
}

/* The next string of an answer, "" and an empty cursor when it has no end. */
static const char *take_text(struct upd_cursor *cursor)
{
	size_t n = strnlen((const char *)cursor->at, cursor->left);
	const char *text = upd_cursor_skip(cursor, n + 1, 1);

	if (text)
		return text;
	cursor->left = 0;
	return "";
}

int upd_walk_names(struct upd_subject *subject, const inj_addr *addresses, size_t n,
		   struct upd_names *ret, struct inj_why *why)
{
	INJ_CLEANUP(upd_message_deinit) struct upd_message answer = UPD_MESSAGE_NONE;
	const struct upd_patience patience = { inj_now_ns() + PREPARE_NS, -1 };
	struct upd_cursor cursor;
	int r = upd_reader_ask(subject->reader, UPD_ASK_NAMES, addresses, n * sizeof(*addresses),
			       MAX_ANSWER, &patience, &answer, why);

	if (r != 0)
		return r;
	*ret = (struct upd_names){ .items = calloc(n + 1, sizeof(*ret->items)) };
	if (!ret->items)
		return inj_broke(why, -ENOMEM, "naming the frames of process %d", subject->pid);
	cursor = (struct upd_cursor){ answer.bytes, answer.n_bytes };
	for (; ret->n_items < n; ret->n_items++) {
		struct upd_name *name = &ret->items[ret->n_items];

		if (!upd_cursor_take(&cursor, &name->address, sizeof(name->address)))
			return upd_reader_lied(subject->reader, why);
		name->module = take_text(&cursor);
		name->function = take_text(&cursor);
	}
	ret->bytes = INJ_TAKE(answer.bytes);
	return 0;
}

void upd_names_deinit(struct upd_names *names)
{
	free(names->items);
	free(names->bytes);
	*names = (struct upd_names){};
}
