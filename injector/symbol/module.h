/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_SYMBOL_MODULE_H
#define INJ_SYMBOL_MODULE_H

#include "injector/elf/elf.h"
#include "injector/process/maps.h"

enum inj_module_kind {
	INJ_MODULE_MAIN,
	INJ_MODULE_LIBRARY,
	INJ_MODULE_INTERPRETER,
	INJ_MODULE_VDSO,
};

#define INJ_BUILD_ID_MAX 64

/* One ELF object mapped in the target. */
struct inj_module {
	enum inj_module_kind kind;
	char name[256];          /* SONAME, else base name; main: base name of the executable; printable */
	char path[1024];         /* as in maps, printable */
	uint8_t build_id[INJ_BUILD_ID_MAX];
	size_t n_build_id;       /* 0: none */
	char build_id_hex[2 * INJ_BUILD_ID_MAX + 1];
	inj_addr bias;           /* run-time address minus link-time address */
	struct inj_range span;   /* first to last byte mapped from it, .bss included */
	const struct inj_elf *elf;        /* the file itself, read through map_files or the target's root */
	const struct inj_elf *debug_elf;  /* separate debug file (build-id or debuglink, checked), NULL if none; loaded on demand
					     by the symbol functions, so may change from NULL */
	struct inj_symbol_index *index;   /* private to symbol/ */
};

struct inj_modules {
	struct inj_module **items;   /* in load order where known (main first), else by address */
	size_t n_items;
	const struct inj_process *process; /* borrowed, must outlive */
};

/*
 * Find all modules of the target: groups of file-backed mappings with an ELF header, plus the vDSO.
 * A file is opened through /proc/PID/map_files (works for deleted and replaced files and other mount namespaces), else through
 * /proc/PID/root + path when device and inode agree. Headers in memory are compared with the file; a module whose file cannot be had is left out
 * of items, counted in n_unreadable of the implementation and refused only when somebody asks for it by name.
 * Order: main first, then the order of the loader's link map when it can be read (r_debug through DT_DEBUG), else by address.
 * Errors: INJ_UNSUPPORTED_PROCESS when the main program itself cannot be read; negative errno.
 */
int inj_modules_load(const struct inj_process *process, const struct inj_maps *maps, struct inj_modules **ret, struct inj_why *why);
void inj_modules_free(struct inj_modules *modules);
INJ_DEFINE_GUARD(struct inj_modules *, inj_modules_free, inj_modules_guard)

const struct inj_module *inj_modules_main(const struct inj_modules *modules);
const struct inj_module *inj_modules_at(const struct inj_modules *modules, inj_addr address);
/* By SONAME, base name or absolute path of the file; the main program also by the base name of its executable. */
const struct inj_module *inj_modules_named(const struct inj_modules *modules, const char *name);

/* Address of the head of a loader structure: the module's DTPMOD id and static TLS offset, needed for TLS relocations.
 * ret_module_id: l_tls_modid; ret_tp_offset: the offset of its block from the thread pointer, as a (negative) value to add to fs base.
 * Uses the sizes that the loader publishes for debuggers (_thread_db_link_map_l_tls_modid, _thread_db_link_map_l_tls_offset); for the main program
 * and static programs the ABI fixes both (psABI 3.x, variant II). Errors: INJ_UNSUPPORTED_TLS (block not static, or loader unknown). */
int inj_module_tls(const struct inj_modules *modules, const struct inj_module *module, uint64_t *ret_module_id, int64_t *ret_tp_offset, struct inj_why *why);

#endif
