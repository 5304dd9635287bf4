/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finds the fields of a good patch that tests change. Trusts the file: a linker made it.
 */
#include <string.h>

#include <criterion/criterion.h>

#include "tests/unit/image/mutable.h"

struct copy good_patch(const char *name)
{
	struct copy copy = {0};

	copy.bytes = read_file(patch_path(name), &copy.n);
	return copy;
}

Elf64_Shdr *section_of(const struct copy *copy, const char *name)
{
	Elf64_Ehdr *header = (Elf64_Ehdr *)copy->bytes;
	Elf64_Shdr *sections = (Elf64_Shdr *)(copy->bytes + header->e_shoff);
	const char *names = (const char *)copy->bytes + sections[header->e_shstrndx].sh_offset;

	for (size_t i = 0; i < header->e_shnum; i++)
		if (strcmp(names + sections[i].sh_name, name) == 0)
			return &sections[i];
	cr_assert_fail("no section %s", name);
	return NULL;
}

Elf64_Phdr *segment_of(const struct copy *copy, uint32_t type, size_t which)
{
	Elf64_Ehdr *header = (Elf64_Ehdr *)copy->bytes;
	Elf64_Phdr *segments = (Elf64_Phdr *)(copy->bytes + header->e_phoff);

	for (size_t i = 0; i < header->e_phnum; i++)
		if (segments[i].p_type == type && which-- == 0)
			return &segments[i];
	cr_assert_fail("no segment of type %u", type);
	return NULL;
}

Elf64_Sym *symbol_of(const struct copy *copy, const char *name, uint32_t *ret_index)
{
	const Elf64_Shdr *section = section_of(copy, ".dynsym");
	const char *names =
		(const char *)copy->bytes + section_of(copy, ".dynstr")->sh_offset;
	Elf64_Sym *list = (Elf64_Sym *)(copy->bytes + section->sh_offset);

	for (uint32_t i = 0; i < section->sh_size / sizeof(*list); i++) {
		if (strcmp(names + list[i].st_name, name) != 0)
			continue;
		if (ret_index)
			*ret_index = i;
		return &list[i];
	}
	cr_assert_fail("no symbol %s", name);
	return NULL;
}

Elf64_Rela *relocation_of(const struct copy *copy, const char *table, uint32_t type,
			  const char *symbol)
{
	const Elf64_Shdr *section = section_of(copy, table);
	Elf64_Rela *list = (Elf64_Rela *)(copy->bytes + section->sh_offset);
	uint32_t index = 0;

	if (symbol)
		symbol_of(copy, symbol, &index);
	for (size_t i = 0; i < section->sh_size / sizeof(*list); i++)
		if (ELF64_R_TYPE(list[i].r_info) == type &&
		    (!symbol || ELF64_R_SYM(list[i].r_info) == index))
			return &list[i];
	cr_assert_fail("no relocation of type %u", type);
	return NULL;
}
