/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads PT_DYNAMIC, the only part of a shared object that the dynamic linker itself believes.
 * Always holds afterwards: every table it names is file-backed from its first to its last byte, or
 * counts as absent when the tag is; tables of structures are aligned. Tables whose length nothing
 * states (symbols, hashes, version indices) extend to the end of their segment's file bytes, and
 * each access is checked against that. Refuses DT_REL, which x86-64 does not use.
 */
#include <string.h>

#include "injector/elf/elf-priv.h"

/* Real ones have some thirty; the limit bounds the work of hostile files. */
#define MAX_ENTRIES 4096

/* Tags kept in one pass; of repeated ones the last counts, as in ld.so. */
struct tags {
	uint64_t value[DT_NUM];
	bool given[DT_NUM];
	uint64_t gnu_hash, versym, verneed, n_verneed, verdef, n_verdef;
	bool has_gnu_hash, has_versym, has_verneed, has_verdef;
};

static int damaged(const struct inj_elf *elf, const char *what, struct inj_why *why)
{
	return inj_refuse(why, INJ_BAD_PATCH,
			  "%s is damaged: its dynamic section %s; build or copy it again",
			  elf->name, what);
}

static const Elf64_Phdr *find_dynamic(const struct inj_elf *elf)
{
	for (size_t i = 0; i < elf->n_segments; i++)
		if (elf->segments[i].p_type == PT_DYNAMIC && elf->segments[i].p_filesz)
			return &elf->segments[i];
	return NULL;
}

/* Entry `index`, false at DT_NULL and at the end. */
static bool entry_at(const struct inj_elf *elf, size_t index, Elf64_Dyn *ret)
{
	const struct elf_extent *entries = &elf->dynamic.entries;

	if (index >= entries->bytes / sizeof(*ret))
		return false;
	const uint8_t *bytes = elf_view(elf, entries->offset + index * sizeof(*ret), sizeof(*ret));

	if (!bytes)
		return false;
	memcpy(ret, bytes, sizeof(*ret));
	return ret->d_tag != DT_NULL;
}

static void keep_tag(struct tags *tags, const Elf64_Dyn *entry)
{
	uint64_t value = entry->d_un.d_val;

	switch (entry->d_tag) {
	case DT_GNU_HASH:
		tags->gnu_hash = value;
		tags->has_gnu_hash = true;
		break;
	case DT_VERSYM:
		tags->versym = value;
		tags->has_versym = true;
		break;
	case DT_VERNEED:
		tags->verneed = value;
		tags->has_verneed = true;
		break;
	case DT_VERNEEDNUM:
		tags->n_verneed = value;
		break;
	case DT_VERDEF:
		tags->verdef = value;
		tags->has_verdef = true;
		break;
	case DT_VERDEFNUM:
		tags->n_verdef = value;
		break;
	default:
		if (entry->d_tag > 0 && entry->d_tag < DT_NUM) {
			tags->value[entry->d_tag] = value;
			tags->given[entry->d_tag] = true;
		}
	}
}

/* Extent of exactly `bytes`, with whole entries. */
static bool sized_table(const struct inj_elf *elf, uint64_t vaddr, uint64_t bytes, size_t entry,
			size_t alignment, struct elf_extent *ret)
{
	struct elf_extent extent;

	if (bytes == 0)
		return true;
	if (!elf_locate(elf, vaddr, &extent) || bytes > extent.bytes || bytes % entry ||
	    extent.offset % alignment)
		return false;
	*ret = (struct elf_extent){extent.offset, bytes};
	return true;
}

/* Extent to the end of the segment's file bytes. */
static bool open_table(const struct inj_elf *elf, bool given, uint64_t vaddr, size_t alignment,
		       struct elf_extent *ret)
{
	struct elf_extent extent;

	if (!given)
		return true;
	if (!elf_locate(elf, vaddr, &extent) || extent.offset % alignment)
		return false;
	*ret = extent;
	return true;
}

static int keep_symbol_tables(struct inj_elf *elf, const struct tags *tags, struct inj_why *why)
{
	struct elf_dynamic *dynamic = &elf->dynamic;

	if (tags->given[DT_STRTAB] &&
	    !sized_table(elf, tags->value[DT_STRTAB], tags->value[DT_STRSZ], 1, 1,
			 &dynamic->strings))
		return damaged(elf, "places the strings outside the file", why);
	if (tags->given[DT_SYMTAB] && tags->given[DT_SYMENT] &&
	    tags->value[DT_SYMENT] != sizeof(Elf64_Sym))
		return damaged(elf, "gives symbols a wrong size", why);
	if (!open_table(elf, tags->given[DT_SYMTAB], tags->value[DT_SYMTAB], _Alignof(Elf64_Sym),
			&dynamic->symbols))
		return damaged(elf, "places the symbols outside the file", why);
	if (!open_table(elf, tags->has_gnu_hash, tags->gnu_hash, 4, &dynamic->gnu_hash) ||
	    !open_table(elf, tags->given[DT_HASH], tags->value[DT_HASH], 4, &dynamic->hash))
		return damaged(elf, "places a hash table outside the file", why);
	if (!open_table(elf, tags->has_versym, tags->versym, 2, &dynamic->versions) ||
	    !open_table(elf, tags->has_verneed, tags->verneed, 4, &dynamic->verneed) ||
	    !open_table(elf, tags->has_verdef, tags->verdef, 4, &dynamic->verdef))
		return damaged(elf, "places the versions outside the file", why);
	dynamic->n_verneed = tags->n_verneed;
	dynamic->n_verdef = tags->n_verdef;
	return 0;
}

static int keep_relocations(struct inj_elf *elf, const struct tags *tags, struct inj_why *why)
{
	struct elf_dynamic *dynamic = &elf->dynamic;

	if (tags->given[DT_REL] ||
	    (tags->given[DT_PLTREL] && tags->value[DT_PLTREL] != DT_RELA &&
	     tags->value[DT_PLTRELSZ]))
		return damaged(elf, "uses relocations without addends", why);
	if ((tags->given[DT_RELAENT] && tags->value[DT_RELAENT] != sizeof(Elf64_Rela)) ||
	    (tags->given[DT_RELRENT] && tags->value[DT_RELRENT] != sizeof(Elf64_Relr)))
		return damaged(elf, "gives relocations a wrong size", why);
	if (!sized_table(elf, tags->value[DT_RELA], tags->value[DT_RELASZ], sizeof(Elf64_Rela),
			 _Alignof(Elf64_Rela), &dynamic->rela) ||
	    !sized_table(elf, tags->value[DT_JMPREL], tags->value[DT_PLTRELSZ], sizeof(Elf64_Rela),
			 _Alignof(Elf64_Rela), &dynamic->jmprel) ||
	    !sized_table(elf, tags->value[DT_RELR], tags->value[DT_RELRSZ], sizeof(Elf64_Relr),
			 _Alignof(Elf64_Relr), &dynamic->relr))
		return damaged(elf, "places relocations outside the file", why);
	return 0;
}

/*
 * A static program at a fixed address has IRELATIVE relocations but no dynamic section: its start
 * code finds them by symbols of the linker. The section that holds them is the loaded one.
 */
static int keep_static_relocations(struct inj_elf *elf, struct inj_why *why)
{
	for (size_t i = 0; i < elf->n_sections && elf->header.e_type == ET_EXEC; i++) {
		const struct inj_elf_section *section = &elf->sections[i];

		if (section->type != SHT_RELA || !(section->flags & SHF_ALLOC))
			continue;
		if (!sized_table(elf, section->address, section->size, sizeof(Elf64_Rela),
				 _Alignof(Elf64_Rela), &elf->dynamic.rela))
			return damaged(elf, "is absent and its relocations lie outside the file",
				       why);
		return 0;
	}
	return 0;
}

int elf_read_dynamic(struct inj_elf *elf, struct inj_why *why)
{
	const Elf64_Phdr *segment = find_dynamic(elf);
	struct tags tags = {0};
	Elf64_Dyn entry;

	if (!segment)
		return elf->debug_only ? 0 : keep_static_relocations(elf, why);
	elf->dynamic.entries = (struct elf_extent){segment->p_offset, segment->p_filesz};
	if (segment->p_filesz > MAX_ENTRIES * sizeof(entry))
		elf->dynamic.entries.bytes = MAX_ENTRIES * sizeof(entry);
	for (size_t i = 0; entry_at(elf, i, &entry); i++)
		keep_tag(&tags, &entry);
	int r = keep_symbol_tables(elf, &tags, why);

	return r ? r : keep_relocations(elf, &tags, why);
}

bool inj_elf_dynamic(const struct inj_elf *elf, int64_t tag, uint64_t *ret)
{
	Elf64_Dyn entry;
	bool found = false;

	for (size_t i = 0; entry_at(elf, i, &entry); i++) {
		if (entry.d_tag != tag)
			continue;
		*ret = entry.d_un.d_val;
		found = true;
	}
	return found;
}

const char *inj_elf_soname(const struct inj_elf *elf)
{
	const struct elf_extent *strings = &elf->dynamic.strings;
	uint64_t offset;

	if (!inj_elf_dynamic(elf, DT_SONAME, &offset) || offset >= strings->bytes)
		return NULL;
	return elf_string(elf, strings->offset + offset, strings->offset + strings->bytes);
}
