/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_UNWIND_STACK_PLACE_H
#define INJ_UNWIND_STACK_PLACE_H

#include "injector/process/maps.h"

/* What is known of a target's memory for telling stacks apart. */
struct inj_stack_map {
	struct inj_range *mappings; /* all, ascending */
	bool *anonymous;	    /* of the mappings: what is not there reads as zero */
	size_t n_mappings;
	/* [stack], up to where the first frame was; the start is that of when it was read. */
	struct inj_range main;
	inj_addr main_floor; /* end of the mapping below: [stack] may have grown so far since */
	size_t n_threads;    /* when it was read; 0 unknown */
};

/* The stack on which a thread stands. */
struct inj_stack_place {
	/* From the stack pointer to the end of what can hold frames; empty: unknown memory. */
	struct inj_range live;
	/* live holds all frames of the thread, unless a signal moved it. */
	bool home;
	/* The thread's home stack, frames or not; empty when it has none. */
	struct inj_range whole;
};

/*
 * maps: copied from. ret: by value, free with inj_stack_map_deinit() also after a failure.
 * State: running or held; /proc/PID/stat is read.
 * Errors: -ENOMEM, other negative errno.
 * Source: proc(5), fields 20 (num_threads) and 28 (startstack).
 */
int inj_stack_map_init(struct inj_stack_map *ret, const struct inj_process *process,
		       const struct inj_maps *maps);
void inj_stack_map_deinit(struct inj_stack_map *map);

/*
 * Tell on which stack a thread stands. The stack of the main thread is [stack]; that of any other
 * ends below its thread control block, to which fs points and which the C library puts at the top.
 * is_main: tid equals pid.
 * Return: false when the stack pointer is in no known mapping; ret->live is empty then.
 * Source: psABI 3.4.1 (process stack), 3.4.2 (thread pointer); ELF TLS, variant II.
 */
bool inj_stack_place(const struct inj_stack_map *map, bool is_main, inj_addr rsp, inj_addr fs_base,
		     struct inj_stack_place *ret);

/* Is all of the range in one anonymous private mapping? */
bool inj_stack_map_anonymous(const struct inj_stack_map *map, struct inj_range range);

/* The mapping that holds an address, empty if none does. */
struct inj_range inj_stack_map_at(const struct inj_stack_map *map, inj_addr address);

#endif
