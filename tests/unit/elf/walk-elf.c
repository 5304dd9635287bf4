/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Touches all that the reader hands out: under a sanitizer or beside a guard page that is a proof.
 */
#include <string.h>

#include "tests/unit/elf/walk-elf.h"

/* Hostile counts may be large; what is beyond shows nothing new. */
#define MAX_WALK 4096

static uint64_t sum_bytes(const uint8_t *bytes, size_t length)
{
	uint64_t sum = 0;

	for (size_t i = 0; bytes && i < length; i++)
		sum = sum * 31 + bytes[i];
	return sum;
}

static uint64_t sum_string(const char *text)
{
	return text ? sum_bytes((const uint8_t *)text, strlen(text)) : 0;
}

static size_t at_most(size_t n)
{
	return n < MAX_WALK ? n : MAX_WALK;
}

static uint64_t walk_symbols(const struct inj_elf *elf, uint32_t which)
{
	struct inj_elf_symbol_table table;
	struct inj_elf_symbol symbol;
	uint64_t sum = 0;
	size_t n = inj_elf_n_symbols(elf, which), index;

	for (size_t i = 0; i < at_most(n + 2); i++) {
		if (inj_elf_symbol(elf, which, i, &symbol) < 0)
			continue;
		sum += sum_string(symbol.name) + sum_string(symbol.file) +
		       sum_string(symbol.version) + symbol.value;
		if (inj_elf_dynamic_lookup(elf, symbol.name, NULL, &index) == 0)
			sum += index;
		if (inj_elf_dynamic_lookup(elf, symbol.name, symbol.version, &index) == 0)
			sum += index;
		sum += sum_string(inj_elf_symbol_file(elf, i));
	}
	if (inj_elf_symbol_table(elf, which, &table) == 0) {
		sum += sum_bytes((const uint8_t *)table.strings, table.n_strings);
		sum += sum_bytes((const uint8_t *)table.symbols,
				 table.n_symbols * sizeof(*table.symbols));
	}
	return sum;
}

static uint64_t walk_layout(const struct inj_elf *elf)
{
	uint64_t sum = inj_elf_header(elf)->e_entry + inj_elf_is_debug_only(elf);
	size_t n;
	const Elf64_Phdr *segments = inj_elf_segments(elf, &n);

	for (size_t i = 0; i < at_most(n); i++)
		sum += sum_bytes(inj_elf_bytes_at(elf, segments[i].p_vaddr, segments[i].p_filesz),
				 segments[i].p_filesz);
	for (size_t i = 0; i < at_most(inj_elf_n_sections(elf)); i++) {
		const struct inj_elf_section *section = inj_elf_section_at(elf, i);

		sum += sum_string(section->name) + sum_bytes(section->bytes, section->size);
	}
	return sum;
}

uint64_t walk_elf(const struct inj_elf *elf)
{
	uint64_t sum = walk_layout(elf);
	uint64_t value;
	size_t n;
	const uint8_t *id = inj_elf_build_id(elf, &n);

	sum += sum_bytes(id, n) + sum_string(inj_elf_soname(elf));
	if (inj_elf_dynamic(elf, DT_DEBUG, &value))
		sum += value;
	sum += walk_symbols(elf, SHT_SYMTAB) + walk_symbols(elf, SHT_DYNSYM);
	n = inj_elf_n_relocations(elf);
	for (size_t i = 0; i < at_most(n); i++) {
		const struct inj_elf_rela *rela = inj_elf_relocation_at(elf, i);

		if (rela)
			sum += rela->offset + rela->type + rela->symbol + (uint64_t)rela->addend;
	}
	if (n && inj_elf_relocation_at(elf, n - 1))
		sum++;
	return sum;
}
