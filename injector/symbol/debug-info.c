/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where else the code of a function is: copies inlined into others, parts put elsewhere, other
 * functions merged with it.
 * Two passes: the first finds the entries of the functions by their addresses, the second
 * everything that says it is an instance of them. A function that other units may have compiled too
 * (external ones, inline in a header) is known there by its name; a static one only by the place of
 * its entry.
 *
 * Functions that the linker dropped keep their entries, with addresses outside of all code: they
 * hold no copies.
 */
#include <dwarf.h>
#include <string.h>

#include "injector/base/bisect.h"
#include "injector/base/clock.h"
#include "injector/symbol/debug-info.h"
#include "injector/symbol/debug-priv.h"

#define MAX_ORIGINS 65536u
#define MAX_PARTS 64u

/* An entry of which inlined copies are instances. */
struct origin {
	Dwarf_Off offset;
	size_t function;
};

/* A function that is known by its name in all units. */
struct named {
	const char *name;
	size_t function;
};

struct search {
	const struct inj_module *module;
	struct debug_view *view;
	struct debug_budget budget;
	struct inj_debug_function **functions; /* ascending by address */
	size_t n_functions;
	struct inj_debug_twin *names;
	size_t n_names;
	struct origin *origins; /* ascending once the first pass is over */
	size_t n_origins;
	struct named *named; /* likewise */
	size_t n_named;
	bool everywhere; /* copies may be in any unit */
	bool is_assembly; /* the present unit */
	bool out_of_memory;
};

static bool is_code(const struct search *search, Dwarf_Addr address)
{
	size_t n;
	const Elf64_Phdr *segments = inj_elf_segments(search->module->elf, &n);

	for (size_t i = 0; i < n; i++)
		if (segments[i].p_type == PT_LOAD && segments[i].p_flags & PF_X &&
		    address >= segments[i].p_vaddr &&
		    address - segments[i].p_vaddr < segments[i].p_memsz)
			return true;
	return false;
}

static inj_addr link_time(const struct search *search, const struct inj_debug_function *function)
{
	return function->symbol->address - search->module->bias;
}

/* Index of the first function at or above an address. */
static size_t first_from(const struct search *search, Dwarf_Addr address)
{
	return INJ_COUNT_WHILE(search->n_functions, i,
			       link_time(search, search->functions[i]) < address);
}

/* Room for one more. Return: the grown array, NULL when memory is short: the search remembers
 * it. */
static void *grow(struct search *search, void *items, size_t n, size_t bytes)
{
	void *grown = n & (n - 1) ? items : reallocarray(items, n ? 2 * n : 1, bytes);

	search->out_of_memory |= !grown;
	return grown;
}

static void add_origin(struct search *search, Dwarf_Off offset, size_t function)
{
	struct origin *grown;

	if (search->n_origins >= MAX_ORIGINS) {
		search->budget.spent = true;
		return;
	}
	grown = grow(search, search->origins, search->n_origins, sizeof(*grown));
	if (!grown)
		return;
	search->origins = grown;
	grown[search->n_origins++] = (struct origin){ offset, function };
}

static void add_named(struct search *search, const char *name, size_t function)
{
	struct named *grown = grow(search, search->named, search->n_named, sizeof(*grown));

	if (!grown)
		return;
	search->named = grown;
	grown[search->n_named++] = (struct named){ name, function };
}

/* Pieces of the function's own code that lie elsewhere. */
static void note_parts(struct search *search, Dwarf_Die *die, struct inj_debug_function *function)
{
	const inj_addr entry = link_time(search, function);
	Dwarf_Addr base, start, end;
	ptrdiff_t at = 0;

	while (function->n_parts < MAX_PARTS &&
	       (at = dwarf_ranges(die, at, &base, &start, &end)) > 0) {
		struct inj_range *grown;

		if (start >= end || (entry >= start && entry < end) || !is_code(search, start) ||
		    !is_code(search, end - 1))
			continue;
		grown = grow(search, function->parts, function->n_parts, sizeof(*grown));
		if (!grown)
			return;
		function->parts = grown;
		grown[function->n_parts++] = (struct inj_range){start + search->module->bias,
								end + search->module->bias};
	}
}

/* First pass: is this the code of one of the functions? */
static bool find_function(void *context, Dwarf_Die *path, size_t depth)
{
	struct search *search = context;
	Dwarf_Die *die = &path[depth], origin, unit;
	Dwarf_Addr entry;

	if (dwarf_tag(die) != DW_TAG_subprogram || !debug_entry_address(die, &entry))
		return !search->out_of_memory;
	debug_origin(die, &origin);
	for (size_t i = first_from(search, entry);
	     i < search->n_functions && link_time(search, search->functions[i]) == entry; i++) {
		const char *name = debug_symbol_name(die);

		search->functions[i]->knowledge = INJ_KNOWN_WHOLLY;
		note_parts(search, die, search->functions[i]);
		add_origin(search, dwarf_dieoffset(&origin), i);
		/* Link-time optimization: what was compiled apart is instantiated here, and may be
		 * anywhere. */
		if (!dwarf_diecu(&origin, &unit, NULL, NULL) ||
		    dwarf_dieoffset(&unit) != dwarf_dieoffset(&path[0]))
			search->everywhere = true;
		if (name && debug_flag(die, DW_AT_external)) {
			add_named(search, name, i);
			search->everywhere = true;
		}
	}
	return !search->out_of_memory;
}

static int by_offset(const void *a, const void *b)
{
	const struct origin *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int by_name(const void *a, const void *b)
{
	const struct named *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static void note_host(struct search *search, size_t index, Dwarf_Addr entry)
{
	struct inj_debug_function *function = search->functions[index];
	const inj_addr address = entry + search->module->bias;
	struct inj_host *grown;

	if (address == function->symbol->address)
		return;
	/* Copies in one host follow each other. */
	for (size_t i = function->n_hosts; i-- > 0;)
		if (function->hosts[i].address == address) {
			function->hosts[i].n_copies++;
			return;
		}
	if (function->n_hosts >= INJ_HOSTS_MAX) {
		function->knowledge = INJ_KNOWN_PARTLY;
		return;
	}
	grown = grow(search, function->hosts, function->n_hosts, sizeof(*grown));
	if (!grown)
		return;
	function->hosts = grown;
	grown[function->n_hosts++] = (struct inj_host){ address, 1 };
}

/* The function whose machine code an entry is part of. */
static bool find_host(const struct search *search, Dwarf_Die *path, size_t depth, Dwarf_Addr *ret)
{
	while (depth-- > 0)
		if (dwarf_tag(&path[depth]) == DW_TAG_subprogram)
			return debug_entry_address(&path[depth], ret) && is_code(search, *ret);
	return false;
}

static bool is_same(const struct origin *key, const struct search *search, size_t at)
{
	return at < search->n_origins && search->origins[at].offset == key->offset;
}

static void note_copy(struct search *search, Dwarf_Die *path, size_t depth)
{
	const struct origin *found;
	struct origin key;
	struct named wanted, *named;
	Dwarf_Die origin;
	Dwarf_Addr host;

	debug_origin(&path[depth], &origin);
	key.offset = dwarf_dieoffset(&origin);
	found = bsearch(&key, search->origins, search->n_origins, sizeof(key), by_offset);
	if (found && find_host(search, path, depth, &host)) {
		size_t at = (size_t)(found - search->origins);

		while (at > 0 && is_same(&key, search, at - 1))
			at--;
		for (; is_same(&key, search, at); at++)
			note_host(search, search->origins[at].function, host);
	}
	if (found || search->n_named == 0 || !debug_flag(&origin, DW_AT_external))
		return;
	wanted.name = debug_symbol_name(&origin);
	if (!wanted.name)
		return;
	named = bsearch(&wanted, search->named, search->n_named, sizeof(wanted), by_name);
	if (named && find_host(search, path, depth, &host))
		note_host(search, named->function, host);
}

/* Does the entry define a function of one of the names, without code that is elsewhere? */
static void note_definition(struct search *search, Dwarf_Die *die)
{
	Dwarf_Attribute attribute;
	const char *name;
	Dwarf_Addr entry;
	bool placed;

	/* In assembly two names of one code are the author's will. */
	if (search->n_names == 0 || search->is_assembly || dwarf_hasattr(die, DW_AT_declaration) ||
	    dwarf_hasattr(die, DW_AT_inline))
		return;
	name = debug_symbol_name(die);
	if (!name)
		return;
	placed = debug_entry_address(die, &entry) && is_code(search, entry);
	/* The member of a class that a definition elsewhere completes. */
	if (!placed && dwarf_attr(die, DW_AT_specification, &attribute))
		return;
	for (size_t i = 0; i < search->n_names; i++) {
		struct inj_debug_twin *asked = &search->names[i];

		if (strcmp(asked->name, name) == 0 &&
		    asked->exported == debug_flag(die, DW_AT_external) &&
		    (!placed || entry + search->module->bias == asked->address))
			asked->merged = true;
	}
}

/* Second pass. */
static bool find_instances(void *context, Dwarf_Die *path, size_t depth)
{
	struct search *search = context;
	const int tag = dwarf_tag(&path[depth]);

	if (tag == DW_TAG_inlined_subroutine)
		note_copy(search, path, depth);
	else if (tag == DW_TAG_subprogram)
		note_definition(search, &path[depth]);
	return !search->out_of_memory;
}

/* Has the unit code of any of the functions? A unit that does not say where its code is, may. */
static bool holds_any(const struct search *search, Dwarf_Die *unit)
{
	Dwarf_Addr base, start, end;
	ptrdiff_t at = 0;
	bool any = false;

	while ((at = dwarf_ranges(unit, at, &base, &start, &end)) > 0) {
		const size_t i = first_from(search, start);

		any = true;
		if (i < search->n_functions && link_time(search, search->functions[i]) < end)
			return true;
	}
	return !any;
}

static void each_unit(struct search *search, bool second)
{
	Dwarf_CU *at = NULL;
	Dwarf_Die unit;
	uint8_t type;

	while (!search->budget.spent && !search->out_of_memory) {
		const int r =
			dwarf_get_units(search->view->dwarf, at, &at, NULL, &type, &unit, NULL);

		if (r != 0) {
			search->budget.spent |= r < 0;
			return;
		}
		/* Its code is described in a file that is not here. */
		if (type == DW_UT_skeleton && holds_any(search, &unit))
			search->budget.spent = true;
		if (type == DW_UT_type || type == DW_UT_split_type)
			continue;
		if ((!second || !search->everywhere) && !holds_any(search, &unit))
			continue;
		search->is_assembly = dwarf_srclang(&unit) == DW_LANG_Mips_Assembler;
		debug_walk_unit(&unit, &search->budget, second ? find_instances : find_function,
				search);
	}
}

static int by_address(const void *a, const void *b)
{
	const struct inj_debug_function *const *x = a, *const *y = b;
	const inj_addr left = (*x)->symbol->address, right = (*y)->symbol->address;

	return left < right ? -1 : left > right;
}

static int open_view(const struct inj_modules *modules, const struct inj_module *module,
		     struct debug_view **ret)
{
	int r = debug_view_new(module->elf, ret);

	if (r == -ENOENT && inj_module_debug_elf(modules, module))
		r = debug_view_new(inj_module_debug_elf(modules, module), ret);
	return r;
}

static void search_all(struct search *search)
{
	/* Names may be defined anywhere. */
	search->everywhere = search->n_names > 0;
	each_unit(search, false);
	if (search->n_origins)
		qsort(search->origins, search->n_origins, sizeof(*search->origins), by_offset);
	if (search->n_named)
		qsort(search->named, search->n_named, sizeof(*search->named), by_name);
	if (search->n_origins || search->n_names)
		each_unit(search, true);
	for (size_t i = 0; i < search->n_functions; i++)
		if (search->budget.spent)
			search->functions[i]->knowledge = INJ_KNOWN_PARTLY;
}

int inj_debug_search(const struct inj_modules *modules, const struct inj_module *module,
		     struct inj_debug_function *functions, size_t n_functions,
		     struct inj_debug_twin *names, size_t n_names, uint64_t budget_ns,
		     enum inj_knowledge *ret_module)
{
	INJ_FREE struct inj_debug_function **sorted = calloc(n_functions + 1, sizeof(*sorted));
	INJ_CLEANUP(debug_view_guard) struct debug_view *view = NULL;
	int r = sorted ? open_view(modules, module, &view) : -ENOMEM;

	*ret_module = r == 0 ? INJ_KNOWN_WHOLLY :
		      r == -EFBIG || r == -EBADMSG ? INJ_KNOWN_PARTLY : INJ_KNOWN_NOT;
	for (size_t i = 0; i < n_functions; i++)
		functions[i].knowledge = r == 0 ? INJ_KNOWN_NOT : *ret_module;
	if (r < 0)
		return r == -ENOMEM ? r : 0;
	for (size_t i = 0; i < n_functions; i++)
		sorted[i] = &functions[i];
	qsort(sorted, n_functions, sizeof(*sorted), by_address);
	struct search search = {
		.module = module, .view = view, .functions = sorted, .n_functions = n_functions,
		.names = names, .n_names = n_names,
		.budget = { .deadline_ns = inj_now_ns() + budget_ns },
	};
	search_all(&search);
	if (search.budget.spent)
		*ret_module = INJ_KNOWN_PARTLY;
	free(search.origins);
	free(search.named);
	return search.out_of_memory ? -ENOMEM : 0;
}

void inj_debug_functions_deinit(struct inj_debug_function *functions, size_t n_functions)
{
	for (size_t i = 0; i < n_functions; i++) {
		free(functions[i].hosts);
		free(functions[i].parts);
	}
}

static bool section_says(const struct inj_elf_section *section, const char *word)
{
	return section && section->bytes &&
	       memmem(section->bytes, section->size, word, strlen(word));
}

bool inj_module_may_be_folded(const struct inj_module *module)
{
	const struct inj_elf_section *comment = inj_elf_section_named(module->elf, ".comment");

	return inj_elf_section_named(module->elf, ".note.gnu.gold-version") ||
	       section_says(comment, "LLD") || section_says(comment, "mold ");
}
