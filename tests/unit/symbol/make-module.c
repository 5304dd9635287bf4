/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writes an object with a symbol table and wraps it into a list of modules. */
#include "tests/unit/symbol/make-module.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>

#include "injector/base/io.h"

static const char shstrtab[] = "\0.text\0.symtab\0.strtab";
enum { NULL_SECTION, TEXT, SYMTAB, STRTAB, SHSTRTAB, N_SECTIONS };

static size_t string_bytes(const struct made_symbol *symbols, size_t n)
{
	size_t bytes = 1;

	for (size_t i = 0; i < n; i++)
		bytes += strlen(symbols[i].name) + 1;
	return bytes;
}

static void fill_symbols(const struct made_symbol *symbols, size_t n, Elf64_Sym *table,
			 char *strings)
{
	size_t at = 1;

	for (size_t i = 0; i < n; i++) {
		size_t length = strlen(symbols[i].name) + 1;
		uint16_t section = symbols[i].type == STT_FILE ? SHN_ABS : TEXT;

		table[i + 1] = (Elf64_Sym){
			.st_name = length > 1 ? (uint32_t)at : 0,
			.st_value = symbols[i].value,
			.st_size = symbols[i].size,
			.st_info = ELF64_ST_INFO(symbols[i].binding, symbols[i].type),
			.st_shndx = symbols[i].undefined ? SHN_UNDEF : section,
		};
		/* Linkers let a name be the end of another one's string. */
		const size_t before = i ? strlen(symbols[i - 1].name) + 1 : 0;

		if (before > length && table[i].st_name &&
		    strcmp(symbols[i - 1].name + before - length, symbols[i].name) == 0) {
			table[i + 1].st_name = table[i].st_name + (uint32_t)(before - length);
			continue;
		}
		memcpy(strings + at, symbols[i].name, length);
		at += length;
	}
}

/* bytes: taken over. */
static struct inj_elf *open_made(uint8_t *bytes, size_t length, bool in_file)
{
	struct inj_why why = {0};
	struct inj_elf *elf = NULL;
	int r;

	if (in_file) {
		INJ_FREE uint8_t *owned = bytes;
		INJ_CLOSE int fd = memfd_create("made", MFD_CLOEXEC);

		cr_assert_eq(inj_write_full(fd, owned, length), 0);
		r = inj_elf_open_fd(fd, "made", length, &elf, &why);
	} else {
		r = inj_elf_open_owned(bytes, length, "made", &elf, &why);
	}
	cr_assert_eq(r, 0, "%s", why.text);
	return elf;
}

static struct inj_elf *make_elf_with(const struct made_symbol *symbols, size_t n, bool in_file)
{
	size_t symtab_bytes = (n + 1) * sizeof(Elf64_Sym);
	size_t strtab_bytes = string_bytes(symbols, n);
	size_t at_symtab = sizeof(Elf64_Ehdr) + N_SECTIONS * sizeof(Elf64_Shdr);
	size_t at_strtab = at_symtab + symtab_bytes;
	size_t at_names = at_strtab + strtab_bytes;
	size_t length = at_names + sizeof(shstrtab);
	uint8_t *bytes = calloc(1, length);
	const Elf64_Ehdr header = {
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			    EV_CURRENT},
		.e_type = ET_DYN,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_shoff = sizeof(header),
		.e_shentsize = sizeof(Elf64_Shdr),
		.e_shnum = N_SECTIONS,
		.e_shstrndx = SHSTRTAB,
	};
	const Elf64_Shdr sections[N_SECTIONS] = {
		[TEXT] = {1, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR},
		[SYMTAB] = {7, SHT_SYMTAB, 0, 0, at_symtab, symtab_bytes, STRTAB, 1, 8,
			    sizeof(Elf64_Sym)},
		[STRTAB] = {15, SHT_STRTAB, 0, 0, at_strtab, strtab_bytes},
		[SHSTRTAB] = {0, SHT_STRTAB, 0, 0, at_names, sizeof(shstrtab)},
	};

	cr_assert_not_null(bytes);
	memcpy(bytes, &header, sizeof(header));
	memcpy(bytes + sizeof(header), sections, sizeof(sections));
	fill_symbols(symbols, n, (Elf64_Sym *)(void *)(bytes + at_symtab),
		     (char *)bytes + at_strtab);
	memcpy(bytes + at_names, shstrtab, sizeof(shstrtab));
	return open_made(bytes, length, in_file);
}

struct inj_modules *make_module(const struct made_symbol *symbols, size_t n)
{
	struct inj_modules *modules = wrap_elf(make_elf_with(symbols, n, false));

	cr_assert_not_null(modules);
	return modules;
}

struct inj_modules *make_large_module(const struct made_symbol *symbols, size_t n)
{
	struct inj_modules *modules = wrap_elf(make_elf_with(symbols, n, true));

	cr_assert_not_null(modules);
	own_modules(modules)->large_table = 2;
	return modules;
}
