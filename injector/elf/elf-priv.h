/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_ELF_PRIV_H
#define INJ_ELF_PRIV_H

#include "injector/elf/elf.h"

#define ELF_NAME_MAX 128

/* Bytes of the file, see elf-store.c. */
struct elf_store {
	uint8_t *bytes;
	size_t length;
	int fd;            /* -1: all bytes are there */
	bool mapped;       /* munmap instead of free */
	uint64_t *present; /* one bit a chunk; only with fd */
};

/* A table in the file that PT_DYNAMIC names. offset is a file offset; bytes 0: no such table. */
struct elf_extent {
	uint64_t offset;
	uint64_t bytes;
};

struct elf_file_mark {
	uint32_t index;  /* of the STT_FILE symbol */
	uint32_t string; /* offset of its name */
};

/* What the dynamic section says, all extents checked to be file-backed. */
struct elf_dynamic {
	struct elf_extent entries;
	struct elf_extent symbols;  /* from DT_SYMTAB to the end of its segment's file bytes */
	struct elf_extent strings;
	struct elf_extent gnu_hash; /* open-ended likewise */
	struct elf_extent hash;
	struct elf_extent versions; /* DT_VERSYM, open-ended */
	struct elf_extent verneed, verdef;
	uint64_t n_verneed, n_verdef;
	struct elf_extent rela, jmprel, relr;
	size_t n_symbols; /* once counted */
	bool counted;
};

struct inj_elf {
	char name[ELF_NAME_MAX];
	struct elf_store store;
	Elf64_Ehdr header;
	Elf64_Phdr *segments;
	size_t n_segments;
	Elf64_Phdr *loads; /* the PT_LOADs alone, ascending */
	size_t n_loads;
	bool debug_only;

	struct inj_elf_section *sections;
	uint64_t *section_offsets; /* file offset of each section */
	size_t n_sections;
	size_t symtab; /* section index of SHT_SYMTAB, 0 when none */

	const uint8_t *build_id;
	size_t n_build_id;

	struct elf_dynamic dynamic;
	const char **version_names; /* by version index, NULL until asked for */

	struct elf_file_mark *file_marks;
	size_t n_file_marks;
	size_t n_near_looks; /* marks that were looked for without the list */
	bool file_marks_known;

	size_t n_relr; /* relocations in DT_RELR */
	struct inj_elf_rela *relr;
};

/* elf-store.c */
int elf_store_from_fd(struct elf_store *store, int fd, size_t length);
void elf_store_deinit(struct elf_store *store);
const uint8_t *elf_view(const struct inj_elf *elf, uint64_t offset, uint64_t length);
const char *elf_string(const struct inj_elf *elf, uint64_t offset, uint64_t end);
int elf_pass(const struct inj_elf *elf, uint64_t offset, uint64_t length, size_t step,
	     size_t overlap, inj_elf_pass_fn pass, void *context);

/* elf-segments.c */
int elf_read_segments(struct inj_elf *elf, size_t count, struct inj_why *why);
bool elf_locate(const struct inj_elf *elf, uint64_t vaddr, struct elf_extent *ret);
void elf_find_build_id(struct inj_elf *elf);

/* elf-sections.c */
int elf_section_counts(const struct inj_elf *elf, size_t *ret_n_sections, size_t *ret_n_segments,
		       size_t *ret_names, struct inj_why *why);
int elf_read_sections(struct inj_elf *elf, size_t count, size_t names, struct inj_why *why);

/* elf-dynamic.c */
int elf_read_dynamic(struct inj_elf *elf, struct inj_why *why);

/* elf-hash.c */
size_t elf_hash_count(const struct inj_elf *elf);

/* elf-versions.c */
uint16_t elf_version_index(const struct inj_elf *elf, size_t symbol);
const char *elf_version_name(const struct inj_elf *elf, uint16_t index);

/* elf-relocations.c */
int elf_check_relocations(struct inj_elf *elf, struct inj_why *why);

/* The accessors are const for their callers and fill caches of ours. */
static inline struct inj_elf *elf_cache(const struct inj_elf *elf)
{
	return (struct inj_elf *)(uintptr_t)elf;
}

static inline bool elf_inside(uint64_t offset, uint64_t length, uint64_t limit)
{
	return offset <= limit && length <= limit - offset;
}

#endif
