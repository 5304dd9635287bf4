/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Replacing a function that its library chooses at run time (an IFUNC): what gets the redirect is
 * the implementation that the target's loader has bound, since calls go there without asking
 * anybody. Where no symbol names it (stripped files), its unwind table tells its size.
 *
 * Refuses what was not chosen yet, what the kernel implements, and code that other IFUNCs were
 * bound to as well: a replacement of memcpy that answers for memmove, too, would not be what its
 *   author meant.
 */
#include "injector/unwind/unwind-tables.h"
#include "protocols/plan.h"

static int refuse_unbound(const struct upd_subject *subject, const struct upd_change *change,
			  struct inj_why *why)
{
	return inj_refuse(why, INJ_NO_SUCH_SYMBOL,
			  "%s of %s is chosen at run time (IFUNC), and process %d has not chosen "
			  "an implementation, as nothing called it yet. Name the implementation "
			  "itself in the patch, try again after the first call, or start the "
			  "program with LD_BIND_NOW=1.",
			  change->wanted->name, change->symbol.module->name, subject->pid);
}

static int refuse_shared(const struct upd_subject *subject, const struct upd_change *change,
			 const struct inj_symbol *implementation, const struct inj_symbol *other,
			 struct inj_why *why)
{
	return inj_refuse(why, INJ_AMBIGUOUS_SYMBOL,
			  "%s of %s is chosen at run time (IFUNC), and process %d uses the same "
			  "code, %s at 0x%llx, for %s, which would change with it. If both are "
			  "meant, replace that code by its own name.",
			  change->wanted->name, change->symbol.module->name, subject->pid,
			  implementation->name, (unsigned long long)implementation->address,
			  other->name ? other->name : "another one");
}

/* The function as its unwind table knows it, by the name that the patch gives it. */
static int describe(const struct upd_subject *subject, const struct upd_change *change,
		    inj_addr address, struct inj_symbol *ret, struct inj_why *why)
{
	INJ_CLEANUP(inj_unwind_tables_deinit) struct inj_unwind_tables tables = {};
	const struct inj_constant *frames;
	struct inj_cfi cfi;
	int r = inj_unwind_tables_init(&tables, subject->maps, subject->modules, NULL, 0);

	if (r < 0)
		return inj_broke(why, r, "looking for the implementation of %s",
				 change->wanted->name);
	if (inj_unwind_tables_find(&tables, address, &cfi, &frames) < 0 ||
	    cfi.code.start != address)
		return inj_refuse(why, INJ_NO_SUCH_SYMBOL,
				  "%s of %s is chosen at run time (IFUNC), and the implementation "
				  "at 0x%llx that process %d uses has no symbol and no unwind "
				  "table, so its size is unknown. Install the debug symbols of %s.",
				  change->wanted->name, change->symbol.module->name,
				  (unsigned long long)address, subject->pid,
				  change->symbol.module->name);
	*ret = (struct inj_symbol){
		.address = address, .size = cfi.code.end - address, .type = STT_FUNC,
		.binding = STB_LOCAL, .name = change->wanted->name, .module = change->symbol.module,
	};
	return 0;
}

int upd_plan_follow_ifunc(const struct upd_subject *subject, struct upd_plan *plan,
			  struct upd_change *change, struct inj_why *why)
{
	struct inj_symbol implementation, other;
	const struct inj_module *module;
	inj_addr address;
	int r = 0;

	if (change->symbol.type != STT_GNU_IFUNC)
		return 0;
	if (inj_resolve_ifunc_bound(subject->modules, &change->symbol, &address) != 0)
		return refuse_unbound(subject, change, why);
	module = inj_modules_at(subject->modules, address);
	if (module && module->kind == INJ_MODULE_VDSO)
		return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
				  "%s of %s is answered by the kernel's own code (vDSO) in process "
				  "%d, which cannot be changed. Replace its callers.",
				  change->wanted->name, change->symbol.module->name, subject->pid);
	if (!inj_symbol_at(subject->modules, address, &implementation) ||
	    implementation.address != address || implementation.size == 0)
		r = describe(subject, change, address, &implementation, why);
	if (r != 0)
		return r;
	if (inj_resolve_ifunc_shared(subject->modules, &change->symbol, address, &other))
		return refuse_shared(subject, change, &implementation, &other, why);
	upd_plan_note(plan,
		      "%s is chosen at run time (IFUNC); what changes is what process %d uses: %s "
		      "at 0x%llx",
		      change->wanted->name, subject->pid, implementation.name,
		      (unsigned long long)address);
	change->symbol = implementation;
	return 0;
}
