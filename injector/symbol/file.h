/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_SYMBOL_FILE_H
#define INJ_SYMBOL_FILE_H

#include "injector/process/maps.h"

/*
 * Files that belong to a target, opened without following it anywhere: paths are resolved inside of
 * a root, what is returned is a regular file, open for reading.
 */

/* Larger files are not read as modules or debug files. */
#define INJ_FILE_MAX_BYTES (4UL << 30)

/*
 * Open the very file that a mapping shows: through /proc/PID/map_files (works for deleted and
 * replaced files and in other mount namespaces), else by its path below the target's root or ours
 * when device and inode agree.
 * map: of this process. State: any. Return: descriptor, the caller's.
 * Errors: -ENOENT (also for what is no regular file), other negative errno.
 * Source: proc(5), openat2(2).
 */
int inj_file_open_mapped(const struct inj_process *process, const struct inj_map *map);

enum inj_debug_root {
	INJ_DEBUG_TARGET, /* the root that the target has */
	INJ_DEBUG_HOST,
	INJ_DEBUG_N_ROOTS,
};

enum inj_debug_place {
	INJ_DEBUG_BUILD_ID, /* /usr/lib/debug/.build-id/ab/cdef.debug */
	INJ_DEBUG_BESIDE,   /* in the module's directory */
	INJ_DEBUG_BELOW,    /* in .debug there */
	INJ_DEBUG_TREE,     /* in the same directory below /usr/lib/debug */
	INJ_DEBUG_N_PLACES,
};

/* One place where the separate debug file of a module may be. */
struct inj_debug_name {
	uint32_t root, place;
	inj_addr module; /* where it is mapped from; unless place is INJ_DEBUG_BUILD_ID */
	char text[256];  /* build-id in hex, or a file name without slash */
};

/*
 * Open it.
 * path: of the module, as in maps. State: any. Return: descriptor, the caller's.
 * Errors: -EINVAL (a name that is none), -ENOENT, other negative errno.
 * Source: GDB manual, "Debugging Information in Separate Files"; openat2(2).
 */
int inj_file_open_debug(const struct inj_process *process, const char *path,
			const struct inj_debug_name *name);

#endif
