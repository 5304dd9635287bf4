/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_SYMBOL_DEBUG_PRIV_H
#define INJ_SYMBOL_DEBUG_PRIV_H

#include <elfutils/libdw.h>

#include "injector/elf/elf.h"

/* debug-view.c: the debug information of one file. */
struct debug_view {
	uint8_t *image; /* a file made for libdw */
	Elf *elf;
	Dwarf *dwarf;
};

/*
 * elf: the file with the sections, may be closed afterwards. ret: free with debug_view_free().
 * Errors: -ENOENT (it has none, or packed in a way we do not know), -EBADMSG, -EFBIG, -ENOMEM.
 */
int debug_view_new(const struct inj_elf *elf, struct debug_view **ret);
void debug_view_free(struct debug_view *view);
INJ_DEFINE_GUARD(struct debug_view *, debug_view_free, debug_view_guard)

/* Called for an entry with all entries around it: path[depth] is the entry, path[0] the unit.
 * Return: go on. */
typedef bool (*debug_visit_fn)(void *context, Dwarf_Die *path, size_t depth);

/* debug-walk.c: what is left to spend on walking. */
struct debug_budget {
	uint64_t deadline_ns;
	bool spent; /* something was left out */
};

/* Every entry of a unit, outer ones first. Return: false when the callback stopped it or the budget
 * is spent. */
bool debug_walk_unit(Dwarf_Die *unit, struct debug_budget *budget, debug_visit_fn visit,
		     void *context);

/* Link-time address of the first instruction of what an entry describes. Return: it has one. */
bool debug_entry_address(Dwarf_Die *die, Dwarf_Addr *ret);

/* The name that the linker knows: mangled where there is one. NULL when there is none. */
const char *debug_symbol_name(Dwarf_Die *die);

/* The entry that this one is an instance of; itself when it is none. */
void debug_origin(Dwarf_Die *die, Dwarf_Die *ret);

/* Has it the flag, itself or through its origin? */
bool debug_flag(Dwarf_Die *die, unsigned attribute);

#endif
