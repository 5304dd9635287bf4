/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads the loader's list of objects (struct r_debug and struct link_map of <link.h>) from the
 * target's memory, for the order in which the dynamic linker searches them and for the addresses of
 * its entries. The list belongs to the target: it may be cyclic, endless, or change while it is
 * read. Always holds: a bounded number of steps; an entry counts only if its dynamic section lies
 * inside a module that was found without the loader's help. No list is no error.
 */
#include <link.h>
#include <string.h>

#include "injector/process/mem.h"
#include "injector/symbol/symbol-priv.h"

/* Address of struct r_debug by the loader's own exported variable. */
static inj_addr find_debug_variable(const struct own_modules *modules, inj_addr loader_base)
{
	const struct inj_module *loader = inj_modules_at(&modules->public, loader_base);
	struct inj_symbol symbol;

	if (!loader || !symtab_find_exported(loader, "_r_debug", NULL, &symbol))
		return 0;
	return symbol.address;
}

/* By DT_DEBUG of any module: the loader stores it in the main program's dynamic section. */
static inj_addr find_debug_entry(const struct own_modules *modules)
{
	for (size_t i = 0; i < modules->public.n_items; i++) {
		const struct inj_module *module = &modules->by_address[i]->public;
		size_t n;
		const Elf64_Phdr *segments = inj_elf_segments(module->elf, &n);
		uint64_t ignored;

		if (!inj_elf_dynamic(module->elf, DT_DEBUG, &ignored))
			continue;
		for (size_t k = 0; k < n; k++) {
			Elf64_Dyn entries[256];
			size_t bytes = segments[k].p_filesz;

			if (segments[k].p_type != PT_DYNAMIC)
				continue;
			if (bytes > sizeof(entries))
				bytes = sizeof(entries);
			if (inj_mem_read(modules->public.process,
					 module->bias + segments[k].p_vaddr, entries, bytes) < 0)
				continue;
			for (size_t e = 0; e < bytes / sizeof(*entries); e++)
				if (entries[e].d_tag == DT_DEBUG && entries[e].d_un.d_ptr)
					return entries[e].d_un.d_ptr;
		}
	}
	return 0;
}

/* Give every listed module its place and its link_map. */
void link_map_order(struct own_modules *modules, inj_addr loader_base)
{
	const struct inj_process *process = modules->public.process;
	inj_addr at = find_debug_variable(modules, loader_base);
	struct r_debug debug;
	struct link_map entry;

	if (!at)
		at = find_debug_entry(modules);
	if (!at || inj_mem_read(process, at, &debug, sizeof(debug)) < 0)
		return;
	at = (uintptr_t)debug.r_map;
	/* Entries for modules that could not be read count too, hence the slack. */
	for (size_t i = 0; at && i < modules->public.n_items + modules->n_lost + 64; i++) {
		if (inj_mem_read(process, at, &entry, sizeof(entry)) < 0)
			return;
		const struct inj_module *module =
			inj_modules_at(&modules->public, (uintptr_t)entry.l_ld);

		if (module && own_module(module)->order == SIZE_MAX) {
			own_module(module)->order = i;
			own_module(module)->link_map = at;
		}
		at = (uintptr_t)entry.l_next;
	}
}
