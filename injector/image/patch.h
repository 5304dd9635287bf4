/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_IMAGE_PATCH_H
#define INJ_IMAGE_PATCH_H

#include "injector/elf/elf.h"

#define INJ_PATCH_MAX_BYTES (256UL << 20)
#define INJ_PATCH_MAX_REPLACEMENTS 16384
/* Bytes with NUL. An id is made of letters, digits and . _ + - and begins with one of the first
 * two or _; a version may also hold ~ and :. */
#define INJ_PATCH_ID_MAX 128

/* One function to be replaced. Strings live in the patch and hold no control characters. */
struct inj_replacement {
	const char *module;   /* NULL: main program or the only module that has it */
	const char *file;     /* source file of the old function, NULL unless given */
	const char *name;     /* old function */
	const char *new_name; /* for people; may equal name */
	uint64_t new_vaddr;   /* in the patch's own address space; code of the patch */
	uint64_t new_size;    /* bytes, 0 unknown */
};

/*
 * One undefined symbol that a relocation refers to. What only the compiler's start-up code wants
 * (__cxa_finalize and the like, weak) is not listed; it stays unresolved.
 */
struct inj_external {
	const char *file;    /* from DSU_SYMBOL(file, name), else NULL */
	const char *name;    /* decoded: the name to look for in the target */
	const char *version; /* NULL: none */
	bool weak;
	bool wants_tp_offset; /* a relocation asks how far from the thread pointer it is */
	uint8_t type;        /* STT_* as far as the patch says */
	uint32_t symbol;     /* index in the patch's dynsym */
};

struct inj_patch {
	char id[INJ_PATCH_ID_MAX];
	char version[INJ_PATCH_ID_MAX]; /* "" when the patch has no manifest */
	bool has_manifest; /* false: plain shared object, exported functions replace their
			      namesakes */
	char digest[65];                /* SHA-256 of the file, hex */
	char build_id_hex[129];         /* of the patch itself, "" if none */
	const struct inj_elf *elf;
	size_t file_bytes;
	struct inj_replacement *replacements;
	size_t n_replacements;
	struct inj_external *externals;
	size_t n_externals;
	size_t n_constructors; /* the author's; present but not run; inspect says so */
	bool has_debug_info;
};

/*
 * Read and check a patch file completely; nothing of it needs to be trusted afterwards. All static
 * checks happen here, none at link time. The file is read once, so it may change afterwards.
 * fd: regular file or memfd, read from offset 0; borrowed. file_name: base for messages and for the
 *   id of a patch without manifest (characters that no id has become '-'), copied.
 * ret: new object, free with inj_patch_close().
 * State: none.
 * Return: 0.
 * Errors: INJ_BAD_PATCH (not ELF, truncated, wrong architecture or type, hostile offsets, writable
 *   code, executable stack, more than page alignment, bad or double manifest, nothing to replace,
 *   the same function twice, unwind table that a target could not use); INJ_UNSUPPORTED_TLS (own
 *   thread-local variables, named); INJ_UNSUPPORTED_RELOCATION (type and place named); negative
 *   errno of fstat(2), pread(2), -ENOMEM.
 * Source: gABI chapters 4 and 5, psABI x86-64, docs/patch-format.md.
 */
int inj_patch_open(int fd, const char *file_name, struct inj_patch **ret, struct inj_why *why);
void inj_patch_close(struct inj_patch *patch);
INJ_DEFINE_GUARD(struct inj_patch *, inj_patch_close, inj_patch_guard)

#endif
