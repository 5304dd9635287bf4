/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_BASE_CLEANUP_H
#define INJ_BASE_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Run `function(&variable)` when the variable leaves its scope. */
#define INJ_CLEANUP(function) __attribute__((cleanup(function)))

/* Define a guard `name` that frees one pointer of `type` with `function`; NULL is fine. */
#define INJ_DEFINE_GUARD(type, function, name)           \
	static inline void name(type *pointer)           \
	{                                                \
		if (*pointer)                            \
			function(*pointer);              \
	}

/* Hand an owned pointer out of a guarded variable. */
#define INJ_TAKE(pointer)                                \
	({                                               \
		__typeof__(pointer) taken_ = (pointer);  \
		(pointer) = NULL;                        \
		taken_;                                  \
	})

static inline void inj_free_guard(void *pointer)
{
	free(*(void **)pointer);
}

static inline void inj_close_guard(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;

		close(*fd);
		errno = saved;
	}
}

static inline int inj_take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

INJ_DEFINE_GUARD(FILE *, fclose, inj_file_guard)
INJ_DEFINE_GUARD(DIR *, closedir, inj_dir_guard)

#define INJ_FREE INJ_CLEANUP(inj_free_guard)
#define INJ_CLOSE INJ_CLEANUP(inj_close_guard)

#endif
