/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_SYMBOL_PRIV_H
#define INJ_SYMBOL_PRIV_H

#include "injector/symbol/file.h"
#include "injector/symbol/resolve.h"

#define MODULE_MAX_BYTES INJ_FILE_MAX_BYTES
#define MODULES_MAX      4096

/* A module with what only this folder needs. */
struct own_module {
	struct inj_module public; /* first: the public pointer is ours */
	struct inj_elf *elf;
	struct inj_elf *debug;
	inj_addr link_map;  /* of the loader, 0 when unknown */
	size_t order;       /* in the loader's list, SIZE_MAX when unknown */
	bool debug_searched;
};

/* A module that could not be read. */
struct lost_module {
	char name[256]; /* base name, printable */
	struct inj_why why;
};

struct own_modules {
	struct inj_modules public; /* first */
	struct own_module **by_address;
	size_t n_allocated;
	struct lost_module *lost;
	size_t n_lost;
	size_t large_table; /* symbols from which on a table is not indexed for a few questions */
};
#define LARGE_TABLE 50000

static inline struct own_module *own_module(const struct inj_module *module)
{
	return (struct own_module *)(uintptr_t)module;
}

static inline struct own_modules *own_modules(const struct inj_modules *modules)
{
	return (struct own_modules *)(uintptr_t)modules;
}

/* module.c */
const struct inj_why *module_lost_why(const struct inj_modules *modules, const char *name);

/* root-file.c: files by path, below the target's root or ours. */
int root_open(const struct inj_process *process, enum inj_debug_root root);
int root_open_file(int root_fd, const char *path);
int reopen_regular(int path_fd);

/* module-file.c */
int module_file_open(const struct inj_process *process, const struct inj_map *map,
		     struct inj_elf **ret, struct inj_why *why);
const char *path_base(const char *path);
void clean_path(const char *raw, char *ret, size_t size);

/* link-map.c */
void link_map_order(struct own_modules *modules, inj_addr loader_base);

/* auxv.c */
struct auxv {
	inj_addr program_headers; /* AT_PHDR */
	inj_addr base;            /* AT_BASE: the interpreter */
	inj_addr entry;           /* AT_ENTRY */
	inj_addr vdso;            /* AT_SYSINFO_EHDR */
};
int auxv_read(const struct inj_process *process, struct auxv *ret);

/* minidebug.c */
int minidebug_open(const struct inj_module *module, struct inj_elf **ret);

/* symtab.c; int: 0 or -ENOMEM */
#define CANDIDATES_MAX 64
struct candidates {
	struct inj_symbol items[CANDIDATES_MAX];
	size_t n;
	size_t n_all; /* with those that found no place */
};
/* Every definition of that name in the module, exported or private. */
int symtab_find(const struct inj_modules *modules, const struct inj_module *module,
		const char *name, struct candidates *ret);
/* The exported one alone, without any index. */
bool symtab_find_exported(const struct inj_module *module, const char *name, const char *version,
			  struct inj_symbol *ret);
/* Called for a definition; returns false to stop. */
typedef bool (*symtab_visit_fn)(void *context, const struct inj_symbol *symbol);
/* Every definition of the module, at most `limit` of each table. */
int symtab_visit(const struct inj_modules *modules, const struct inj_module *module, size_t limit,
		 symtab_visit_fn visit, void *context);
/* Every definition whose name is `name` but for what compilers and linkers append. */
int symtab_visit_family(const struct inj_modules *modules, const struct inj_module *module,
			const char *name, symtab_visit_fn visit, void *context);
/* Are there names of functions that are not exported? */
bool symtab_has_private(const struct inj_modules *modules, const struct inj_module *module);
void symtab_free(struct inj_symbol_index *index);

/* symbol-at.c */
int symtab_visit_address(const struct inj_modules *modules, const struct inj_module *module,
			 inj_addr address, symtab_visit_fn visit, void *context);

/* propose.c */
void propose_names(const struct inj_modules *modules, const struct inj_module *module,
		   const char *name, char *buffer, size_t size);

#endif
