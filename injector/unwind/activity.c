/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which watched code is live in a held process. Owns the decision per thread: a home stack without
 * a telling word, register or pc is clean; otherwise the walk decides if it reached the end of the
 * stack; otherwise every word that could be a return address or an interrupted pc counts. What
 * always holds: an activation is never missed for lack of unwind information, memory or time; the
 * answer then is a hit or a refusal.
 */
#include <string.h>

#include "injector/base/clock.h"
#include "injector/unwind/stack-scan.h"
#include "injector/unwind/walker-priv.h"

enum {
	STEPS_PER_CLOCK = 64,
	MAX_SCANNED_FIRST = 16 << 20,
	/* Thread control data and thread-local variables between the first frame of a thread and
	   its control block. */
	MAX_ABOVE_FIRST_FRAME = 256 << 10,
};

/* The hits of the present thread on one watch. */
struct mark {
	uint32_t thread; /* 1 + index of the thread that set it */
	uint32_t n;
	size_t outermost; /* index of its hit */
};

struct search {
	struct inj_walker *walker;
	struct inj_word_filter filter;
	uint64_t deadline_ns;
	struct inj_activity *activity;
	struct mark *marks; /* one per watch */
	size_t index;	    /* of the present thread */
	const struct inj_thread_stack *stack;
	size_t hits_capacity;
	bool late;
	bool out_of_memory; /* a hit was lost */
	bool hint;	    /* the present scan found something */
	size_t n_words;	    /* the conservative scan counted so many */
};

static bool in_time(struct search *search)
{
	if (!search->late && inj_now_ns() > search->deadline_ns)
		search->late = true;
	return !search->late;
}

static bool reserve_hit(struct search *search)
{
	struct inj_activity *activity = search->activity;

	if (activity->n_hits < search->hits_capacity)
		return true;
	size_t capacity = search->hits_capacity ? 2 * search->hits_capacity : 64;
	struct inj_hit *hits = reallocarray(activity->hits, capacity, sizeof(*hits));

	if (!hits) {
		search->out_of_memory = true;
		return false;
	}
	activity->hits = hits;
	search->hits_capacity = capacity;
	return true;
}

/* At most two hits per thread and watch are kept, the innermost and the outermost. */
static void add_hit(struct search *search, size_t watch, struct inj_hit hit)
{
	struct mark *mark = &search->marks[watch];
	struct inj_activity *activity = search->activity;

	hit.tid = search->stack->tid;
	hit.tag = search->filter.watches[watch].tag;
	if (mark->thread != search->index + 1)
		*mark = (struct mark){.thread = (uint32_t)(search->index + 1)};
	if (mark->n >= 2) {
		activity->hits[mark->outermost] = hit;
		return;
	}
	if (activity->n_hits == INJ_HITS_MAX) {
		if (mark->n)
			activity->hits[mark->outermost] = hit;
		return;
	}
	if (!reserve_hit(search))
		return;
	mark->n++;
	mark->outermost = activity->n_hits;
	activity->hits[activity->n_hits++] = hit;
}

static bool note_hint(void *context, inj_addr slot, uint64_t word, enum inj_word_kind kind,
		      size_t watch)
{
	struct search *search = context;

	(void)slot;
	(void)word;
	(void)kind;
	(void)watch;
	search->hint = true;
	return false;
}

static bool hint_in_piece(void *context, struct inj_bytes bytes)
{
	struct search *search = context;

	return inj_word_scan(&search->filter, bytes, note_hint, search) && in_time(search);
}

static bool count_word(void *context, inj_addr slot, uint64_t word, enum inj_word_kind kind,
		       size_t watch)
{
	struct search *search = context;

	if (kind != INJ_WORD_WATCHED)
		return true;
	/* Ends of functions are beginnings of others, to which ordinary pointers point. */
	if (word == search->filter.watches[watch].code.end &&
	    !inj_unwind_tables_follows_call(&search->walker->tables, word))
		return true;
	search->n_words++;
	add_hit(search, watch,
		(struct inj_hit){.frame = INJ_FRAME_UNKNOWN, .address = word, .slot = slot});
	return true;
}

static bool count_in_piece(void *context, struct inj_bytes bytes)
{
	struct search *search = context;

	return inj_word_scan(&search->filter, bytes, count_word, search) && in_time(search);
}

static bool scan_range(struct search *search, struct inj_range range, inj_piece_fn take)
{
	bool complete;

	inj_snapshot_pieces(search->walker, search->stack, range, take, search, &complete);
	/* Frames of ordinary code are aligned even if the innermost one is not. */
	if (range.start % 8 && complete && !search->late) {
		range.start += 8 - range.start % 8;
		inj_snapshot_pieces(search->walker, search->stack, range, take, search, &complete);
	}
	return complete;
}

/* All words that can matter on the stack the thread stands on. */
static struct inj_range live_words(const struct inj_thread_stack *stack)
{
	struct inj_range range = stack->place.live;

	if (stack->copy.n)
		range.start = stack->copy.address;
	return range;
}

/* Does a register or the pc hold something that only a walk can judge? */
static bool registers_hint(struct search *search)
{
	const struct user_regs_struct *regs = &search->stack->regs;
	const uint64_t words[] = {
		regs->rip, regs->rax, regs->rbx, regs->rcx, regs->rdx, regs->rsi,
		regs->rdi, regs->rbp, regs->r8,	 regs->r9,  regs->r10, regs->r11,
		regs->r12, regs->r13, regs->r14, regs->r15,
	};
	size_t watch;

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(words); i++)
		if (inj_word_judge(&search->filter, words[i], &watch) != INJ_WORD_NOTHING)
			return true;
	if (!search->walker->unwinder)
		return inj_known_is_odd(search->walker, regs->rip);
	return inj_unwinder_is_odd(search->walker->unwinder, regs->rip);
}

static bool is_clean(struct search *search)
{
	struct inj_range live = search->stack->place.live;

	if (!search->stack->place.home || registers_hint(search))
		return false;
	/* Large stacks hold few frames, or too many for either way. */
	if (live.end - live.start > MAX_SCANNED_FIRST)
		return false;
	search->hint = false;
	return scan_range(search, live_words(search->stack), hint_in_piece) && !search->hint &&
	       !search->late;
}

static void judge_frame(struct search *search, const struct inj_frame_state *frame)
{
	size_t watch;

	if (inj_pc_judge(&search->filter, frame->pc, frame->is_call, &watch))
		add_hit(search, watch,
			(struct inj_hit){
				.frame = frame->number,
				.address = frame->pc,
				.slot = inj_unwinder_slot(search->walker->unwinder),
				.reliable = true,
			});
}

/* ret_end: stack pointer of the outermost frame. */
static bool walk(struct search *search, inj_addr *ret_end)
{
	struct inj_unwinder *unwinder = search->walker->unwinder;

	search->walker->walking = search->stack;
	const struct inj_frame_state *frame = inj_unwinder_start(
		unwinder, &search->stack->regs, inj_snapshot_window, search->walker);
	enum inj_step step = frame ? INJ_STEP_MORE : INJ_STEP_LOST;

	while (step == INJ_STEP_MORE) {
		judge_frame(search, frame);
		if (frame->number % STEPS_PER_CLOCK == STEPS_PER_CLOCK - 1 && !in_time(search))
			return false;
		step = inj_unwinder_step(unwinder);
	}
	if (frame)
		*ret_end = frame->cfa;
	return step == INJ_STEP_END;
}

/*
 * What a finished walk says nothing about: the home stack of a thread whose frames ended elsewhere
 * (a coroutine runs, what it was started from waits at home), and what lies above the outermost
 * frame when that is not the thread's first.
 */
static struct inj_range unexplained(const struct inj_thread_stack *stack, inj_addr end)
{
	struct inj_range whole = stack->place.whole;

	if (!inj_range_has(whole, end))
		return whole;
	if (whole.end - end <= MAX_ABOVE_FIRST_FRAME)
		return (struct inj_range){0, 0};
	return (struct inj_range){end, whole.end};
}

/* A register may hold the pc of a frame that is being left or entered; an address at an entry is
 * just a pointer. */
static void count_registers(struct search *search)
{
	const struct user_regs_struct *regs = &search->stack->regs;
	const uint64_t words[] = {
		regs->rip, regs->rax, regs->rbx, regs->rcx, regs->rdx, regs->rsi,
		regs->rdi, regs->rbp, regs->r8,	 regs->r9,  regs->r10, regs->r11,
		regs->r12, regs->r13, regs->r14, regs->r15,
	};
	size_t watch;

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(words); i++)
		if (inj_word_judge(&search->filter, words[i], &watch) == INJ_WORD_WATCHED)
			count_word(search, 0, words[i], INJ_WORD_WATCHED, watch);
}

static void count_all_words(struct search *search)
{
	const struct inj_stack_place *place = &search->stack->place;

	count_registers(search);
	if (place->live.end)
		scan_range(search, live_words(search->stack), count_in_piece);
	/* Older frames may lie below the stack pointer, if a signal stack was cut out of the home
	 * stack. */
	struct inj_range below = {place->whole.start, place->whole.end};

	if (place->live.start > below.start && place->live.start < below.end)
		below.end = place->live.start;
	if (!search->late && below.start < below.end)
		scan_range(search, below, count_in_piece);
}

static void judge_thread(struct search *search)
{
	inj_addr end = 0;

	if (is_clean(search)) {
		search->activity->n_scanned++;
		return;
	}
	if (search->late)
		return;
	search->activity->n_walked++;
	search->n_words = 0;
	if (!walk(search, &end)) {
		if (search->late)
			return;
		search->activity->n_unreliable++;
		count_all_words(search);
		return;
	}
	struct inj_range rest = unexplained(search->stack, end);

	if (rest.start < rest.end)
		scan_range(search, rest, count_in_piece);
	search->activity->n_unreliable += search->n_words > 0;
}

static int refuse_late(const struct search *search, uint64_t budget_ns, struct inj_why *why)
{
	return inj_refuse(why, INJ_BLOCKED,
			  "The stacks of process %d were not checked within %llu us (%zu of %zu "
			  "threads were, the next "
			  "is %d); nothing was changed, allow a longer hold or try when its stacks "
			  "are less deep.",
			  search->walker->process->pid, (unsigned long long)(budget_ns / 1000),
			  search->index, search->walker->n_stacks,
			  search->stack ? search->stack->tid : 0);
}

static int judge_all(struct search *search, uint64_t budget_ns, struct inj_why *why)
{
	struct inj_walker *walker = search->walker;

	for (size_t i = 0; i < walker->n_stacks && in_time(search); i++) {
		search->index = i;
		search->stack = &walker->stacks[i];
		judge_thread(search);
	}
	if (search->out_of_memory)
		return inj_broke(why, -ENOMEM, "cannot list the live code of process %d",
				 walker->process->pid);
	return search->late ? refuse_late(search, budget_ns, why) : 0;
}

static int begin_search(struct search *search, struct inj_walker *walker,
			const struct inj_hold *hold, const struct inj_watch *watches,
			size_t n_watches, uint64_t budget_ns, struct inj_why *why)
{
	uint64_t now = inj_now_ns();
	int r;

	*search = (struct search){
		.walker = walker,
		.deadline_ns = budget_ns > UINT64_MAX - now ? UINT64_MAX : now + budget_ns,
	};
	r = inj_word_filter_init(&search->filter, watches, n_watches, &walker->tables, walker->own,
				 walker->n_own, walker->translate, walker->translate_context);
	if (r >= 0)
		r = inj_snapshot_take(walker, hold, INJ_STACK_CHUNK);
	return r < 0 ? inj_broke(why, r, "cannot read the stacks of process %d",
				 walker->process->pid)
		     : 0;
}

int inj_walker_find(struct inj_walker *walker, const struct inj_hold *hold,
		    const struct inj_watch *watches, size_t n_watches, uint64_t budget_ns,
		    struct inj_activity *ret, struct inj_why *why)
{
	struct inj_activity activity INJ_CLEANUP(inj_activity_deinit) = {.n_threads =
										 hold->n_threads};
	struct search *search INJ_FREE = malloc(sizeof(*search));
	struct mark *marks INJ_FREE = calloc(n_watches ? n_watches : 1, sizeof(*marks));

	if (!search || !marks)
		return inj_broke(why, -ENOMEM, "cannot look for live code in process %d",
				 walker->process->pid);
	int r = begin_search(search, walker, hold, watches, n_watches, budget_ns, why);

	search->activity = &activity;
	search->marks = marks;
	if (r == 0)
		r = judge_all(search, budget_ns, why);
	if (r)
		return r;
	*ret = activity;
	activity.hits = NULL;
	return 0;
}

int inj_walker_suspect(struct inj_walker *walker, const struct inj_hold *hold,
		       const struct inj_watch *watches, size_t n_watches, uint64_t budget_ns,
		       struct inj_thread *suspects, size_t *ret_n, struct inj_why *why)
{
	struct search *search INJ_FREE = malloc(sizeof(*search));
	size_t n = 0;

	if (!search)
		return inj_broke(why, -ENOMEM, "cannot look for live code in process %d",
				 walker->process->pid);
	int r = begin_search(search, walker, hold, watches, n_watches, budget_ns, why);

	for (size_t i = 0; r == 0 && i < walker->n_stacks && in_time(search); i++) {
		search->index = i;
		search->stack = &walker->stacks[i];
		if (!is_clean(search))
			suspects[n++] = hold->threads[i];
	}
	if (r == 0 && search->late)
		r = refuse_late(search, budget_ns, why);
	if (r == 0)
		*ret_n = n;
	return r;
}

void inj_activity_deinit(struct inj_activity *activity)
{
	free(activity->hits);
	activity->hits = NULL;
	activity->n_hits = 0;
}
