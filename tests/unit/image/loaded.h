/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_UNIT_IMAGE_LOADED_H
#define TESTS_UNIT_IMAGE_LOADED_H

#include "injector/image/image.h"

/* A patch linked into this very process, so that its code can run. */
struct loaded {
	struct inj_patch *patch;
	struct inj_image *image;
	uint8_t *bytes; /* where it lies */
	int n_resolvers_run;
};

/* What a symbol of the patch means here, before the dynamic linker is asked. */
struct own_symbol {
	const char *file; /* as DSU_SYMBOL says it, NULL: any */
	const char *name;
	void *address;    /* of the calling thread's instance for a thread-local one */
	bool is_tls;
};

/* Path of a file below the build directory's tests/patches, in static storage. */
const char *patch_path(const char *name);

/* Open a patch by path; the return value and the story of inj_patch_open(). */
int open_patch(const char *path, struct inj_patch **ret, struct inj_why *why);
/* The same for bytes in memory. */
int open_patch_bytes(const void *bytes, size_t n, const char *name, struct inj_patch **ret,
		     struct inj_why *why);

/* The whole file in malloc'ed memory. */
uint8_t *read_file(const char *path, size_t *ret_n);

/* Open, lay out, link, protect, register the unwind table. Fails the test when any of it fails. */
void load(const char *path, const struct own_symbol *own, size_t n_own, struct loaded *ret);
void unload(struct loaded *loaded);

/* Check what the header promises about every layout. */
void check_layout(const struct inj_image *image);

/* Entry of the function that replaces `name`. */
void *entry_of(const struct loaded *loaded, const char *name);

#endif
