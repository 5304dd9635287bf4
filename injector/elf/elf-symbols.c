/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Single symbols and whole symbol tables, for .symtab through its section and for the dynamic table
 * through PT_DYNAMIC. Always holds: an index is checked against the table, a name ends inside its
 * string table. The dynamic table's length is stated nowhere: it is the most that a section header,
 * the hash tables and the relocations vouch for, and never more than fits its segment.
 */
#include <string.h>

#include "injector/base/bisect.h"
#include "injector/elf/elf-priv.h"

/* As far as the beginning of a symbol's file is looked for without reading the whole table. */
#define NEAR_STEPS 2048
#define NEAR_LOOKS 64

struct table {
	struct elf_extent symbols;
	struct elf_extent strings;
	size_t n_symbols;
};

/* The highest symbol that any relocation names, plus one. */
static size_t count_by_relocations(const struct inj_elf *elf)
{
	size_t count = 0;

	for (size_t i = 0; i < inj_elf_n_rela(elf); i++) {
		const struct inj_elf_rela *rela = inj_elf_relocation_at(elf, i);

		if (rela && (size_t)rela->symbol + 1 > count)
			count = (size_t)rela->symbol + 1;
	}
	return count;
}

static size_t count_by_section(const struct inj_elf *elf)
{
	for (size_t i = 0; i < elf->n_sections; i++)
		if (elf->sections[i].type == SHT_DYNSYM &&
		    elf->section_offsets[i] == elf->dynamic.symbols.offset)
			return elf->sections[i].size / sizeof(Elf64_Sym);
	return 0;
}

static size_t count_dynamic(const struct inj_elf *elf)
{
	struct elf_dynamic *dynamic = &elf_cache(elf)->dynamic;
	size_t limit = dynamic->symbols.bytes / sizeof(Elf64_Sym);

	if (dynamic->counted)
		return dynamic->n_symbols;
	size_t count = count_by_section(elf);

	if (count == 0) {
		size_t named = count_by_relocations(elf);

		count = elf_hash_count(elf);
		if (named > count)
			count = named;
	}
	dynamic->n_symbols = count < limit ? count : limit;
	dynamic->counted = true;
	return dynamic->n_symbols;
}

static bool find_table(const struct inj_elf *elf, uint32_t which, struct table *ret)
{
	if (which == SHT_DYNSYM) {
		ret->symbols = elf->dynamic.symbols;
		ret->strings = elf->dynamic.strings;
		ret->n_symbols = count_dynamic(elf);
		return ret->n_symbols != 0;
	}
	if (which != SHT_SYMTAB || !elf->symtab)
		return false;
	const struct inj_elf_section *section = &elf->sections[elf->symtab];
	const struct inj_elf_section *strings = &elf->sections[section->link];

	ret->symbols = (struct elf_extent){elf->section_offsets[elf->symtab], section->size};
	ret->strings = (struct elf_extent){elf->section_offsets[section->link], 0};
	if (strings->type == SHT_STRTAB)
		ret->strings.bytes = strings->size;
	ret->n_symbols = section->size / sizeof(Elf64_Sym);
	return ret->n_symbols != 0;
}

size_t inj_elf_n_symbols(const struct inj_elf *elf, uint32_t which)
{
	struct table table;

	return find_table(elf, which, &table) ? table.n_symbols : 0;
}

static const char *table_string(const struct inj_elf *elf, const struct table *table,
				uint32_t offset)
{
	if (offset >= table->strings.bytes)
		return offset == 0 ? "" : NULL;
	return elf_string(elf, table->strings.offset + offset,
			  table->strings.offset + table->strings.bytes);
}

int inj_elf_symbol(const struct inj_elf *elf, uint32_t which, size_t index,
		   struct inj_elf_symbol *ret)
{
	struct table table;
	Elf64_Sym raw;

	if (!find_table(elf, which, &table) || index >= table.n_symbols)
		return -ENOENT;
	const uint8_t *bytes =
		elf_view(elf, table.symbols.offset + index * sizeof(raw), sizeof(raw));

	if (!bytes)
		return -EIO;
	memcpy(&raw, bytes, sizeof(raw));
	const char *name = table_string(elf, &table, raw.st_name);

	if (!name)
		return -EBADMSG;
	*ret = (struct inj_elf_symbol){
		.name = name,
		.value = raw.st_value,
		.size = raw.st_size,
		.type = ELF64_ST_TYPE(raw.st_info),
		.binding = ELF64_ST_BIND(raw.st_info),
		.visibility = ELF64_ST_VISIBILITY(raw.st_other),
		.section = raw.st_shndx,
	};
	if (which == SHT_SYMTAB) {
		ret->file = inj_elf_symbol_file(elf, index);
	} else if (elf->dynamic.versions.bytes) {
		uint16_t version = elf_version_index(elf, index);

		ret->version = elf_version_name(elf, version & 0x7fff);
		ret->version_hidden = version & 0x8000;
	}
	return 0;
}

int inj_elf_pass_symbols(const struct inj_elf *elf, uint32_t which, inj_elf_pass_fn pass,
			 void *context)
{
	struct table table;

	if (!find_table(elf, which, &table))
		return -ENOENT;
	if (table.n_symbols > INJ_ELF_MAX_SYMBOLS)
		return -EFBIG;
	return elf_pass(elf, table.symbols.offset, table.n_symbols * sizeof(Elf64_Sym),
			sizeof(Elf64_Sym), 0, pass, context);
}

int inj_elf_pass_strings(const struct inj_elf *elf, uint32_t which, size_t overlap,
			 inj_elf_pass_fn pass, void *context)
{
	struct table table;

	if (!find_table(elf, which, &table))
		return -ENOENT;
	if (table.strings.bytes > INJ_ELF_MAX_STRINGS)
		return -EFBIG;
	return elf_pass(elf, table.strings.offset, table.strings.bytes, 1, overlap, pass, context);
}

int inj_elf_symbol_table(const struct inj_elf *elf, uint32_t which,
			 struct inj_elf_symbol_table *ret)
{
	struct table table;

	if (!find_table(elf, which, &table))
		return -ENOENT;
	if (table.n_symbols > INJ_ELF_MAX_SYMBOLS || table.strings.bytes > INJ_ELF_MAX_STRINGS)
		return -EFBIG;
	const uint8_t *symbols =
		elf_view(elf, table.symbols.offset, table.n_symbols * sizeof(Elf64_Sym));
	const uint8_t *strings = elf_view(elf, table.strings.offset, table.strings.bytes);

	if (!symbols || !strings)
		return -EIO;
	/* What follows the last NUL has no end; cut it off. */
	const uint8_t *last =
		table.strings.bytes ? memrchr(strings, 0, table.strings.bytes) : NULL;

	if (!last)
		return -EBADMSG;
	*ret = (struct inj_elf_symbol_table){
		.symbols = (const Elf64_Sym *)(const void *)symbols,
		.n_symbols = table.n_symbols,
		.strings = (const char *)strings,
		.n_strings = (size_t)(last - strings) + 1,
	};
	return 0;
}

/* Remember where each STT_FILE stands among the local symbols. */
static bool find_file_marks(struct inj_elf *elf)
{
	struct inj_elf_symbol_table table;
	size_t n_allocated = 0;

	elf->file_marks_known = true;
	if (inj_elf_symbol_table(elf, SHT_SYMTAB, &table) < 0)
		return false;
	for (size_t i = 0; i < table.n_symbols; i++) {
		if (ELF64_ST_TYPE(table.symbols[i].st_info) != STT_FILE)
			continue;
		if (elf->n_file_marks == n_allocated) {
			n_allocated = n_allocated ? 2 * n_allocated : 256;
			void *grown = reallocarray(elf->file_marks, n_allocated,
						   sizeof(*elf->file_marks));

			if (!grown)
				return false;
			elf->file_marks = grown;
		}
		elf->file_marks[elf->n_file_marks++] = (struct elf_file_mark){
			.index = (uint32_t)i, .string = table.symbols[i].st_name};
	}
	return true;
}

/* The mark of a symbol whose file begins not far before it: the whole table need not be read. */
static bool find_near_mark(const struct inj_elf *elf, const struct table *table, size_t index,
			   struct elf_file_mark *ret)
{
	size_t last = index > NEAR_STEPS ? index - NEAR_STEPS : 0;

	/* Who asks for many symbols is better served by a list. */
	if (elf_cache(elf)->n_near_looks++ >= NEAR_LOOKS)
		return false;
	for (size_t i = index + 1; i-- > last;) {
		const uint8_t *bytes = elf_view(elf, table->symbols.offset + i * sizeof(Elf64_Sym),
						sizeof(Elf64_Sym));
		Elf64_Sym symbol;

		if (!bytes)
			return false;
		memcpy(&symbol, bytes, sizeof(symbol));
		if (ELF64_ST_TYPE(symbol.st_info) != STT_FILE)
			continue;
		*ret = (struct elf_file_mark){.index = (uint32_t)i, .string = symbol.st_name};
		return true;
	}
	return false;
}

static bool find_known_mark(const struct inj_elf *elf, size_t index, struct elf_file_mark *ret)
{
	size_t low = INJ_COUNT_WHILE(elf->n_file_marks, i, elf->file_marks[i].index <= index);

	if (low == 0)
		return false;
	*ret = elf->file_marks[low - 1];
	return true;
}

const char *inj_elf_symbol_file(const struct inj_elf *elf, size_t index)
{
	struct elf_file_mark mark;
	struct table table;

	if (!find_table(elf, SHT_SYMTAB, &table) || index >= table.n_symbols)
		return NULL;
	const uint8_t *bytes = elf_view(elf, table.symbols.offset + index * sizeof(Elf64_Sym),
					sizeof(Elf64_Sym));

	if (!bytes || ELF64_ST_BIND(bytes[offsetof(Elf64_Sym, st_info)]) != STB_LOCAL)
		return NULL;
	if (elf->file_marks_known || !find_near_mark(elf, &table, index, &mark)) {
		if (!elf->file_marks_known && !find_file_marks(elf_cache(elf)))
			return NULL;
		if (!find_known_mark(elf, index, &mark))
			return NULL;
	}
	/* The linker ends the files with a nameless one before its own local symbols. */
	const char *name = table_string(elf, &table, mark.string);

	return name && *name ? name : NULL;
}
