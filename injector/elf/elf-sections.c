/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads and checks section headers, including the extended counts of gABI chapter 4 (e_shnum 0,
 * PN_XNUM, SHN_XINDEX). Always holds: a section that is not SHT_NOBITS lies inside the file, its
 * name is a terminated string, symbol tables have whole aligned entries and a string table.
 * A file without section headers is sound and has none.
 */
#include <string.h>

#include "injector/elf/elf-priv.h"

static bool read_section_header(const struct inj_elf *elf, size_t index, Elf64_Shdr *ret)
{
	uint64_t offset;

	if (__builtin_add_overflow(elf->header.e_shoff, index * sizeof(*ret), &offset))
		return false;
	const uint8_t *bytes = elf_view(elf, offset, sizeof(*ret));

	if (!bytes)
		return false;
	memcpy(ret, bytes, sizeof(*ret));
	return true;
}

int elf_section_counts(const struct inj_elf *elf, size_t *ret_n_sections, size_t *ret_n_segments,
		       size_t *ret_names, struct inj_why *why)
{
	const Elf64_Ehdr *header = &elf->header;
	uint64_t n_sections = header->e_shoff ? header->e_shnum : 0;
	uint64_t n_segments = header->e_phoff ? header->e_phnum : 0;
	uint64_t names = header->e_shstrndx;
	Elf64_Shdr first = {0};

	if (header->e_shoff) {
		if (!read_section_header(elf, 0, &first))
			return inj_refuse(
				why, INJ_BAD_PATCH,
				"%s is truncated: its section headers start at byte %llu of "
				"%zu; build or copy it again",
				elf->name, (unsigned long long)header->e_shoff, elf->store.length);
		if (n_sections == 0)
			n_sections = first.sh_size;
		if (names == SHN_XINDEX)
			names = first.sh_link;
	}
	if (n_segments == PN_XNUM && first.sh_info)
		n_segments = first.sh_info;
	if (n_sections > elf->store.length / sizeof(Elf64_Shdr) ||
	    !elf_inside(header->e_shoff, n_sections * sizeof(Elf64_Shdr), elf->store.length) ||
	    (n_sections && names >= n_sections))
		return inj_refuse(
			why, INJ_BAD_PATCH,
			"%s is truncated or damaged: %llu section headers at byte %llu do not "
			"fit its %zu bytes; build or copy it again",
			elf->name, (unsigned long long)n_sections,
			(unsigned long long)header->e_shoff, elf->store.length);
	if (n_sections > INJ_ELF_MAX_SECTIONS || n_segments > INJ_ELF_MAX_SEGMENTS)
		return inj_refuse(
			why, INJ_BAD_PATCH,
			"%s has %llu sections and %llu segments, %lu and %lu are allowed; "
			"link it anew",
			elf->name, (unsigned long long)n_sections, (unsigned long long)n_segments,
			INJ_ELF_MAX_SECTIONS, INJ_ELF_MAX_SEGMENTS);
	*ret_n_sections = n_sections;
	*ret_n_segments = n_segments;
	*ret_names = n_sections ? names : 0;
	return 0;
}

/* What is wrong with a section, or NULL. */
static const char *section_fault(const struct inj_elf *elf, const Elf64_Shdr *header, size_t count)
{
	if (header->sh_type == SHT_NOBITS || header->sh_type == SHT_NULL)
		return NULL;
	if (!elf_inside(header->sh_offset, header->sh_size, elf->store.length))
		return "reaches beyond the end of the file";
	if (header->sh_type != SHT_SYMTAB)
		return NULL;
	if (header->sh_entsize != sizeof(Elf64_Sym) || header->sh_size % sizeof(Elf64_Sym))
		return "is a symbol table with entries of a wrong size";
	if (header->sh_offset % _Alignof(Elf64_Sym))
		return "is a symbol table at an odd place";
	if (header->sh_link == 0 || header->sh_link >= count)
		return "is a symbol table without strings";
	return NULL;
}

static const char *section_name(const struct inj_elf *elf, const Elf64_Shdr *names, uint32_t offset)
{
	if (names->sh_type != SHT_STRTAB)
		return "";
	if (offset >= names->sh_size)
		return NULL;
	return elf_string(elf, names->sh_offset + offset, names->sh_offset + names->sh_size);
}

static int read_names_header(const struct inj_elf *elf, size_t names, Elf64_Shdr *ret,
			     struct inj_why *why)
{
	*ret = (Elf64_Shdr){0};
	if (names == 0)
		return 0;
	if (!read_section_header(elf, names, ret) || ret->sh_type != SHT_STRTAB ||
	    !elf_inside(ret->sh_offset, ret->sh_size, elf->store.length))
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s is damaged: section %zu does not hold the section names; "
				  "build or copy it again",
				  elf->name, names);
	return 0;
}

static int add_section(struct inj_elf *elf, size_t index, const Elf64_Shdr *names, size_t count,
		       struct inj_why *why)
{
	Elf64_Shdr header;

	if (!read_section_header(elf, index, &header))
		return inj_broke(why, -EIO, "%s became shorter while it was read", elf->name);
	const char *fault = section_fault(elf, &header, count);
	const char *name = section_name(elf, names, header.sh_name);

	if (!fault && !name)
		fault = "has a name outside the table of names";
	if (fault)
		return inj_refuse(
			why, INJ_BAD_PATCH,
			"%s is truncated or damaged: section %zu (%s) at byte %llu, %llu bytes, "
			"%s; build or copy it again",
			elf->name, index, name ? name : "?", (unsigned long long)header.sh_offset,
			(unsigned long long)header.sh_size, fault);
	if (header.sh_type == SHT_SYMTAB && !elf->symtab)
		elf->symtab = index;
	elf->section_offsets[index] = header.sh_offset;
	elf->sections[index] = (struct inj_elf_section){
		.name = name,
		.type = header.sh_type,
		.flags = header.sh_flags,
		.address = header.sh_addr,
		.size = header.sh_size,
		.link = header.sh_link,
		.info = header.sh_info,
		.entry_size = header.sh_entsize,
		.alignment = header.sh_addralign,
	};
	return 0;
}

/* A separate debug file keeps the headers of the code but not the code. */
static bool code_is_missing(const struct inj_elf *elf)
{
	bool seen = false;

	for (size_t i = 0; i < elf->n_sections; i++) {
		const struct inj_elf_section *section = &elf->sections[i];

		if (!(section->flags & SHF_ALLOC) || !(section->flags & SHF_EXECINSTR))
			continue;
		if (section->type != SHT_NOBITS)
			return false;
		seen = true;
	}
	return seen;
}

int elf_read_sections(struct inj_elf *elf, size_t count, size_t names, struct inj_why *why)
{
	Elf64_Shdr names_header;
	int r = read_names_header(elf, names, &names_header, why);

	if (r || count == 0)
		return r;
	elf->sections = calloc(count, sizeof(*elf->sections));
	elf->section_offsets = calloc(count, sizeof(*elf->section_offsets));
	if (!elf->sections || !elf->section_offsets)
		return inj_broke(why, -ENOMEM, "cannot read the sections of %s", elf->name);
	for (size_t i = 0; i < count; i++) {
		r = add_section(elf, i, &names_header, count, why);
		if (r)
			return r;
	}
	elf->n_sections = count;
	elf->debug_only = code_is_missing(elf);
	return 0;
}

size_t inj_elf_n_sections(const struct inj_elf *elf)
{
	return elf->n_sections;
}

const struct inj_elf_section *inj_elf_section_at(const struct inj_elf *elf, size_t index)
{
	if (index >= elf->n_sections)
		return NULL;
	struct inj_elf_section *section = &elf_cache(elf)->sections[index];

	if (!section->bytes && section->type != SHT_NOBITS && section->type != SHT_NULL)
		section->bytes = elf_view(elf, elf->section_offsets[index], section->size);
	return section;
}

const struct inj_elf_section *inj_elf_section_named(const struct inj_elf *elf, const char *name)
{
	for (size_t i = 0; i < elf->n_sections; i++)
		if (strcmp(elf->sections[i].name, name) == 0)
			return inj_elf_section_at(elf, i);
	return NULL;
}
