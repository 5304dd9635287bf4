/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_UNIT_IMAGE_MUTABLE_H
#define TESTS_UNIT_IMAGE_MUTABLE_H

#include <elf.h>

#include "tests/unit/image/loaded.h"

/* A good patch in memory, to be changed field by field. */
struct copy {
	uint8_t *bytes; /* malloc'ed, the caller's */
	size_t n;
};

struct copy good_patch(const char *name);

/* All of these fail the test when there is no such thing. */
Elf64_Shdr *section_of(const struct copy *copy, const char *name);
/* which: 0 for the first segment of the type. */
Elf64_Phdr *segment_of(const struct copy *copy, uint32_t type, size_t which);
/* The symbol of that name in .dynsym; its index in *ret_index unless NULL. */
Elf64_Sym *symbol_of(const struct copy *copy, const char *name, uint32_t *ret_index);
/* The first relocation of a type in .rela.dyn or .rela.plt; against a symbol unless NULL. */
Elf64_Rela *relocation_of(const struct copy *copy, const char *table, uint32_t type,
			  const char *symbol);

#endif
