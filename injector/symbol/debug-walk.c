/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Walking debug information, and reading of its entries what is needed. The tables are foreign:
 * depth and time are bounded, and whoever walks learns when something was left out.
 */
#include <dwarf.h>

#include "injector/base/clock.h"
#include "injector/symbol/debug-priv.h"

enum {
	MAX_DEPTH = 256,
	MAX_CHAIN = 8, /* instance, definition, declaration: three are the rule */
	VISITS_PER_CLOCK = 4096,
};

/* To the next entry that is not below this one, leaving as many levels as end here. */
static bool advance(Dwarf_Die *path, size_t *depth)
{
	while (*depth > 0) {
		if (dwarf_siblingof(&path[*depth], &path[*depth]) == 0)
			return true;
		--*depth;
	}
	return false;
}

bool debug_walk_unit(Dwarf_Die *unit, struct debug_budget *budget, debug_visit_fn visit,
		     void *context)
{
	Dwarf_Die path[MAX_DEPTH];
	size_t depth = 0, n = 0;

	path[0] = *unit;
	do {
		if (++n % VISITS_PER_CLOCK == 0 && inj_now_ns() > budget->deadline_ns)
			budget->spent = true;
		if (budget->spent || !visit(context, path, depth))
			return false;
		if (depth + 1 == MAX_DEPTH)
			budget->spent |= dwarf_haschildren(&path[depth]) != 0;
		else if (dwarf_child(&path[depth], &path[depth + 1]) == 0) {
			depth++;
			continue;
		}
		if (!advance(path, &depth))
			return true;
	} while (true);
}

bool debug_entry_address(Dwarf_Die *die, Dwarf_Addr *ret)
{
	Dwarf_Addr base, end;

	if (dwarf_entrypc(die, ret) == 0)
		return true;
	return dwarf_ranges(die, 0, &base, ret, &end) > 0;
}

static bool refer(Dwarf_Die *die, unsigned attribute, Dwarf_Die *ret)
{
	Dwarf_Attribute found;

	return dwarf_attr(die, attribute, &found) && dwarf_formref_die(&found, ret);
}

void debug_origin(Dwarf_Die *die, Dwarf_Die *ret)
{
	Dwarf_Die next;

	*ret = *die;
	for (unsigned i = 0; i < MAX_CHAIN && refer(ret, DW_AT_abstract_origin, &next); i++)
		*ret = next;
}

/* An attribute of the entry, of what it is an instance of, or of what that completes. */
static bool find_attribute(Dwarf_Die *die, unsigned attribute, Dwarf_Attribute *ret)
{
	Dwarf_Die at = *die, next;

	for (unsigned i = 0; i < MAX_CHAIN; i++) {
		if (dwarf_attr(&at, attribute, ret))
			return true;
		if (!refer(&at, DW_AT_abstract_origin, &next) &&
		    !refer(&at, DW_AT_specification, &next))
			return false;
		at = next;
	}
	return false;
}

const char *debug_symbol_name(Dwarf_Die *die)
{
	Dwarf_Attribute name;

	if (!find_attribute(die, DW_AT_linkage_name, &name) &&
	    !find_attribute(die, DW_AT_MIPS_linkage_name, &name) &&
	    !find_attribute(die, DW_AT_name, &name))
		return NULL;
	return dwarf_formstring(&name);
}

bool debug_flag(Dwarf_Die *die, unsigned attribute)
{
	Dwarf_Attribute found;
	bool set = false;

	return find_attribute(die, attribute, &found) && dwarf_formflag(&found, &set) == 0 && set;
}
