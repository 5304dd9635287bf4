/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_PROCESS_MAPS_H
#define INJ_PROCESS_MAPS_H

#include "injector/base/cleanup.h"
#include "injector/process/process.h"

struct inj_map {
	struct inj_range range;
	uint64_t offset;
	unsigned prot;      /* PROT_* */
	bool shared;
	uint32_t dev_major;
	uint32_t dev_minor;
	uint64_t inode;
	const char *name;   /* raw path as the kernel prints it, "" if none; not printable;
			     * lives in the maps */
};

/* All mappings, ascending, never overlapping. */
struct inj_maps {
	struct inj_map *items;
	size_t n_items;
	char *text; /* owns the names */
};

/*
 * Parse the text of /proc/PID/maps. Pure.
 * text: malloc'ed, length bytes, need not end in NUL; taken over in every case.
 * ret: new object, free with inj_maps_free().
 * State: none.
 * Return: 0; an empty text gives an empty list.
 * Errors: -EBADMSG (anything the kernel does not print, overlaps included); -ENOMEM.
 * Source: proc(5), show_map_vma() of the kernel (octal escapes \012 \134 kept as they are).
 */
int inj_maps_parse(char *text, size_t length, struct inj_maps **ret);

/*
 * Read and parse.
 * ret: new object, free with inj_maps_free().
 * State: running or held. The list of a running target is one that could have been; it is read
 *   again when the target changed it in the midst of a reading.
 * Return: 0.
 * Errors: INJ_PROCESS_GONE (also for a process whose memory is gone: a zombie); negative errno.
 * Source: proc(5).
 */
int inj_maps_read(const struct inj_process *process, struct inj_maps **ret, struct inj_why *why);

/*
 * Free a list with its text.
 * maps: NULL is fine. State: any. Return: nothing. Errors: none. Source: none.
 */
void inj_maps_free(struct inj_maps *maps);
INJ_DEFINE_GUARD(struct inj_maps *, inj_maps_free, inj_maps_guard)

/*
 * Find the mapping that contains an address, in O(log n).
 * address: any. State: as the maps were read. Return: the mapping, NULL when there is none;
 * it lives in maps. Errors: none. Source: none.
 */
const struct inj_map *inj_maps_find(const struct inj_maps *maps, inj_addr address);

/*
 * Find room every byte of which is within +-2 GiB (less 1 MiB of slack) of every byte of `near`.
 * Below `near` is preferred to above (there [heap] grows), and close to far. A guard page stays
 * free on both sides, holes inside a module are left alone, and so are the 64 MiB into which
 * [heap] and [stack] grow, unless there is room nowhere else.
 * near: one or more modules; bytes: multiple of the page size, not 0; skip: ranges planned but
 *   not mapped yet, n_skip of them in any order, may be NULL; ret: page aligned.
 * State: as the maps were read.
 * Return: 0.
 * Errors: -ENOMEM (no room, or no memory of ours to look for it); -EINVAL (sizes).
 * Source: psABI x86-64, small code model; mmap(2).
 */
int inj_maps_gap(const struct inj_maps *maps, struct inj_range near, size_t bytes,
		 const struct inj_range *skip, size_t n_skip, inj_addr *ret);

/*
 * Find room below 2 GiB (an address that fits a sign-extended 32-bit displacement) and above
 * 1 MiB, searched from the top. Everything else as for inj_maps_gap().
 */
int inj_maps_gap_low(const struct inj_maps *maps, size_t bytes, const struct inj_range *skip,
		     size_t n_skip, inj_addr *ret);

#endif
