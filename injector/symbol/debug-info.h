/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_SYMBOL_DEBUG_INFO_H
#define INJ_SYMBOL_DEBUG_INFO_H

#include "injector/symbol/resolve.h"

/* What debug information told about something. */
enum inj_knowledge {
	INJ_KNOWN_NOT,	 /* none covers it */
	INJ_KNOWN_PARTLY, /* some was too large, too deep or damaged */
	INJ_KNOWN_WHOLLY,
};

/* A function of the module that holds inlined copies of another one. */
struct inj_host {
	inj_addr address; /* run-time, of its entry */
	size_t n_copies;
};

/* A function asked about. */
struct inj_debug_function {
	const struct inj_symbol *symbol; /* in */
	enum inj_knowledge knowledge;
	struct inj_host *hosts; /* owned; by address, the function itself not among them */
	size_t n_hosts;
	struct inj_range *parts; /* owned; run-time ranges of its code that do not hold its entry */
	size_t n_parts;
};

/* A name that stands at the same address as some function asked about. */
struct inj_debug_twin {
	const char *name; /* in */
	bool exported;	  /* in: the symbol is not local */
	inj_addr address; /* in, run-time */
	/*
	 * The source defines a function of this name, whose code is that of the address or was
	 * given up for it: two functions were merged. Not so for an alias.
	 */
	bool merged;
};

#define INJ_HOSTS_MAX 4096

/*
 * Look through the debug information of a module, its own or that of its separate debug file.
 * functions: n_functions of them, all of this module, in any order; results are filled in, free
 *   them with inj_debug_functions_deinit() also after a failure; names: n_names.
 * budget_ns: time to spend; what is not seen by then is known partly.
 * State: any; only files are read.
 * ret_module: of the module as a whole; known wholly: every unit of it was read.
 * Return: 0, also when there is no debug information at all.
 * Errors: -ENOMEM.
 * Source: DWARF 5, 3.3.8 (inlined subroutines), 2.17 (addresses).
 */
int inj_debug_search(const struct inj_modules *modules, const struct inj_module *module,
		     struct inj_debug_function *functions, size_t n_functions,
		     struct inj_debug_twin *names, size_t n_names, uint64_t budget_ns,
		     enum inj_knowledge *ret_module);
void inj_debug_functions_deinit(struct inj_debug_function *functions, size_t n_functions);

/*
 * Was the module linked by a linker that folds identical functions (gold, lld, mold)?
 * State: any. Return: false also when its file does not say.
 * Source: .comment, .note.gnu.gold-version.
 */
bool inj_module_may_be_folded(const struct inj_module *module);

#endif
