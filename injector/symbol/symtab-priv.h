/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_SYMBOL_SYMTAB_PRIV_H
#define INJ_SYMBOL_SYMTAB_PRIV_H

#include "injector/symbol/symbol-priv.h"

/* A name in .symtab that carries a version ("memcpy@@GLIBC_2.14"), without it. */
struct cut_name {
	struct cut_name *next;
	uint32_t symbol;
	char text[];
};
#define N_CUT_HEADS 1024

/* What one look through a large table found for one base name. */
struct sifted {
	char *base;
	uint32_t *symbols; /* ascending */
	size_t n;
};
/* After so many names a table is indexed. */
#define MAX_SIFTED 4

/*
 * One symbol table. A small one is loaded and indexed by base name at once: heads of chains, then
 * the next symbol of each; symbol 0 is the null symbol and ends a chain. A large one only when more
 * is asked than a few looks through it can answer.
 */
struct source {
	const struct inj_elf *elf; /* NULL: no such table */
	uint32_t which;
	size_t n_symbols;
	bool large;
	struct inj_elf_symbol_table table; /* symbols NULL: not loaded */
	uint32_t *heads;
	uint32_t *next;
	uint32_t mask;
	struct sifted sifted[MAX_SIFTED];
	size_t n_sifted;
	struct cut_name **cuts; /* N_CUT_HEADS chains, NULL until there are any */
};

/* A symbol in the order of addresses. */
struct placed {
	uint64_t value; /* link-time */
	uint64_t size;
	uint32_t symbol;
	uint8_t info;     /* type and binding */
	uint8_t exported; /* which table: 0 named, 1 exported */
};

struct inj_symbol_index {
	struct source named;    /* .symtab of the file, its debug file or .gnu_debugdata */
	struct source exported; /* .dynsym, without chains */
	struct inj_elf *mini;   /* from .gnu_debugdata */
	struct placed *placed;
	uint64_t *reach; /* of each placed symbol: the farthest end of all up to it */
	size_t n_placed;
	struct inj_range answers; /* link-time addresses that the placed symbols can answer for */
	size_t n_windows;         /* how often only a part was placed */
};

/* symtab.c */
int symtab_index(const struct inj_modules *modules, const struct inj_module *module,
		 struct inj_symbol_index **ret);
bool source_is_definition(const Elf64_Sym *symbol);
/* One symbol as the file has it, its name included; false when the table is damaged there. */
bool source_raw(const struct source *source, uint32_t symbol, struct inj_elf_symbol *ret);
bool source_symbol(const struct inj_module *module, const struct source *source, uint32_t symbol,
		   struct inj_symbol *ret);

/* base-name.c */
size_t base_length(const char *name, size_t length);

/* chains.c; int: 0 or negative errno */
int source_load(struct source *source);
int source_chain(struct source *source);
uint32_t source_first(const struct source *source, const char *base, size_t length);

/*
 * sift.c: looks through a table that is not loaded.
 * The symbols whose name begins with the base and may be of its family; the answer stays the
 * source's. Return: 0; -E2BIG when there are too many or too many names were asked for: load it.
 */
int sift_names(struct source *source, const char *base, size_t length, const struct sifted **ret);
/* Append the definitions that have bytes, or begin, in a range of link-time addresses. */
int sift_range(const struct source *source, struct inj_range range, bool exported,
	       struct placed **items, size_t *n, size_t *n_allocated);

/* symbol-at.c */
bool symbol_has_address(const Elf64_Sym *symbol);
struct placed symbol_placed(const Elf64_Sym *symbol, uint32_t index, bool exported);

#endif
