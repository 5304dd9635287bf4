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
	const char *name;   /* raw path as the kernel prints it ("" if none), not printable; lives in the maps */
};

/* All mappings, ascending, never overlapping. */
struct inj_maps {
	struct inj_map *items;
	size_t n_items;
	char *text; /* owns the names */
};

/*
 * Parse the text of /proc/PID/maps. text: taken over in every case. Pure; hostile input is refused with -EBADMSG.
 * Source: proc(5), show_map_vma() of the kernel (octal escapes \012 \134 kept as they are).
 */
int inj_maps_parse(char *text, size_t length, struct inj_maps **ret);
/* Read and parse. State: running or held. */
int inj_maps_read(const struct inj_process *process, struct inj_maps **ret, struct inj_why *why);
void inj_maps_free(struct inj_maps *maps);
INJ_DEFINE_GUARD(struct inj_maps *, inj_maps_free, inj_maps_guard)

/* Mapping that contains the address, or NULL. O(log n). */
const struct inj_map *inj_maps_find(const struct inj_maps *maps, inj_addr address);

/*
 * Find room: `bytes` (page multiple) free and page aligned, every byte of which is within +-2 GiB (less 1 MiB of slack)
 * of every byte of `near`; pass near = {0, 2 GiB} semantics through inj_maps_gap_low() instead for the low area.
 * Keeps a guard page free on both sides, stays away (64 MiB) from the growth of [heap] and [stack] where it can.
 * skip: ranges planned but not mapped yet, may be NULL. Return: 0, or -ENOMEM.
 */
int inj_maps_gap(const struct inj_maps *maps, struct inj_range near, size_t bytes,
		 const struct inj_range *skip, size_t n_skip, inj_addr *ret);
/* Room below 2 GiB (an address that fits a sign-extended 32-bit displacement), above 1 MiB, searched from the top. */
int inj_maps_gap_low(const struct inj_maps *maps, size_t bytes,
		     const struct inj_range *skip, size_t n_skip, inj_addr *ret);

#endif
