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
	char name[256];  /* SONAME, else base name; main: base name of the executable; printable */
	char path[1024]; /* as in maps, printable */
	uint8_t build_id[INJ_BUILD_ID_MAX];
	size_t n_build_id; /* bytes; 0: none */
	char build_id_hex[2 * INJ_BUILD_ID_MAX + 1];
	inj_addr bias;         /* run-time address minus link-time address */
	struct inj_range span; /* first to last byte mapped from it, .bss included */
	const struct inj_elf *elf;       /* the file itself; the vDSO's is a copy of its memory */
	const struct inj_elf *debug_elf; /* separate debug file (build-id or debuglink, checked);
					  * NULL until inj_module_debug_elf() found one */
	struct inj_symbol_index *index;  /* private to symbol/ */
};

struct inj_modules {
	struct inj_module **items; /* main first, then in load order where known, else by address */
	size_t n_items;
	const struct inj_process *process; /* borrowed, must outlive */
};

/*
 * Find all modules of the target: file-backed mappings that are laid out as the program headers of
 * their file say, plus the vDSO.
 * A file is opened through /proc/PID/map_files (works for deleted and replaced files and in other
 * mount namespaces), else by its path below the target's root or ours when device and inode agree.
 * The headers in memory are compared with the file. A module whose file cannot be had is left out
 * of items; whoever asks for it by name gets the reason. Mappings of our own (/memfd:dsu:...) are
 * no modules. process: must outlive ret; maps: read from it, borrowed for the call. ret: new
 * object, free with inj_modules_free(). State: running or held. Of a running target the list is one
 * that could have been. Return: 0. Errors: INJ_UNSUPPORTED_PROCESS when the main program itself
 * cannot be read; INJ_PROCESS_GONE; negative errno. Source: proc(5), getauxval(3), <link.h> (struct
 * r_debug, struct link_map).
 */
int inj_modules_load(const struct inj_process *process, const struct inj_maps *maps,
		     struct inj_modules **ret, struct inj_why *why);
/* NULL is fine. */
void inj_modules_free(struct inj_modules *modules);
INJ_DEFINE_GUARD(struct inj_modules *, inj_modules_free, inj_modules_guard)

/* Never NULL. */
const struct inj_module *inj_modules_main(const struct inj_modules *modules);
/* Module whose span has the address, or NULL. O(log n). */
const struct inj_module *inj_modules_at(const struct inj_modules *modules, inj_addr address);
/* By SONAME, base name or absolute path of the file; the main program also by the base name of its
 * executable. NULL when there is none. */
const struct inj_module *inj_modules_named(const struct inj_modules *modules, const char *name);

/*
 * The separate debug file of a module, looked up once: by build-id below /usr/lib/debug/.build-id,
 * then by .gnu_debuglink, in the target's root first, then in ours. Build-ids must agree; without
 * them the CRC of the debuglink must.
 * State: any. Return: owned by modules, NULL when there is none.
 * Source: GDB manual, "Debugging Information in Separate Files".
 */
const struct inj_elf *inj_module_debug_elf(const struct inj_modules *modules,
					   const struct inj_module *module);

/*
 * What TLS relocations against a module need.
 * ret_module_id: l_tls_modid of the loader; ret_tp_offset: distance of the module's block from the
 * thread pointer (negative, to be added to fs base), may be NULL: then a block that is allocated
 * thread by thread is fine too.
 * The loader's private structure is read by the descriptions that libc publishes for debuggers
 * (_thread_db_link_map_l_tls_modid, ..._l_tls_offset). Without them (static programs, other
 * loaders) the ABI still fixes both for the main program. State: running or held. Return: 0.
 * Errors: INJ_UNSUPPORTED_TLS (no thread-local variables, block not static, loader unknown);
 *   negative errno.
 * Source: psABI and Drepper, "ELF Handling For Thread-Local Storage", variant II.
 */
int inj_module_tls(const struct inj_modules *modules, const struct inj_module *module,
		   uint64_t *ret_module_id, int64_t *ret_tp_offset, struct inj_why *why);

#endif
