/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_SYMBOL_RESOLVE_H
#define INJ_SYMBOL_RESOLVE_H

#include "injector/symbol/module.h"

struct inj_symbol {
	inj_addr address;    /* run-time; STT_TLS: offset inside the module's TLS block;
			      * STT_GNU_IFUNC: the resolver */
	uint64_t size;       /* bytes, 0 when unknown */
	uint8_t type;        /* STT_* */
	uint8_t binding;     /* STB_* */
	const char *name;    /* without version; lives as long as the modules */
	const char *file;    /* source file for local symbols, NULL when unknown */
	const char *version; /* NULL when none */
	const struct inj_module *module;
};

/*
 * Sources of symbols: .symtab of the file, else of the separate debug file, else of .gnu_debugdata
 * (xz, at most 64 MiB unpacked), and always .dynsym; the same name at the same address counts once.
 * An exported name is found through the file's own hash table. For other questions an index is
 * built once a module: on the first one, or, of a table so large that an index costs more than a
 * look through it, after a few.
 */

/*
 * The function to be replaced.
 * module_name: NULL for "the main program, or the only other module that has it"; file: source file
 *   (base name or trailing path components) from DSU_SYMBOL, or NULL; name: of one version as
 *   NAME@VERSION (NAME@@VERSION is the same), else of the default one.
 * An exported function goes before private ones of that name, within a module and, when the main
 * program has none, among the others: it is what the dynamic linker and every caller outside
 * mean by the name, and the answer must not depend on installed debug files. Of several versions
 * without a default none is taken. A global symbol has no known source file; when no other
 * candidate matches `file` and just one such symbol has the name, it is taken.
 * State: any.
 * Return: 0.
 * Errors: INJ_NO_SUCH_SYMBOL (says where it looked, proposes near names, says whether the module is
 *   stripped and which debug file would help; also for data where a function is wanted);
 *   INJ_AMBIGUOUS_SYMBOL (lists up to 8 candidates as module:file:name@address and how to choose
 *   with DSU_SYMBOL, DSU_REPLACE_IN or DSU_REPLACE_NAMED); negative errno.
 */
int inj_resolve_function(const struct inj_modules *modules, const char *module_name,
			 const char *file, const char *name, struct inj_symbol *ret,
			 struct inj_why *why);

/*
 * What an undefined symbol of a patch means.
 * prefer: the patched module, may be NULL: its symbols come first, private ones included; then the
 *   exported symbols of all modules in load order as the dynamic linker would take them, last the
 *   private ones of the main program. A variable that the main program has copied out of a library
 *   (R_X86_64_COPY), and a unique symbol (STB_GNU_UNIQUE), is always the one in use.
 * file: as above; version: NULL for the default version. A private symbol satisfies any version.
 * State: any.
 * Return: 0. Errors: as inj_resolve_function(); -ENOENT never.
 */
int inj_resolve_external(const struct inj_modules *modules, const struct inj_module *prefer,
			 const char *file, const char *name, const char *version,
			 struct inj_symbol *ret, struct inj_why *why);

/*
 * Name of the code at an address: the symbol that covers it. Functions go before other symbols,
 * known sizes before unknown ones (these reach to the next symbol, at most 256 KiB), global names
 * before local ones.
 * State: any. Return: false when unknown.
 */
bool inj_symbol_at(const struct inj_modules *modules, inj_addr address, struct inj_symbol *ret);

/*
 * All other function symbols that are part of a function or the same code: named as the function
 * followed by .cold, .part, .constprop, .isra, .localalias or .lto_priv (and their numbers), in the
 * same source file as far as known, or at the same address (identical code folded).
 * ret: malloc'ed array of *ret_n symbols, the function itself not among them; at most
 *   INJ_SIBLINGS_MAX.
 * State: any.
 * Return: 0. Errors: -ENOMEM.
 */
int inj_symbol_siblings(const struct inj_modules *modules, const struct inj_symbol *function,
			struct inj_symbol **ret, size_t *ret_n);
#define INJ_SIBLINGS_MAX 256

/*
 * The implementation of an IFUNC that the target itself uses, read from any bound GOT slot of any
 * module: JUMP_SLOT or GLOB_DAT of that name and version, or IRELATIVE with that resolver.
 * State: running or held.
 * Return: 0 and the address. Errors: -ENOENT when no module has it bound yet (the caller then runs
 *   the resolver in the target).
 */
int inj_resolve_ifunc_bound(const struct inj_modules *modules, const struct inj_symbol *ifunc,
			    inj_addr *ret);

/*
 * Another IFUNC of the same module for which the target uses the same implementation: whoever
 * changes that code changes both (memcpy and memmove of glibc share theirs on many processors).
 * implementation: from inj_resolve_ifunc_bound().
 * State: running or held.
 * Return: true and the other IFUNC. Errors: none; IFUNCs that no slot shows are not seen.
 */
bool inj_resolve_ifunc_shared(const struct inj_modules *modules, const struct inj_symbol *ifunc,
			      inj_addr implementation, struct inj_symbol *ret);

#endif
