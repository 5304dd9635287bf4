/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_UNWIND_UNWIND_H
#define INJ_UNWIND_UNWIND_H

#include <sys/user.h>

#include "injector/unwind/unwind-tables.h"

/*
 * Give the walk a window of target memory: at least [address, address + 8), valid until the next
 * call.
 * Return: true; false when the memory is not to be had.
 */
typedef bool (*inj_window_fn)(void *context, inj_addr address, struct inj_bytes *ret);

/* One walk at a time; rules once found are remembered for all walks. */
struct inj_unwinder;

/* Where a walk stands. */
struct inj_frame_state {
	inj_addr pc;	 /* translated */
	inj_addr cfa;	 /* stack pointer of this frame as its callee left it */
	bool is_call;	 /* pc is a return address */
	unsigned number; /* 0 innermost */
};

enum inj_step {
	INJ_STEP_MORE, /* the state is that of the caller now */
	INJ_STEP_END,  /* the outermost frame was left: the walk is reliable */
	INJ_STEP_LOST, /* no rule, bad memory, stack that does not grow, too many frames */
};

/*
 * tables: borrowed, must outlive the unwinder. translate: see activity.h, may be NULL.
 * State: any.
 * Errors: -ENOMEM.
 * Source: libunwind-dynamic(3), unw_create_addr_space(3).
 */
int inj_unwinder_new(const struct inj_unwind_tables *tables, inj_translate_fn translate,
		     void *translate_context, struct inj_unwinder **ret);
void inj_unwinder_free(struct inj_unwinder *unwinder);

/*
 * Begin a walk. regs: copied. window, context: used until the next start.
 * Return: the state, owned by the unwinder and changed by each step. NULL when libunwind refuses
 * the registers.
 */
const struct inj_frame_state *inj_unwinder_start(struct inj_unwinder *unwinder,
						 const struct user_regs_struct *regs,
						 inj_window_fn window, void *context);

/* Go to the caller. After anything but INJ_STEP_MORE the walk is over, the state the last one. */
enum inj_step inj_unwinder_step(struct inj_unwinder *unwinder);

/* Stack address from which the present pc was read; 0 for one that was in a register. */
inj_addr inj_unwinder_slot(struct inj_unwinder *unwinder);

/*
 * May code at this pc have taken the place of its caller's pc away from the stack (setcontext,
 * longjmp), or does it return from a signal handler? Then the words of the stack do not tell where
 * the thread is.
 */
bool inj_unwinder_is_odd(struct inj_unwinder *unwinder, inj_addr pc);

#endif
