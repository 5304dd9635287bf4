/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_SYMBOL_SYMTAB_PRIV_H
#define INJ_SYMBOL_SYMTAB_PRIV_H

#include "injector/symbol/symbol-priv.h"

/* A name in .symtab that carries a version ("memcpy@@GLIBC_2.14"), without it. */
struct cut_name {
	uint32_t symbol;
	uint32_t text; /* offset in cut_text */
};

/* One symbol table, indexed by base name: heads of chains, then the next symbol of each. Symbol 0
 * is the null symbol and ends a chain. */
struct source {
	const struct inj_elf *elf; /* NULL: no such table */
	uint32_t which;
	struct inj_elf_symbol_table table;
	uint32_t *heads;
	uint32_t *next;
	uint32_t mask;
	struct cut_name *cuts; /* ascending */
	size_t n_cuts;
	char *cut_text;
};

/* A symbol in the order of addresses. */
struct placed {
	uint64_t value; /* link-time */
	uint32_t symbol;
	uint32_t exported; /* which table: 0 named, 1 exported */
};

struct inj_symbol_index {
	struct source named;    /* .symtab of the file, its debug file or .gnu_debugdata */
	struct source exported; /* .dynsym, without chains */
	struct inj_elf *mini;   /* from .gnu_debugdata */
	struct placed *placed;
	uint64_t *reach; /* of each placed symbol: the farthest end of all up to it */
	size_t n_placed;
	bool placed_known;
};

/* symtab.c */
int symtab_index(const struct inj_modules *modules, const struct inj_module *module,
		 struct inj_symbol_index **ret);
bool source_is_definition(const Elf64_Sym *symbol);
bool source_symbol(const struct inj_module *module, const struct source *source, uint32_t symbol,
		   struct inj_symbol *ret);

#endif
