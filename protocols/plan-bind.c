/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the undefined symbols of a patch mean in the target: first in the modules it patches, static
 * symbols included, then wherever the dynamic linker would have looked. Thread-local variables must
 * exist already; IFUNCs are bound to what the target itself uses.
 */
#include <string.h>

#include "protocols/plan.h"

/* Modules that the patch changes, in the order of its replacements; each is asked before all
 * others. */
static int resolve_external(const struct upd_subject *subject, const struct upd_plan *plan,
			    const struct inj_external *external, struct inj_symbol *ret,
			    struct inj_why *why)
{
	const struct inj_module *previous = NULL;
	bool found = false;
	int refusal = 0;

	for (size_t i = 0; i < plan->n_changes; i++) {
		const struct inj_module *module = plan->changes[i].symbol.module;
		struct inj_symbol symbol;
		int r;

		if (module == previous)
			continue;
		previous = module;
		r = inj_resolve_external(subject->modules, module, external->file, external->name,
					 external->version, &symbol, refusal ? NULL : why);
		if (r < 0)
			return r;
		if (r > 0) {
			refusal = refusal ? refusal : r;
			continue;
		}
		if (!found || symbol.module == module)
			*ret = symbol;
		found = true;
		if (symbol.module == module)
			return 0;
	}
	return found ? 0 : refusal;
}

static int bind_tls(const struct upd_subject *subject, const struct inj_external *external,
		    const struct inj_symbol *symbol, struct inj_binding *binding,
		    struct inj_why *why)
{
	int64_t block = 0;
	int r = inj_module_tls(subject->modules, symbol->module, &binding->tls_module_id,
			       external->wants_tp_offset ? &block : NULL, why);

	if (r != 0)
		return r;
	binding->is_tls = true;
	binding->tls_offset = symbol->address;
	binding->tp_offset = block + (int64_t)symbol->address;
	return 0;
}

static int bind_one(const struct upd_subject *subject, struct upd_plan *plan, size_t i,
		    struct inj_why *why)
{
	const struct inj_external *external = &plan->patch->externals[i];
	struct inj_binding *binding = &plan->bindings[i];
	struct inj_symbol symbol;
	int r = resolve_external(subject, plan, external, &symbol, why);

	if (r == INJ_NO_SUCH_SYMBOL && external->weak)
		return 0;
	if (r != 0)
		return r;
	if ((external->type == STT_TLS) != (symbol.type == STT_TLS) && external->type != STT_NOTYPE)
		return inj_refuse(why, INJ_UNSUPPORTED_TLS,
				  "%s is thread-local in one of patch and %s but not in the other. "
				  "Declare it as the program does.",
				  external->name, symbol.module->name);
	if (symbol.type == STT_TLS)
		return bind_tls(subject, external, &symbol, binding, why);
	binding->address = symbol.address;
	if (symbol.type == STT_GNU_IFUNC &&
	    inj_resolve_ifunc_bound(subject->modules, &symbol, &binding->address) != 0) {
		binding->resolver = symbol.address;
		plan->n_ifuncs++;
	}
	return 0;
}

int upd_plan_bind(struct upd_subject *subject, struct upd_plan *plan, struct inj_why *why)
{
	const size_t n = plan->patch->n_externals;
	int r = 0;

	plan->bindings = calloc(n ? n : 1, sizeof(*plan->bindings));
	if (!plan->bindings)
		return inj_broke(why, -ENOMEM, "making a plan");
	for (size_t i = 0; r == 0 && i < n; i++)
		r = bind_one(subject, plan, i, why);
	if (r == 0)
		upd_unwinder_find(subject->modules, &plan->unwinder);
	return r;
}
