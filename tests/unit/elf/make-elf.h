/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_UNIT_ELF_MAKE_ELF_H
#define TESTS_UNIT_ELF_MAKE_ELF_H

#include <elf.h>

#include "injector/base/types.h"

/*
 * A small sound shared object made byte by byte, and the places of its parts, so that tests can
 * damage exactly one thing. Addresses equal offsets. Symbols of the dynamic table:
 *   0 null   1 puts@GLIBC_2.2.5 (undefined)   2 alpha@V1 (old)   3 alpha@@V2   4 beta (no version)
 *   5 gamma@@V2 (thread-local)   6 delta@V1 (old only)
 * and of .symtab: 0 null, 1 file one.c, 2 local, 3 file two.c, 4 local, 5 file "", 6 local2,
 * 7 global.
 */
enum make_option {
	MAKE_PLAIN = 0,
	MAKE_NO_SECTIONS = 1 << 0,
	MAKE_NO_GNU_HASH = 1 << 1,
	MAKE_NO_SYSV_HASH = 1 << 2,
	MAKE_EXTENDED_COUNTS = 1 << 3, /* e_shnum 0, PN_XNUM, SHN_XINDEX */
	MAKE_DEBUG_ONLY = 1 << 4,      /* .text is SHT_NOBITS, segments lie beyond the file */
};

#define MADE_MAX 8192

struct made {
	uint8_t bytes[MADE_MAX];
	size_t length;
	size_t segments, dynamic, symbols, strings, gnu_hash, hash, versions, verdef, verneed;
	size_t rela, jmprel, relr, data, note, text, symtab, strtab, sections, section_names;
	size_t n_segments, n_sections, n_dynamic;
};

/* Position of PT_ and section headers by number. */
enum made_segment { MADE_LOAD, MADE_LOAD_DATA, MADE_DYNAMIC, MADE_NOTE, MADE_TLS, MADE_N_SEGMENTS };
enum made_section {
	MADE_NULL,
	MADE_TEXT,
	MADE_DYNSYM,
	MADE_DYNSTR,
	MADE_BUILD_ID,
	MADE_BSS,
	MADE_SYMTAB,
	MADE_STRTAB,
	MADE_SHSTRTAB,
	MADE_N_SECTIONS,
};

void make_elf(struct made *made, unsigned options);
/* The DT_ entry with that tag, to be changed. Fails the test when there is none. */
Elf64_Dyn *made_dynamic(struct made *made, int64_t tag);
Elf64_Ehdr *made_header(struct made *made);
Elf64_Phdr *made_segment(struct made *made, enum made_segment number);
Elf64_Shdr *made_section(struct made *made, enum made_section number);

#define MADE_BUILD_ID_BYTES 20
#define MADE_N_SYMBOLS 7
#define MADE_N_SYMTAB 8
/* Words of .data that DT_RELR relocates, by their number there. */
#define MADE_N_RELR 4

#endif
