/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_SYMBOL_RESOLVE_H
#define INJ_SYMBOL_RESOLVE_H

#include "injector/symbol/module.h"

struct inj_symbol {
	inj_addr address;       /* run-time; for STT_TLS the offset inside the module's TLS block; for STT_GNU_IFUNC the resolver */
	uint64_t size;          /* 0 when unknown */
	uint8_t type;           /* STT_* */
	uint8_t binding;        /* STB_* */
	const char *name;       /* lives as long as the modules */
	const char *file;       /* source file for local symbols, NULL when unknown */
	const char *version;    /* NULL when none */
	const struct inj_module *module;
};

/*
 * Sources of symbols, in this order, merged without duplicates (same address and name count once): .symtab of the file, else of the separate debug file,
 * .dynsym, .gnu_debugdata (xz, liblzma, bounded at 64 MiB). An index is built once a module on the first question that the
 * dynamic hash table cannot answer: a million symbols must not cost more than a few tens of milliseconds, and nothing if exported names suffice.
 */

/*
 * The function to be replaced.
 * module_name: NULL for "the main program, or the only other module that has it" (CONTRACT); file: source file (base name or trailing path components) from DSU_SYMBOL, or NULL.
 * Return: 0. Errors: INJ_NO_SUCH_SYMBOL (says where it looked, proposes near names, says whether the module is stripped and which debug package would help);
 *   INJ_AMBIGUOUS_SYMBOL (lists up to 8 candidates as module:file:name@address and how to choose with DSU_SYMBOL or DSU_REPLACE_IN);
 *   INJ_NO_SUCH_SYMBOL also for data symbols where a function is wanted.
 */
int inj_resolve_function(const struct inj_modules *modules, const char *module_name, const char *file, const char *name, struct inj_symbol *ret, struct inj_why *why);

/*
 * What an undefined symbol of a patch means: first the patched module (`prefer`, may be NULL; static symbols included), then the other modules as the dynamic linker would:
 * exported symbols in load order, honouring `version` when given (NULL: default version), weak and unique included.
 * Return: 0. Errors: as above; -ENOENT never.
 */
int inj_resolve_external(const struct inj_modules *modules, const struct inj_module *prefer, const char *file, const char *name, const char *version, struct inj_symbol *ret, struct inj_why *why);

/* Name of the code at an address: the symbol that covers it (function symbols preferred; sizes 0 reach to the next symbol). false: unknown. */
bool inj_symbol_at(const struct inj_modules *modules, inj_addr address, struct inj_symbol *ret);

/* All function symbols of the module whose name is `name` or `name` followed by one of .cold .part.N .constprop.N .isra.N .localalias, or that share its address (ICF).
 * ret: malloc'ed array. */
int inj_symbol_siblings(const struct inj_modules *modules, const struct inj_symbol *function, struct inj_symbol **ret, size_t *ret_n);

/*
 * The implementation of an IFUNC that the target itself uses, read from any bound GOT slot (JUMP_SLOT or GLOB_DAT of that name, or IRELATIVE whose addend is the resolver) of any module.
 * Return: 0 and the address, or -ENOENT when no module has it bound yet (the caller then runs the resolver in the target).
 */
int inj_resolve_ifunc_bound(const struct inj_modules *modules, const struct inj_symbol *ifunc, inj_addr *ret);

#endif
