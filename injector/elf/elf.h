/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_ELF_ELF_H
#define INJ_ELF_ELF_H

#include <elf.h>

#include "injector/base/cleanup.h"
#include "injector/base/why.h"

/*
 * A checked, read-only view of one ELF64 x86-64 file. Files are hostile: every offset, size, count
 * and string is checked before use; after a successful open no accessor can read outside the file,
 * and nothing that happens to the file later can make an access fault. See elf-store.c for how the
 * bytes are kept: a file opened by descriptor is read piece by piece as accessors ask for it, each
 * piece once. Whoever needs all bytes to be of one moment (a signature was checked over them) opens
 * a buffer. Not for concurrent use: accessors fill caches.
 */
struct inj_elf;

struct inj_elf_section {
	const char *name;
	uint32_t type;
	uint64_t flags;
	uint64_t address;
	uint64_t size; /* bytes */
	uint32_t link, info;
	uint64_t entry_size;  /* bytes */
	uint64_t alignment;   /* bytes, 0 or 1 when it does not matter; not checked */
	const uint8_t *bytes; /* NULL for SHT_NOBITS, SHT_NULL, when the file shrank under us, and
			       * when larger than INJ_ELF_MAX_PIECE */
};

struct inj_elf_symbol {
	const char *name;
	uint64_t value, size;
	uint8_t type, binding, visibility;
	uint16_t section;    /* SHN_*; SHN_XINDEX is not followed */
	const char *file;    /* last STT_FILE before a local symbol, NULL when unknown */
	const char *version; /* from .gnu.version{,_r,_d}; NULL when none */
	bool version_hidden; /* not the default version */
};

/* What hostile files can make us hold: sections, program headers, bytes read in one piece. */
#define INJ_ELF_MAX_SECTIONS (1UL << 20)
#define INJ_ELF_MAX_SEGMENTS 65535UL
#define INJ_ELF_MAX_PIECE    (512UL << 20)

/*
 * Open a file.
 * fd: regular file or memfd, read with pread(2); borrowed, a duplicate is kept until close.
 * name_for_messages: copied. max_bytes: a larger file is refused.
 * ret: new object, free with inj_elf_close().
 * State: none.
 * Return: 0.
 * Errors: INJ_BAD_PATCH when the file is not a sound ELF64 x86-64 relocatable, executable or shared
 *   object: the text says what is wrong and where; negative errno of fstat(2), pread(2), mmap(2).
 * Source: System V gABI chapters 4 and 5, psABI x86-64.
 */
int inj_elf_open_fd(int fd, const char *name_for_messages, size_t max_bytes, struct inj_elf **ret,
		    struct inj_why *why);

/* The same for bytes in memory, which are copied. */
int inj_elf_open_bytes(const void *bytes, size_t length, const char *name_for_messages,
		       struct inj_elf **ret, struct inj_why *why);

/* The same for a malloc'ed buffer, which is taken over in every case. */
int inj_elf_open_owned(void *bytes, size_t length, const char *name_for_messages,
		       struct inj_elf **ret, struct inj_why *why);

void inj_elf_close(struct inj_elf *elf);
INJ_DEFINE_GUARD(struct inj_elf *, inj_elf_close, inj_elf_guard)

/* Size of the file in bytes when it was opened. */
size_t inj_elf_length(const struct inj_elf *elf);

const Elf64_Ehdr *inj_elf_header(const struct inj_elf *elf);

/*
 * Program headers. Checked: offsets inside the file; filesz <= memsz and no address overflow for
 * PT_LOAD, PT_TLS, PT_DYNAMIC, PT_GNU_RELRO and PT_GNU_EH_FRAME; alignments are powers of two;
 * PT_LOADs ascend and do not overlap, offset and address of each agree modulo the page size.
 * In a separate debug file (its code is SHT_NOBITS) every p_filesz is reported as 0.
 */
const Elf64_Phdr *inj_elf_segments(const struct inj_elf *elf, size_t *ret_n);

/* True for a file whose code sections are all SHT_NOBITS: only names and debug information. */
bool inj_elf_is_debug_only(const struct inj_elf *elf);

/* Files without section headers have none; use the dynamic view then. */
size_t inj_elf_n_sections(const struct inj_elf *elf);

/*
 * One section. index: < n_sections. The section's bytes are read now if they were not yet, so
 * walking over all sections of a big file reads all of it; inj_elf_section_named() reads just one.
 */
const struct inj_elf_section *inj_elf_section_at(const struct inj_elf *elf, size_t index);
/* First section of that name, or NULL. */
const struct inj_elf_section *inj_elf_section_named(const struct inj_elf *elf, const char *name);

/* Bytes at a virtual address, from the PT_LOAD that holds it; NULL unless all is file-backed, and
 * for more than INJ_ELF_MAX_PIECE bytes. */
const uint8_t *inj_elf_bytes_at(const struct inj_elf *elf, uint64_t vaddr, size_t length);

/* GNU build-id, *ret_length 0 when there is none. */
const uint8_t *inj_elf_build_id(const struct inj_elf *elf, size_t *ret_length);

/* Value of a DT_ entry through PT_DYNAMIC (the last one, as the loader takes it); false if absent.
 */
bool inj_elf_dynamic(const struct inj_elf *elf, int64_t tag, uint64_t *ret);

/* DT_SONAME or NULL. */
const char *inj_elf_soname(const struct inj_elf *elf);

/*
 * Symbol tables. which: SHT_SYMTAB or SHT_DYNSYM. Index 0 is the null symbol. The dynamic table is
 * found without section headers too, through DT_SYMTAB; its length then comes from the hash table
 * and from the highest symbol that a relocation names.
 */
size_t inj_elf_n_symbols(const struct inj_elf *elf, uint32_t which);

/*
 * One symbol.
 * index: any; strings of ret live as long as elf.
 * Return: 0. Errors: -ENOENT (no such index), -EBADMSG (its name lies outside the string table),
 *   -EIO (the file shrank).
 */
int inj_elf_symbol(const struct inj_elf *elf, uint32_t which, size_t index,
		   struct inj_elf_symbol *ret);

/* A whole symbol table for those who index it. Every string that starts below n_strings ends
 * inside the table. */
struct inj_elf_symbol_table {
	const Elf64_Sym *symbols;
	size_t n_symbols;
	const char *strings;
	size_t n_strings; /* bytes */
};

/*
 * Load a symbol table and its strings.
 * Return: 0. Errors: -ENOENT (no such table), -EBADMSG (strings without an end), -EFBIG (more than
 *   INJ_ELF_MAX_SYMBOLS or INJ_ELF_MAX_STRINGS), -EIO (the file shrank).
 */
int inj_elf_symbol_table(const struct inj_elf *elf, uint32_t which,
			 struct inj_elf_symbol_table *ret);
#define INJ_ELF_MAX_SYMBOLS (8UL << 20)
#define INJ_ELF_MAX_STRINGS INJ_ELF_MAX_PIECE

/*
 * Look through a symbol table, or its strings, once and piece by piece, keeping nothing: what is
 * asked for once in a table of many megabytes need not be held. What is found by such a look may
 * have changed by the next one and is to be checked by inj_elf_symbol().
 * pass: called for each piece, in order, with its offset in the table; false ends the look. Pieces
 *   of the symbols hold whole ones, unaligned; pieces of the strings begin with the last `overlap`
 *   bytes of the piece before, of which there are at most INJ_ELF_MAX_OVERLAP.
 * Return: 0. Errors: -ENOENT (no such table), -EFBIG (as above), -EIO (the file shrank), -ENOMEM.
 */
typedef bool (*inj_elf_pass_fn)(void *context, const uint8_t *bytes, size_t n, uint64_t offset);
int inj_elf_pass_symbols(const struct inj_elf *elf, uint32_t which, inj_elf_pass_fn pass,
			 void *context);
int inj_elf_pass_strings(const struct inj_elf *elf, uint32_t which, size_t overlap,
			 inj_elf_pass_fn pass, void *context);
#define INJ_ELF_MAX_OVERLAP 4096

/* Source file of a symbol of SHT_SYMTAB: the last STT_FILE before it; NULL for symbols that are not
 * local, and when unknown. */
const char *inj_elf_symbol_file(const struct inj_elf *elf, size_t index);

/*
 * Find a defined exported symbol through DT_GNU_HASH, else DT_HASH, by the dynamic linker's rules.
 * version: NULL asks for the default version, else for the only one there is; a name without any
 *   version matches every version.
 * ret_index: as in the dynamic symbol table. Return: 0, -ENOENT, or -ENOTUNIQ when no version was
 *   asked for and there are several, none of them the default.
 */
int inj_elf_dynamic_lookup(const struct inj_elf *elf, const char *name, const char *version,
			   size_t *ret_index);

/* A dynamic relocation; the layout of Elf64_Rela on a little-endian machine. */
struct inj_elf_rela {
	uint64_t offset;
	uint32_t type;
	uint32_t symbol; /* index into dynsym */
	int64_t addend;
};

/*
 * All dynamic relocations: DT_RELA, then DT_JMPREL, then DT_RELR expanded to R_X86_64_RELATIVE with
 * the addend from the bytes. inj_elf_n_rela() counts those that are not from DT_RELR. A program
 * without a dynamic section has those of its loaded SHT_RELA section.
 * relocation_at: index < n_relocations, else NULL; NULL also when memory is short or the file
 * shrank.
 */
size_t inj_elf_n_relocations(const struct inj_elf *elf);
size_t inj_elf_n_rela(const struct inj_elf *elf);
const struct inj_elf_rela *inj_elf_relocation_at(const struct inj_elf *elf, size_t index);

#endif
