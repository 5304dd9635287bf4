/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_UNWIND_ACTIVITY_H
#define INJ_UNWIND_ACTIVITY_H

#include "injector/stop/tracer.h"
#include "injector/symbol/module.h"

/*
 * Which code is live on which stack. A walker is prepared while the target runs (unwind tables of
 * all modules located, file bytes at hand, symbol-free) so that during the hold only registers and
 * stack bytes are read, in bulk.
 */
struct inj_walker;

/*
 * What libunwind does once in a process, pipes among it. For a process that will not be allowed to
 * any more.
 * State: any.
 */
void inj_walker_get_ready(void);

/*
 * An area of our own that no module covers: its code range and the .eh_frame bytes for it, both at
 * their target addresses. bytes may be NULL (code that cannot be walked); the area must be listed
 * all the same, for words that point into it are translated.
 */
struct inj_walker_table {
	struct inj_range code;
	inj_addr eh_frame;
	const uint8_t *bytes; /* borrowed by the walker as long as it lives */
	size_t n_bytes;
};

/* Maps a pc in one of our stubs to the equivalent pc of the original code, any other to itself. */
typedef inj_addr (*inj_translate_fn)(void *context, inj_addr pc);

/*
 * Prepare walking the stacks of a process.
 * process, modules: borrowed, must outlive the walker; maps: copied from;
 * tables: array copied from, bytes borrowed;
 * translate, context: used by all other functions of the walker, translate may be NULL;
 * ret: free with inj_walker_free().
 * State: running or held. See inj_walker_warm() for reading ahead.
 * Return: 0.
 * Errors: -ENOMEM; -ESRCH (gone); other negative errno.
 * Source: LSB Core 10.6; proc(5).
 */
int inj_walker_new(const struct inj_process *process, const struct inj_maps *maps,
		   const struct inj_modules *modules, const struct inj_walker_table *tables,
		   size_t n_tables, inj_translate_fn translate, void *context,
		   struct inj_walker **ret, struct inj_why *why);
void inj_walker_free(struct inj_walker *walker);
INJ_DEFINE_GUARD(struct inj_walker *, inj_walker_free, inj_walker_guard)

/* Code that must not be live. */
struct inj_watch {
	struct inj_range code;
	unsigned tag;	    /* the caller's number for the function it belongs to */
	bool entry_is_free; /* a pc exactly at code.start does not count (nothing of it has run) */
};

#define INJ_FRAME_UNKNOWN (~0u)

struct inj_hit {
	pid_t tid;
	unsigned tag;
	unsigned frame;	  /* 0 innermost; INJ_FRAME_UNKNOWN when only a scan saw it */
	inj_addr address; /* pc or return address found, translated if it was walked to */
	inj_addr slot;	  /* where on the stack it was; 0 for the pc itself and for a register */
	bool reliable; /* found by walking; false: only seen by the conservative scan of an
			  unreliable stack */
};

struct inj_activity {
	struct inj_hit *hits; /* at most INJ_HITS_MAX; per thread and watch the innermost and the
				 outermost */
	size_t n_hits;
	size_t n_threads;
	size_t n_scanned; /* stacks proven clean by the scan alone */
	size_t n_walked;
	size_t n_unreliable; /* stacks of which words had to decide: the walk did not reach the end,
				or not at home */
};
#define INJ_HITS_MAX 4096

/*
 * Find every activation of watched code in a held process.
 * Fast path: all stacks are copied in bulk and every word is compared with the watched ranges; a
 * thread on its home stack whose pc, registers and stack words hit nothing cannot be inside (exact,
 * no unwinding). Only other stacks are walked with libunwind from the copy; a walk that reaches the
 * end of the stack decides; otherwise the words decide (conservative). A thread whose stack pointer
 * is not in its home stack ([stack] for the main thread, for any other what lies below its thread
 * control block) may have its older frames elsewhere (alternate signal stack, coroutine): it is
 * always walked, and unless the walk ends at home the words of its home stack count too.
 * Stacks of coroutines that no thread is running are not looked for.
 * watches: sorted by code.start, not overlapping;
 * budget_ns: give up after that;
 * ret: untouched on failure, free with inj_activity_deinit().
 * State: held.
 * Return: 0, whether there are hits or not.
 * Errors: INJ_BLOCKED (budget used up; the text says at which thread); -EINVAL (watches not
 *   sorted); -ESRCH, -ENOMEM, other negative errno.
 * Source: psABI 3.2, 3.4; DWARF 4, 6.4.
 */
int inj_walker_find(struct inj_walker *walker, const struct inj_hold *hold,
		    const struct inj_watch *watches, size_t n_watches, uint64_t budget_ns,
		    struct inj_activity *ret, struct inj_why *why);
void inj_activity_deinit(struct inj_activity *activity);

/* One thread's stack, for people. */
struct inj_frame {
	inj_addr pc;  /* translated; return address for frame > 0 unless the frame below is a signal
			 frame */
	inj_addr cfa; /* stack pointer of the frame as its callee left it */
	bool is_call; /* pc is a return address: look up pc - 1 */
};

/*
 * Walk one stack.
 * hold: the present one, or a copy of the one of which inj_walker_snapshot() was last made: a
 *   thread with the tid and the registers of that snapshot is walked from it and nothing is read;
 * thread_index: in hold; frames, max: bound the output, the walk itself goes on to the end;
 * ret_reliable: it reached the end of the stack.
 * State: held; any for threads of the snapshot. Walking any other thread ends the snapshot.
 * Return: 0.
 * Errors: -EINVAL (no such thread); -ESRCH, -ENOMEM, other negative errno.
 * Source: as above.
 */
int inj_walker_stack(struct inj_walker *walker, const struct inj_hold *hold, size_t thread_index,
		     struct inj_frame *frames, size_t max, size_t *ret_n, bool *ret_reliable,
		     struct inj_why *why);

/*
 * May an exception be caught, or stop for a cleanup, in the function that a return address leads
 * to?
 * pc: return address.
 * State: any.
 * Return: false only where the tables say that there is neither; true where nothing is known.
 * Errors: none.
 * Source: LSB Core 10.6, augmentation letter L.
 */
bool inj_walker_handles_exceptions(const struct inj_walker *walker, inj_addr pc);

/*
 * Copy all stacks and registers of a held process into the walker so that inj_walker_stack() may
 * run after release (for `dsuctl stacks` on a busy server: the hold costs the copy only).
 * max_bytes_per_thread: less is copied when all together would pass 64 MiB. What is not copied
 *   cannot be walked: the walk then ends early and is not reliable.
 * State: held.
 * Return: 0. The snapshot lasts until the next call of inj_walker_find().
 * Errors: -ESRCH, -ENOMEM, other negative errno.
 * Source: process_vm_readv(2).
 */
int inj_walker_snapshot(struct inj_walker *walker, const struct inj_hold *hold,
			uint64_t max_bytes_per_thread, struct inj_why *why);

#endif
