/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_ELF_ELF_H
#define INJ_ELF_ELF_H

#include <elf.h>

#include "injector/base/cleanup.h"
#include "injector/base/why.h"

/*
 * A checked, read-only view of one ELF64 x86-64 file. Files are hostile: every offset, size, count and string is
 * checked before use; after a successful open no accessor can read outside the file. The bytes are a private copy or a
 * private mapping of a sealed/own copy, so that a file changed under us cannot change (or SIGBUS) an opened view: for
 * big files of the target a MAP_PRIVATE mapping with a SIGBUS-proof strategy (pread into anonymous memory) is chosen.
 */
struct inj_elf;

struct inj_elf_section {
	const char *name;
	uint32_t type;
	uint64_t flags;
	uint64_t address;
	uint64_t size;
	uint32_t link, info;
	uint64_t entry_size;
	const uint8_t *bytes; /* NULL for SHT_NOBITS */
};

struct inj_elf_symbol {
	const char *name;
	uint64_t value, size;
	uint8_t type, binding, visibility;
	uint16_t section;       /* SHN_* */
	const char *file;       /* last STT_FILE before a local symbol, NULL when unknown */
	const char *version;    /* from .gnu.version{,_r,_d}; NULL when none */
	bool version_hidden;    /* not the default version */
};

/* fd: read from offset 0, not consumed, may be a memfd or pipe-less regular file; max_bytes bounds the size. */
int inj_elf_open_fd(int fd, const char *name_for_messages, size_t max_bytes, struct inj_elf **ret, struct inj_why *why);
/* bytes: copied. */
int inj_elf_open_bytes(const void *bytes, size_t length, const char *name_for_messages, struct inj_elf **ret, struct inj_why *why);
/* bytes: a malloc'ed buffer, taken over. Errors: INJ_BAD_PATCH for all of these, with what is wrong and where. */
int inj_elf_open_owned(void *bytes, size_t length, const char *name_for_messages, struct inj_elf **ret, struct inj_why *why);
void inj_elf_close(struct inj_elf *elf);
INJ_DEFINE_GUARD(struct inj_elf *, inj_elf_close, inj_elf_guard)

const Elf64_Ehdr *inj_elf_header(const struct inj_elf *elf);
/* Program headers, checked: offsets inside the file, filesz <= memsz, no address overflow. */
const Elf64_Phdr *inj_elf_segments(const struct inj_elf *elf, size_t *ret_n);
size_t inj_elf_n_sections(const struct inj_elf *elf);
/* index < n_sections. Files without section headers have none; use the dynamic view then. */
const struct inj_elf_section *inj_elf_section_at(const struct inj_elf *elf, size_t index);
const struct inj_elf_section *inj_elf_section_named(const struct inj_elf *elf, const char *name);
/* Bytes at a virtual address, from the PT_LOAD that holds it; NULL unless all of length is file-backed. */
const uint8_t *inj_elf_bytes_at(const struct inj_elf *elf, uint64_t vaddr, size_t length);
/* GNU build-id, 0 bytes when there is none. */
const uint8_t *inj_elf_build_id(const struct inj_elf *elf, size_t *ret_length);
/* Value of a DT_ entry through PT_DYNAMIC; false when absent. */
bool inj_elf_dynamic(const struct inj_elf *elf, int64_t tag, uint64_t *ret);
/* DT_SONAME or NULL. */
const char *inj_elf_soname(const struct inj_elf *elf);

/* Symbol tables. which: SHT_SYMTAB or SHT_DYNSYM. Index 0 is the null symbol. The dynamic table is found without
 * section headers too (DT_SYMTAB with DT_GNU_HASH or DT_HASH for the count). */
size_t inj_elf_n_symbols(const struct inj_elf *elf, uint32_t which);
int inj_elf_symbol(const struct inj_elf *elf, uint32_t which, size_t index, struct inj_elf_symbol *ret);
/* Fast lookup through DT_GNU_HASH (or DT_HASH); version may be NULL (default version). 0 or -ENOENT; ret_index as in dynsym. */
int inj_elf_dynamic_lookup(const struct inj_elf *elf, const char *name, const char *version, size_t *ret_index);

/* All dynamic relocations (DT_RELA, DT_JMPREL, DT_RELR expanded to R_X86_64_RELATIVE with addend from the bytes). */
struct inj_elf_rela {
	uint64_t offset;
	uint32_t type;
	uint32_t symbol; /* index into dynsym */
	int64_t addend;
};
size_t inj_elf_n_relocations(const struct inj_elf *elf);
const struct inj_elf_rela *inj_elf_relocation_at(const struct inj_elf *elf, size_t index);

#endif
