/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_IMAGE_PATCH_H
#define INJ_IMAGE_PATCH_H

#include "injector/elf/elf.h"

#define INJ_PATCH_MAX_BYTES (256UL << 20)
#define INJ_PATCH_MAX_REPLACEMENTS 16384
#define INJ_PATCH_ID_MAX 128      /* bytes with NUL; letters digits . _ + - only */

/* One function to be replaced. Strings live in the patch. */
struct inj_replacement {
	const char *module;      /* NULL: main program or the only module that has it */
	const char *file;        /* NULL unless given */
	const char *name;        /* old function */
	const char *new_name;    /* for people; may equal name */
	uint64_t new_vaddr;      /* in the patch's own address space */
	uint64_t new_size;       /* 0 unknown */
};

/* One undefined symbol. */
struct inj_external {
	const char *file;        /* from DSU_SYMBOL(file, name) */
	const char *name;        /* decoded: the name to look for in the target */
	const char *version;     /* NULL: none */
	bool weak;
	uint8_t type;            /* STT_* as far as the patch says */
	uint32_t symbol;         /* index in the patch's dynsym */
};

struct inj_patch {
	char id[INJ_PATCH_ID_MAX];
	char version[INJ_PATCH_ID_MAX];   /* "" when the patch has no manifest */
	bool has_manifest;                /* false: plain shared object, exported functions replace their namesakes */
	char digest[65];                  /* SHA-256 of the file, hex */
	char build_id_hex[129];           /* of the patch itself, "" if none */
	const struct inj_elf *elf;
	size_t file_bytes;
	struct inj_replacement *replacements;
	size_t n_replacements;
	struct inj_external *externals;
	size_t n_externals;
	size_t n_constructors;            /* present but not run; inspect says so */
	bool has_debug_info;
};

/*
 * Read and check a patch file completely; nothing of it needs to be trusted afterwards.
 * fd: borrowed; file_name: base for messages and for the id of a patch without manifest (".so" removed, other characters mapped to '-').
 * Errors: INJ_BAD_PATCH (not ELF, truncated, wrong architecture or type, hostile offsets, bad or double manifest, nothing to replace, the same function twice);
 *   INJ_UNSUPPORTED_TLS (own thread-local variables, named); INJ_UNSUPPORTED_RELOCATION (type and place named). All static checks happen here, not at link time.
 */
int inj_patch_open(int fd, const char *file_name, struct inj_patch **ret, struct inj_why *why);
void inj_patch_close(struct inj_patch *patch);
INJ_DEFINE_GUARD(struct inj_patch *, inj_patch_close, inj_patch_guard)

#endif
