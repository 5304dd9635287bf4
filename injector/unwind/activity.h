/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_UNWIND_ACTIVITY_H
#define INJ_UNWIND_ACTIVITY_H

#include "injector/stop/tracer.h"
#include "injector/symbol/module.h"

/*
 * Which code is live on which stack. A walker is prepared while the target runs (unwind tables of all modules located, file bytes at hand, symbol-free) so that during the hold only registers and
 * stack bytes are read, in bulk.
 */
struct inj_walker;

/* An unwind table of our own areas that no module covers: code range and the .eh_frame bytes for it (copied), both at their target addresses. */
struct inj_walker_table {
	struct inj_range code;
	inj_addr eh_frame;
	const uint8_t *bytes;
	size_t n_bytes;
};

/* translate: maps a pc in one of our stubs to the equivalent pc of the original code (identity elsewhere); may be NULL. */
typedef inj_addr (*inj_translate_fn)(void *context, inj_addr pc);

int inj_walker_new(const struct inj_process *process, const struct inj_maps *maps, const struct inj_modules *modules,
		   const struct inj_walker_table *tables, size_t n_tables, inj_translate_fn translate, void *context, struct inj_walker **ret, struct inj_why *why);
void inj_walker_free(struct inj_walker *walker);
INJ_DEFINE_GUARD(struct inj_walker *, inj_walker_free, inj_walker_guard)

/* Code that must not be live. */
struct inj_watch {
	struct inj_range code;
	unsigned tag;        /* the caller's number for the function it belongs to */
	bool entry_is_free;  /* a pc exactly at code.start does not count (nothing of it has run) */
};

struct inj_hit {
	pid_t tid;
	unsigned tag;
	unsigned frame;      /* 0 innermost */
	inj_addr address;    /* pc or return address found */
	inj_addr slot;       /* stack address that holds the return address; 0 for the pc itself */
	bool reliable;       /* found by walking; false: only seen by the conservative scan of an unreliable stack */
};

struct inj_activity {
	struct inj_hit *hits; /* at most INJ_HITS_MAX; outermost hit of a thread per tag is always among them */
	size_t n_hits;
	size_t n_threads;
	size_t n_scanned;     /* stacks proven clean by the scan alone */
	size_t n_walked;
	size_t n_unreliable;  /* stacks whose walk did not reach the end */
};
#define INJ_HITS_MAX 4096

/*
 * Find every activation of watched code in a held process.
 * Fast path: all stacks are copied in bulk and every word is compared with the watched ranges; a thread whose pc, registers and stack words hit nothing cannot be inside (exact, no unwinding). Only stacks with a word that hits
 * are walked with libunwind from the copy; a walk that reaches the end of the stack decides; otherwise the words decide (conservative).
 * A thread whose stack pointer is not in its home stack ([stack] or the mapping that holds its thread control block, fs base) may have its older frames elsewhere (alternate signal stack, coroutine): it is
 * always walked, and counts as unreliable unless the walk reaches an end.
 * watches: sorted by code.start by the caller, not overlapping. ret: hits malloc'ed, free with inj_activity_deinit.
 * budget_ns: give up after that (INJ_BLOCKED with the reason). State: held.
 */
int inj_walker_find(struct inj_walker *walker, const struct inj_hold *hold, const struct inj_watch *watches, size_t n_watches, uint64_t budget_ns, struct inj_activity *ret, struct inj_why *why);
void inj_activity_deinit(struct inj_activity *activity);

/* One thread's stack, for people. */
struct inj_frame {
	inj_addr pc;      /* return address for frame > 0 unless the frame below is a signal frame */
	inj_addr cfa;     /* 0 unknown */
	bool is_call;     /* pc is a return address: look up pc - 1 */
};
/* ret_reliable: the walk reached the end of the stack. max frames bound the output; the walk itself goes on to the end. State: held. */
int inj_walker_stack(struct inj_walker *walker, const struct inj_hold *hold, size_t thread_index, struct inj_frame *frames, size_t max, size_t *ret_n, bool *ret_reliable, struct inj_why *why);

/* Copy all stacks and registers of a held process into the walker so that inj_walker_stack() for these threads may run after release (for `dsuctl stacks` on a busy server: the hold costs the copy only). */
int inj_walker_snapshot(struct inj_walker *walker, const struct inj_hold *hold, uint64_t max_bytes_per_thread, struct inj_why *why);

#endif
