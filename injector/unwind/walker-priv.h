/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_UNWIND_WALKER_PRIV_H
#define INJ_UNWIND_WALKER_PRIV_H

#include "injector/unwind/activity.h"
#include "injector/unwind/known.h"
#include "injector/unwind/stack-place.h"
#include "injector/unwind/unwind.h"

#define INJ_RED_ZONE	 128	    /* psABI 3.2.2 */
#define INJ_STACK_CHUNK	 (16 << 10) /* copied of each stack at first */
#define INJ_STACK_COPIES (64 << 20) /* all first copies together */
#define INJ_STACK_PIECE	 (1 << 20)  /* what follows is read in pieces of this */
#define INJ_STACK_WINDOW (64 << 10)

/* One thread: where it stands and the copy of the stack's innermost part. */
struct inj_thread_stack {
	pid_t tid;
	struct user_regs_struct regs;
	struct inj_stack_place place;
	struct inj_bytes copy;	/* from rsp less the red zone; n 0: nothing could be read */
	struct inj_bytes older; /* outermost part of the home stack of one who is not there,
				   owned */
};

struct inj_walker {
	const struct inj_process *process;
	struct inj_unwind_tables tables;
	struct inj_unwinder *unwinder; /* NULL in a sieve, which has instead: */
	struct inj_known *known;       /* ascending, not overlapping */
	size_t n_known;
	struct inj_stack_map map;
	struct inj_range *own; /* code of our areas */
	size_t n_own;
	inj_translate_fn translate;
	void *translate_context;
	/* The present snapshot. */
	struct inj_thread_stack *stacks;
	size_t n_stacks;
	uint8_t *copies;
	size_t copies_bytes;
	/* Scratch, allocated once: */
	uint8_t *piece;		    /* INJ_STACK_PIECE */
	uint8_t *window;	    /* INJ_STACK_WINDOW */
	struct inj_range window_at; /* what the window held last */
	bool kept;		    /* the stacks are those of inj_walker_snapshot() */
	bool offline;		    /* the copy is all there is: the target may run */
	const struct inj_thread_stack *walking;
};

/*
 * Have room, already touched, for what the copies of so many ordinary stacks take.
 * State: any.
 * Errors: -ENOMEM.
 */
int inj_snapshot_prepare(struct inj_walker *walker, size_t n_threads);

/*
 * Place all threads of a held process and copy the tops of their stacks with few system calls.
 * chunk_bytes: at most so much of each stack.
 * State: held.
 * Return: 0; a stack that cannot be read has an empty copy and is not home.
 * Errors: -ENOMEM, -ESRCH, other negative errno.
 */
int inj_snapshot_take(struct inj_walker *walker, const struct inj_hold *hold, size_t chunk_bytes);

/*
 * Copy, for threads that are not on their home stack, the outermost part of that too. Best effort.
 * State: held.
 * Errors: -ENOMEM.
 */
int inj_snapshot_add_homes(struct inj_walker *walker, size_t most_bytes);

/* Forget all copies. State: any. */
void inj_snapshot_clear(struct inj_walker *walker);

/* Free everything but the walker itself, whatever of it is there. */
void inj_walker_deinit(struct inj_walker *walker);

/* Is the function at a pc odd, or not known? For a walker without an unwinder. */
bool inj_known_is_odd(const struct inj_walker *walker, inj_addr pc);

/* See inj_sieve_suspect(). */
int inj_walker_suspect(struct inj_walker *walker, const struct inj_hold *hold,
		       const struct inj_watch *watches, size_t n_watches, uint64_t budget_ns,
		       struct inj_thread *suspects, size_t *ret_n, struct inj_why *why);

/* inj_window_fn over the copy of `walking` and, unless offline, the target. context: the walker. */
bool inj_snapshot_window(void *context, inj_addr address, struct inj_bytes *ret);

/* Return: go on. */
typedef bool (*inj_piece_fn)(void *context, struct inj_bytes bytes);

/*
 * Hand all bytes of a range to a callback, in ascending pieces of at most INJ_STACK_PIECE, the
 * thread's copy first where it begins the range. Pages that never held anything are left out.
 * ret_complete: false when memory ended before the range did.
 * State: held.
 * Return: false when the callback stopped it.
 */
bool inj_snapshot_pieces(struct inj_walker *walker, const struct inj_thread_stack *stack,
			 struct inj_range range, inj_piece_fn take, void *context,
			 bool *ret_complete);

#endif
