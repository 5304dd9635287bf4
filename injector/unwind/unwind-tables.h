/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_UNWIND_UNWIND_TABLES_H
#define INJ_UNWIND_UNWIND_TABLES_H

#include "injector/unwind/activity.h"
#include "injector/unwind/cfi.h"

struct inj_fde_entry {
	inj_addr code;
	inj_addr fde;
};

/* The unwind table of one module or of one of our own areas. */
struct inj_unwind_table {
	struct inj_range code;
	struct inj_constant frames; /* .eh_frame */
	struct inj_constant search; /* .eh_frame_hdr, when n_search is not 0 */
	size_t n_search;
	struct inj_fde_entry *index; /* else: own search table, owned, ascending */
	size_t n_index;
};

/* Everything about the target's code that a walk may need, located before the target is held. */
struct inj_unwind_tables {
	struct inj_unwind_table *items; /* ascending by code.start */
	size_t n_items;
	struct inj_constant *areas; /* read-only segments and our tables, ascending */
	size_t n_areas;
	struct inj_range *code; /* executable mappings, ascending */
	size_t n_code;
	struct inj_range *trampolines; /* code that returns from signal handlers */
	size_t n_trampolines;
};

/*
 * Locate the tables of all modules and of our own areas.
 * maps: copied from; modules: their ELF views must outlive ret; own: bytes borrowed for as long.
 * ret: by value, free with inj_unwind_tables_deinit() also after a failure.
 * State: running or held; nothing of the target is read.
 * Return: 0. A module without usable table is simply not covered.
 * Errors: -ENOMEM.
 * Source: LSB Core 10.6, ".eh_frame_hdr".
 */
int inj_unwind_tables_init(struct inj_unwind_tables *ret, const struct inj_maps *maps,
			   const struct inj_modules *modules, const struct inj_walker_table *own,
			   size_t n_own);
void inj_unwind_tables_deinit(struct inj_unwind_tables *tables);

/*
 * Find the entry that covers a pc.
 * ret_frames: the table it stands in.
 * State: any.
 * Return: 0.
 * Errors: -ENOENT (nothing covers it), -EBADMSG (its entry is malformed).
 * Source: as above.
 */
int inj_unwind_tables_find(const struct inj_unwind_tables *tables, inj_addr pc, struct inj_cfi *ret,
			   const struct inj_constant **ret_frames);

/*
 * Unchanging bytes from an address on, at most to the end of its page and a word; empty when none
 * are known.
 * State: any.
 */
struct inj_bytes inj_unwind_tables_bytes(const struct inj_unwind_tables *tables, inj_addr address);

/* Is the address inside a signal trampoline? State: any. */
bool inj_unwind_tables_trampoline(const struct inj_unwind_tables *tables, inj_addr address);

/* Is the address in an executable mapping? State: any. */
bool inj_unwind_tables_code(const struct inj_unwind_tables *tables, inj_addr address);

/*
 * Can the address be a return address, that is: may the bytes before it be a call instruction? True
 * also when the bytes are not known.
 * State: any.
 * Source: Intel SDM volume 2, CALL.
 */
bool inj_unwind_tables_follows_call(const struct inj_unwind_tables *tables, inj_addr address);

#endif
