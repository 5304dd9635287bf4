/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The reader on a sound object: every accessor against what was put in. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/unit/elf/make-elf.h"
#include "tests/unit/elf/walk-elf.h"

static struct made made;

static struct inj_elf *open_made(unsigned options)
{
	struct inj_why why = {0};
	struct inj_elf *elf = NULL;

	make_elf(&made, options);
	cr_assert(eq(int, inj_elf_open_bytes(made.bytes, made.length, "sample", &elf, &why), 0),
		  "%s", why.text);
	return elf;
}

#define OPEN(variable, options) \
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *variable = open_made(options)

Test(elf, headers_and_segments)
{
	OPEN(elf, MAKE_PLAIN);
	size_t n;
	const Elf64_Phdr *segments = inj_elf_segments(elf, &n);

	cr_assert(eq(sz, n, MADE_N_SEGMENTS));
	cr_assert(eq(u32, segments[MADE_DYNAMIC].p_type, PT_DYNAMIC));
	cr_assert(eq(u64, inj_elf_header(elf)->e_type, ET_DYN));
	cr_assert(eq(sz, inj_elf_length(elf), made.length));
	cr_assert(not(inj_elf_is_debug_only(elf)));
}

Test(elf, sections_by_number_and_name)
{
	OPEN(elf, MAKE_PLAIN);
	const struct inj_elf_section *section;

	cr_assert(eq(sz, inj_elf_n_sections(elf), MADE_N_SECTIONS));
	section = inj_elf_section_named(elf, ".text");
	cr_assert(ne(ptr, (void *)section, NULL));
	cr_assert(eq(ptr, (void *)section, (void *)inj_elf_section_at(elf, MADE_TEXT)));
	cr_assert(eq(u8, section->bytes[4], 0xc3));
	section = inj_elf_section_named(elf, ".bss");
	cr_assert(eq(ptr, (void *)section->bytes, NULL));
	cr_assert(eq(u64, section->size, 1 << 20));
	cr_assert(eq(ptr, (void *)inj_elf_section_named(elf, ".none"), NULL));
	cr_assert(eq(ptr, (void *)inj_elf_section_at(elf, MADE_N_SECTIONS), NULL));
}

Test(elf, extended_counts)
{
	OPEN(elf, MAKE_EXTENDED_COUNTS);
	size_t n;

	inj_elf_segments(elf, &n);
	cr_assert(eq(sz, n, MADE_N_SEGMENTS));
	cr_assert(eq(sz, inj_elf_n_sections(elf), MADE_N_SECTIONS));
	cr_assert_str_eq(inj_elf_section_at(elf, MADE_SYMTAB)->name, ".symtab");
}

Test(elf, build_id_from_segment_or_section)
{
	static const unsigned options[] = {MAKE_PLAIN, MAKE_NO_SECTIONS, MAKE_DEBUG_ONLY};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(options); i++) {
		OPEN(elf, options[i]);
		size_t n;
		const uint8_t *id = inj_elf_build_id(elf, &n);

		cr_assert(eq(sz, n, MADE_BUILD_ID_BYTES));
		cr_assert(eq(u8, id[0], 0xa0));
		cr_assert(eq(u8, id[MADE_BUILD_ID_BYTES - 1], 0xa0 + MADE_BUILD_ID_BYTES - 1));
	}
}

Test(elf, bytes_at_addresses)
{
	OPEN(elf, MAKE_PLAIN);
	size_t data_bytes = made.length - made.data;

	cr_assert(eq(u8, inj_elf_bytes_at(elf, made.text, 5)[4], 0xc3));
	cr_assert(eq(u64, *(const uint64_t *)inj_elf_bytes_at(elf, made.data + 8, 8), 0x1001));
	cr_assert(ne(ptr, (void *)inj_elf_bytes_at(elf, made.data, data_bytes), NULL));
	/* .bss and what crosses into it has no bytes; neither does the space between segments. */
	cr_assert(eq(ptr, (void *)inj_elf_bytes_at(elf, made.data, data_bytes + 1), NULL));
	cr_assert(eq(ptr, (void *)inj_elf_bytes_at(elf, made.data - 4, 8), NULL));
	cr_assert(eq(ptr, (void *)inj_elf_bytes_at(elf, UINT64_MAX, 1), NULL));
	cr_assert(eq(ptr, (void *)inj_elf_bytes_at(elf, 0, SIZE_MAX), NULL));
}

Test(elf, dynamic_values)
{
	OPEN(elf, MAKE_NO_SECTIONS);
	uint64_t value = 0;

	cr_assert(inj_elf_dynamic(elf, DT_RELA, &value));
	cr_assert(eq(u64, value, made.rela));
	cr_assert(not(inj_elf_dynamic(elf, DT_INIT, &value)));
	cr_assert_str_eq(inj_elf_soname(elf), "libsample.so");
}

static void expect_symbol(const struct inj_elf *elf, uint32_t which, size_t index, const char *name,
			  const char *version, const char *file)
{
	struct inj_elf_symbol symbol;

	cr_assert(eq(int, inj_elf_symbol(elf, which, index, &symbol), 0));
	cr_expect_str_eq(symbol.name, name);
	cr_expect_eq(!symbol.version, !version);
	if (version)
		cr_expect_str_eq(symbol.version, version);
	cr_expect_eq(!symbol.file, !file, "file of symbol %zu: %s", index, symbol.file);
	if (file)
		cr_expect_str_eq(symbol.file, file);
}

Test(elf, dynamic_symbols_without_sections)
{
	/* With DT_HASH the count is stated, with DT_GNU_HASH alone it ends a chain. */
	static const unsigned options[] = {MAKE_PLAIN, MAKE_NO_SECTIONS,
					   MAKE_NO_SECTIONS | MAKE_NO_SYSV_HASH,
					   MAKE_NO_SECTIONS | MAKE_NO_GNU_HASH};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(options); i++) {
		OPEN(elf, options[i]);

		cr_assert(eq(sz, inj_elf_n_symbols(elf, SHT_DYNSYM), MADE_N_SYMBOLS));
		expect_symbol(elf, SHT_DYNSYM, 0, "", NULL, NULL);
		expect_symbol(elf, SHT_DYNSYM, 1, "puts", "GLIBC_2.2.5", NULL);
		expect_symbol(elf, SHT_DYNSYM, 2, "alpha", "V1", NULL);
		expect_symbol(elf, SHT_DYNSYM, 3, "alpha", "V2", NULL);
		expect_symbol(elf, SHT_DYNSYM, 4, "beta", NULL, NULL);
	}
}

Test(elf, count_by_relocations_alone)
{
	/* Neither hash table nor sections: relocations vouch for symbols up to 4. */
	OPEN(elf, MAKE_NO_SECTIONS | MAKE_NO_GNU_HASH | MAKE_NO_SYSV_HASH);

	cr_assert(eq(sz, inj_elf_n_symbols(elf, SHT_DYNSYM), 5));
}

Test(elf, symbol_attributes)
{
	OPEN(elf, MAKE_PLAIN);
	struct inj_elf_symbol symbol;

	cr_assert(eq(int, inj_elf_symbol(elf, SHT_DYNSYM, 2, &symbol), 0));
	cr_assert(symbol.version_hidden);
	cr_assert(eq(u64, symbol.value, 0x100));
	cr_assert(eq(int, inj_elf_symbol(elf, SHT_DYNSYM, 4, &symbol), 0));
	cr_assert(eq(u8, symbol.binding, STB_WEAK));
	cr_assert(eq(u8, symbol.type, STT_OBJECT));
	cr_assert(eq(int, inj_elf_symbol(elf, SHT_DYNSYM, 6, &symbol), 0));
	cr_assert(eq(u8, symbol.visibility, STV_PROTECTED));
	cr_assert(eq(int, inj_elf_symbol(elf, SHT_DYNSYM, MADE_N_SYMBOLS, &symbol), -ENOENT));
	cr_assert(eq(int, inj_elf_symbol(elf, SHT_SYMTAB, SIZE_MAX, &symbol), -ENOENT));
	cr_assert(eq(int, inj_elf_symbol(elf, SHT_STRTAB, 1, &symbol), -ENOENT));
}

Test(elf, files_of_local_symbols)
{
	OPEN(elf, MAKE_PLAIN);

	cr_assert(eq(sz, inj_elf_n_symbols(elf, SHT_SYMTAB), MADE_N_SYMTAB));
	expect_symbol(elf, SHT_SYMTAB, 2, "local", NULL, "one.c");
	expect_symbol(elf, SHT_SYMTAB, 4, "local", NULL, "two.c");
	expect_symbol(elf, SHT_SYMTAB, 6, "local2", NULL, NULL);
	expect_symbol(elf, SHT_SYMTAB, 7, "global", NULL, NULL);
}

struct lookup {
	const char *name, *version;
	size_t index; /* 0: not found */
};

static const struct lookup lookups[] = {
	{"alpha", NULL, 3},     /* the default version */
	{"alpha", "V1", 2},     /* the old one */
	{"alpha", "V2", 3},
	{"alpha", "V3", 0},
	{"beta", NULL, 4},
	{"beta", "V1", 4},      /* a name without version satisfies every version */
	{"gamma", NULL, 5},
	{"delta", NULL, 6},     /* only an old version exists */
	{"delta", "V2", 0},
	{"puts", NULL, 0},      /* undefined here */
	{"alph", NULL, 0},
	{"alphabet", NULL, 0},
	{"", NULL, 0},
};

static void expect_lookups(unsigned options)
{
	OPEN(elf, options);

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(lookups); i++) {
		const struct lookup *lookup = &lookups[i];
		size_t index = 0;
		int r = inj_elf_dynamic_lookup(elf, lookup->name, lookup->version, &index);

		cr_expect_eq(r, lookup->index ? 0 : -ENOENT, "%s@%s gave %d", lookup->name,
			     lookup->version, r);
		cr_expect_eq(index, lookup->index, "%s@%s gave %zu", lookup->name, lookup->version,
			     index);
	}
}

Test(elf, lookup_by_gnu_hash)
{
	expect_lookups(MAKE_NO_SYSV_HASH);
}

Test(elf, lookup_by_sysv_hash)
{
	expect_lookups(MAKE_NO_GNU_HASH);
}

Test(elf, relocations_of_all_three_tables)
{
	static const struct inj_elf_rela first[] = {{0, R_X86_64_RELATIVE, 0, 0x110},
						    {0, R_X86_64_GLOB_DAT, 4, 0},
						    {0, R_X86_64_JUMP_SLOT, 1, -1}};
	static const size_t words[MADE_N_RELR] = {0, 1, 3, 64};
	OPEN(elf, MAKE_PLAIN);

	cr_assert(eq(sz, inj_elf_n_rela(elf), 3));
	cr_assert(eq(sz, inj_elf_n_relocations(elf), 3 + MADE_N_RELR));
	for (size_t i = 0; i < 3; i++) {
		const struct inj_elf_rela *rela = inj_elf_relocation_at(elf, i);

		cr_expect_eq(rela->offset, made.data + (70 + i) * 8);
		cr_expect_eq(rela->type, first[i].type);
		cr_expect_eq(rela->symbol, first[i].symbol);
		cr_expect_eq(rela->addend, first[i].addend);
	}
	for (size_t i = 0; i < MADE_N_RELR; i++) {
		const struct inj_elf_rela *rela = inj_elf_relocation_at(elf, 3 + i);

		cr_expect_eq(rela->type, R_X86_64_RELATIVE);
		cr_expect_eq(rela->offset, made.data + words[i] * 8);
		cr_expect_eq(rela->addend, (int64_t)(0x1000 + words[i]));
	}
	cr_assert(eq(ptr, (void *)inj_elf_relocation_at(elf, 3 + MADE_N_RELR), NULL));
}

Test(elf, debug_file_has_names_only)
{
	OPEN(elf, MAKE_DEBUG_ONLY);
	size_t n;
	const Elf64_Phdr *segments = inj_elf_segments(elf, &n);

	cr_assert(inj_elf_is_debug_only(elf));
	cr_assert(eq(u64, segments[MADE_LOAD].p_filesz, 0));
	cr_assert(eq(ptr, (void *)inj_elf_bytes_at(elf, made.text, 1), NULL));
	cr_assert(eq(sz, inj_elf_n_symbols(elf, SHT_DYNSYM), 0));
	cr_assert(eq(sz, inj_elf_n_symbols(elf, SHT_SYMTAB), MADE_N_SYMTAB));
	cr_assert(eq(ptr, (void *)inj_elf_section_named(elf, ".text")->bytes, NULL));
}

static int file_with(const void *bytes, size_t length)
{
	int fd = memfd_create("sample", MFD_CLOEXEC);

	cr_assert(ge(int, fd, 0));
	cr_assert(eq(int, (int)pwrite(fd, bytes, length, 0), (int)length));
	return fd;
}

Test(elf, descriptor_gives_the_same_view)
{
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *by_fd = NULL;
	OPEN(by_bytes, MAKE_PLAIN);
	int fd = file_with(made.bytes, made.length);

	cr_assert(eq(int, inj_elf_open_fd(fd, "sample", made.length, &by_fd, NULL), 0));
	cr_assert(eq(int, (int)lseek(fd, 0, SEEK_CUR), 0));
	close(fd);
	cr_assert(eq(u64, walk_elf(by_fd), walk_elf(by_bytes)));
}

Test(elf, truncation_after_open_is_no_fault)
{
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *elf = NULL;
	static uint8_t big[1 << 20];
	struct inj_elf_symbol symbol;

	/* Far behind the headers, so that opening does not read it. */
	make_elf(&made, MAKE_PLAIN);
	memcpy(big, made.bytes, made.length);
	Elf64_Shdr *text = (Elf64_Shdr *)(void *)(big + made.sections) + MADE_TEXT;

	text->sh_offset = 512 << 10;
	text->sh_size = 1024;
	int fd = file_with(big, sizeof(big));

	cr_assert(eq(int, inj_elf_open_fd(fd, "sample", sizeof(big), &elf, NULL), 0));
	cr_assert(eq(int, ftruncate(fd, 100), 0));
	const struct inj_elf_section *section = inj_elf_section_named(elf, ".text");

	cr_assert(eq(ptr, (void *)section->bytes, NULL));
	cr_assert(eq(int, inj_elf_symbol(elf, SHT_SYMTAB, 7, &symbol), 0));
	cr_assert_str_eq(symbol.name, "global");
	close(fd);
}

Test(elf, reads_only_what_is_asked_for)
{
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *elf = NULL;
	int fd = memfd_create("sample", MFD_CLOEXEC);

	/* A sparse gigabyte: reading it all would take memory and time. */
	make_elf(&made, MAKE_PLAIN);
	cr_assert(eq(int, (int)pwrite(fd, made.bytes, made.length, 0), (int)made.length));
	cr_assert(eq(int, ftruncate(fd, 1L << 30), 0));
	cr_assert(eq(int, inj_elf_open_fd(fd, "sample", 1UL << 30, &elf, NULL), 0));
	walk_elf(elf);
	cr_assert(eq(int, inj_elf_open_fd(fd, "sample", (1UL << 30) - 1, &elf, NULL),
		     INJ_BAD_PATCH));
	close(fd);
}
