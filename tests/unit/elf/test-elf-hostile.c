/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The reader on damaged and hostile files. One table of single lies that must be refused with a
 * sentence, one of lies that only make an accessor say no, then truncation at every length and
 * thousands of random damages, which may be refused or not but must never lead outside the file:
 * what follows the file in memory must make no difference.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/unit/elf/make-elf.h"
#include "tests/unit/elf/walk-elf.h"

static struct made made;

struct lie {
	const char *what;   /* part of the sentence */
	void (*tell)(void);
};

static void not_elf(void)
{
	made.bytes[0] = 'X';
}
static void class32(void)
{
	made_header(&made)->e_ident[EI_CLASS] = ELFCLASS32;
}
static void big_endian(void)
{
	made_header(&made)->e_ident[EI_DATA] = ELFDATA2MSB;
}
static void old_version(void)
{
	made_header(&made)->e_version = 0;
}
static void other_machine(void)
{
	made_header(&made)->e_machine = EM_AARCH64;
}
static void core_file(void)
{
	made_header(&made)->e_type = ET_CORE;
}
static void segment_size(void)
{
	made_header(&made)->e_phentsize = 32;
}
static void section_size(void)
{
	made_header(&made)->e_shentsize = 40;
}
static void segments_away(void)
{
	made_header(&made)->e_phoff = UINT64_MAX - 8;
}
static void sections_away(void)
{
	made_header(&made)->e_shoff = UINT64_MAX - 8;
}
static void too_many_sections(void)
{
	made_header(&made)->e_shnum = 0xfeff;
}
static void endless_sections(void)
{
	made_header(&made)->e_shnum = 0;
	made_section(&made, MADE_NULL)->sh_size = UINT64_MAX / 64 + 2;
}
static void too_many_segments(void)
{
	made_header(&made)->e_phnum = PN_XNUM;
	made_section(&made, MADE_NULL)->sh_info = 70000;
}
static void names_away(void)
{
	made_header(&made)->e_shstrndx = MADE_N_SECTIONS;
}
static void names_no_strings(void)
{
	made_header(&made)->e_shstrndx = MADE_TEXT;
}
static void section_name_away(void)
{
	made_section(&made, MADE_TEXT)->sh_name = 100000;
}
static void section_away(void)
{
	made_section(&made, MADE_TEXT)->sh_offset = UINT64_MAX - 4;
}
static void section_long(void)
{
	made_section(&made, MADE_TEXT)->sh_size = UINT64_MAX;
}
static void symtab_entries(void)
{
	made_section(&made, MADE_SYMTAB)->sh_entsize = 16;
}
static void symtab_partial(void)
{
	made_section(&made, MADE_SYMTAB)->sh_size -= 1;
}
static void symtab_odd(void)
{
	made_section(&made, MADE_SYMTAB)->sh_offset += 1;
}
static void symtab_link(void)
{
	made_section(&made, MADE_SYMTAB)->sh_link = 77;
}
static void load_away(void)
{
	made_segment(&made, MADE_LOAD_DATA)->p_filesz = MADE_MAX;
}
static void load_memory(void)
{
	made_segment(&made, MADE_LOAD)->p_memsz = 8;
}
static void load_wraps(void)
{
	made_segment(&made, MADE_LOAD_DATA)->p_memsz = UINT64_MAX;
}
static void load_overlap(void)
{
	made_segment(&made, MADE_LOAD)->p_memsz = 0x2000;
}
static void load_alignment(void)
{
	made_segment(&made, MADE_LOAD)->p_align = 3;
}
static void load_unmappable(void)
{
	made_segment(&made, MADE_LOAD_DATA)->p_vaddr += 8;
}
static void tls_memory(void)
{
	made_segment(&made, MADE_TLS)->p_filesz = 17;
}
static void strings_away(void)
{
	made_dynamic(&made, DT_STRTAB)->d_un.d_ptr = 0x100000;
}
static void strings_long(void)
{
	made_dynamic(&made, DT_STRSZ)->d_un.d_val = UINT64_MAX;
}
static void symbols_away(void)
{
	made_dynamic(&made, DT_SYMTAB)->d_un.d_ptr = UINT64_MAX;
}
static void symbols_odd(void)
{
	made_dynamic(&made, DT_SYMTAB)->d_un.d_ptr += 4;
}
static void symbols_size(void)
{
	made_dynamic(&made, DT_SYMENT)->d_un.d_val = 16;
}
static void hash_away(void)
{
	made_dynamic(&made, DT_GNU_HASH)->d_un.d_ptr = 0x100000;
}
static void versions_away(void)
{
	made_dynamic(&made, DT_VERDEF)->d_un.d_ptr = 0x100000;
}
static void rela_away(void)
{
	made_dynamic(&made, DT_RELA)->d_un.d_ptr = 0x100000;
}
static void rela_long(void)
{
	made_dynamic(&made, DT_RELASZ)->d_un.d_val = 24000;
}
static void rela_partial(void)
{
	made_dynamic(&made, DT_RELASZ)->d_un.d_val = 25;
}
static void rela_entries(void)
{
	made_dynamic(&made, DT_RELAENT)->d_un.d_val = 16;
}
static void rel_plt(void)
{
	made_dynamic(&made, DT_PLTREL)->d_un.d_val = DT_REL;
}
static void rel_table(void)
{
	made_dynamic(&made, DT_SONAME)->d_tag = DT_REL;
}
static uint64_t *relr_word(size_t index)
{
	return (uint64_t *)(void *)(made.bytes + made.relr) + index;
}
static void relr_address(void)
{
	*relr_word(0) = 0x100000;
}
static void relr_high_address(void)
{
	*relr_word(0) = UINT64_MAX - 1;
}
static void relr_bitmap_first(void)
{
	*relr_word(0) = 3;
}
static void relr_bits_beyond(void)
{
	*relr_word(0) = (made.length - 8) & ~7UL;
	*relr_word(1) = UINT64_MAX;
}

static const struct lie refused[] = {
	{"not an ELF file", not_elf},
	{"not a 64-bit", class32},
	{"not little-endian", big_endian},
	{"unknown ELF version", old_version},
	{"not for x86-64", other_machine},
	{"neither an object", core_file},
	{"program headers have a wrong size", segment_size},
	{"section headers have a wrong size", section_size},
	{"program headers at byte", segments_away},
	{"section headers start at byte", sections_away},
	{"section headers at byte", too_many_sections},
	{"section headers at byte", endless_sections},
	{"are allowed", too_many_segments},
	{"section headers at byte", names_away},
	{"does not hold the section names", names_no_strings},
	{"outside the table of names", section_name_away},
	{"beyond the end of the file", section_away},
	{"beyond the end of the file", section_long},
	{"entries of a wrong size", symtab_entries},
	{"entries of a wrong size", symtab_partial},
	{"odd place", symtab_odd},
	{"without strings", symtab_link},
	{"beyond the end of the file", load_away},
	{"larger in the file than in memory", load_memory},
	{"wraps around", load_wraps},
	{"overlaps the one before", load_overlap},
	{"no power of two", load_alignment},
	{"cannot be mapped", load_unmappable},
	{"larger in the file than in memory", tls_memory},
	{"strings outside", strings_away},
	{"strings outside", strings_long},
	{"symbols outside", symbols_away},
	{"symbols outside", symbols_odd},
	{"symbols a wrong size", symbols_size},
	{"hash table outside", hash_away},
	{"versions outside", versions_away},
	{"relocations outside", rela_away},
	{"relocations outside", rela_long},
	{"relocations outside", rela_partial},
	{"relocations a wrong size", rela_entries},
	{"without addends", rel_plt},
	{"without addends", rel_table},
	{"compact relocations", relr_address},
	{"compact relocations", relr_high_address},
	{"compact relocations", relr_bitmap_first},
	{"compact relocations", relr_bits_beyond},
};

Test(elf_hostile, lies_are_refused_with_a_sentence)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(refused); i++) {
		struct inj_why why = {0};
		struct inj_elf *elf = NULL;

		make_elf(&made, MAKE_PLAIN);
		refused[i].tell();
		int r = inj_elf_open_bytes(made.bytes, made.length, "sample.so", &elf, &why);

		cr_expect_eq(r, INJ_BAD_PATCH, "lie %zu (%s) gave %d", i, refused[i].what, r);
		cr_expect_eq(why.code, INJ_BAD_PATCH);
		cr_expect(strstr(why.text, refused[i].what) != NULL, "lie %zu: \"%s\" lacks \"%s\"",
			  i, why.text, refused[i].what);
		cr_expect(strstr(why.text, "sample.so") != NULL, "lie %zu: \"%s\"", i, why.text);
		cr_expect_null(elf);
		inj_elf_close(elf);
	}
}

static uint32_t *hash_word(size_t index)
{
	return (uint32_t *)(void *)(made.bytes + made.hash) + index;
}

static uint32_t *gnu_hash_word(size_t index)
{
	return (uint32_t *)(void *)(made.bytes + made.gnu_hash) + index;
}

static struct inj_elf *open_made(void)
{
	struct inj_why why = {0};
	struct inj_elf *elf = NULL;

	cr_assert(eq(int, inj_elf_open_bytes(made.bytes, made.length, "sample", &elf, &why), 0),
		  "%s", why.text);
	return elf;
}

Test(elf_hostile, cyclic_hash_chain_ends)
{
	size_t index;

	make_elf(&made, MAKE_NO_GNU_HASH);
	/* Header, one bucket, then chain[6] back to 3. */
	*hash_word(3 + 6) = 3;
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *elf = open_made();

	cr_assert(eq(int, inj_elf_dynamic_lookup(elf, "nothing", NULL, &index), -ENOENT));
	cr_assert(eq(int, inj_elf_dynamic_lookup(elf, "gamma", NULL, &index), 0));
}

Test(elf_hostile, endless_gnu_hash_chain_ends)
{
	size_t index;

	make_elf(&made, MAKE_NO_SYSV_HASH | MAKE_NO_SECTIONS);
	*gnu_hash_word(7 + 4) &= ~1U;
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *elf = open_made();

	cr_assert(eq(int, inj_elf_dynamic_lookup(elf, "gamma", NULL, &index), 0));
	cr_assert(eq(int, inj_elf_dynamic_lookup(elf, "nothing", NULL, &index), -ENOENT));
	walk_elf(elf);
}

Test(elf_hostile, hash_with_hostile_counts_finds_nothing)
{
	static const uint32_t values[] = {0, 3, UINT32_MAX};
	size_t index;

	for (size_t word = 0; word < 4; word++)
		for (size_t i = 0; i < INJ_ARRAY_LENGTH(values); i++) {
			make_elf(&made, MAKE_NO_SYSV_HASH | MAKE_NO_SECTIONS);
			*gnu_hash_word(word) = values[i];
			INJ_CLEANUP(inj_elf_guard) struct inj_elf *elf = open_made();

			walk_elf(elf);
			cr_expect_eq(inj_elf_dynamic_lookup(elf, "nothing", NULL, &index), -ENOENT);
		}
	make_elf(&made, MAKE_NO_GNU_HASH);
	*hash_word(0) = 0;
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *elf = open_made();

	cr_assert(eq(int, inj_elf_dynamic_lookup(elf, "alpha", NULL, &index), -ENOENT));
}

Test(elf_hostile, huge_symbol_count_is_bounded_by_the_file)
{
	make_elf(&made, MAKE_NO_SECTIONS);
	*hash_word(1) = UINT32_MAX;
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *elf = open_made();

	cr_assert(le(sz, inj_elf_n_symbols(elf, SHT_DYNSYM), made.length / sizeof(Elf64_Sym)));
	walk_elf(elf);
}

Test(elf_hostile, cyclic_versions_end)
{
	make_elf(&made, MAKE_PLAIN);
	Elf64_Verneed *need = (Elf64_Verneed *)(void *)(made.bytes + made.verneed);
	Elf64_Vernaux *name = (Elf64_Vernaux *)(void *)(need + 1);
	Elf64_Verdef *definition = (Elf64_Verdef *)(void *)(made.bytes + made.verdef);
	struct inj_elf_symbol symbol;

	/* Offsets only go forward, so a cycle needs an overflow of the address; none may happen. */
	need->vn_cnt = UINT16_MAX;
	name->vna_next = 0;
	need->vn_next = UINT32_MAX;
	definition->vd_next = 1;
	made_dynamic(&made, DT_VERNEEDNUM)->d_un.d_val = UINT64_MAX;
	made_dynamic(&made, DT_VERDEFNUM)->d_un.d_val = UINT64_MAX;
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *elf = open_made();

	cr_assert(eq(int, inj_elf_symbol(elf, SHT_DYNSYM, 1, &symbol), 0));
	cr_assert_str_eq(symbol.version, "GLIBC_2.2.5");
	walk_elf(elf);
}

Test(elf_hostile, names_outside_their_table)
{
	struct inj_elf_symbol_table table;
	struct inj_elf_symbol symbol;

	make_elf(&made, MAKE_PLAIN);
	Elf64_Sym *symbols = (Elf64_Sym *)(void *)(made.bytes + made.symtab);

	symbols[2].st_name = UINT32_MAX;
	/* The last name of the table loses its end. */
	made_section(&made, MADE_STRTAB)->sh_size -= 1;
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *elf = open_made();

	cr_assert(eq(int, inj_elf_symbol(elf, SHT_SYMTAB, 2, &symbol), -EBADMSG));
	cr_assert(eq(int, inj_elf_symbol(elf, SHT_SYMTAB, 7, &symbol), -EBADMSG));
	cr_assert(eq(int, inj_elf_symbol(elf, SHT_SYMTAB, 6, &symbol), 0));
	cr_assert(eq(int, inj_elf_symbol_table(elf, SHT_SYMTAB, &table), 0));
	cr_assert(eq(sz, table.n_strings, 26));
}

Test(elf_hostile, notes_with_hostile_sizes)
{
	static const uint32_t sizes[] = {5, 100, 0x7fffffff, UINT32_MAX};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(sizes); i++)
		for (size_t field = 0; field < 2; field++) {
			make_elf(&made, MAKE_PLAIN);
			((uint32_t *)(void *)(made.bytes + made.note))[field] = sizes[i];
			INJ_CLEANUP(inj_elf_guard) struct inj_elf *elf = open_made();

			walk_elf(elf);
		}
}

Test(elf_hostile, not_a_file)
{
	struct inj_why why = {0};
	struct inj_elf *elf = NULL;
	int fds[2];

	cr_assert(eq(int, pipe(fds), 0));
	cr_assert(eq(int, inj_elf_open_fd(fds[0], "pipe", 100, &elf, &why), INJ_BAD_PATCH));
	cr_assert(eq(int, inj_elf_open_fd(-1, "none", 100, &elf, &why), -EBADF));
	cr_assert(eq(int, inj_elf_open_bytes("", 0, "empty", &elf, &why), INJ_BAD_PATCH));
	close(fds[0]);
	close(fds[1]);
}

/*
 * Walk over bytes behind which others follow that the reader is not told of. Two walks with
 * different ones must agree, or something behind the end was read.
 */
static uint64_t walk_with_tail(size_t length, uint8_t tail)
{
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *elf = NULL;
	static uint8_t padded[MADE_MAX + 64];
	uint8_t *copy = malloc(length + 64);
	uint64_t sum = 0;

	/* The allocation is longer than what the reader is told, and differs behind it. */
	memcpy(padded, made.bytes, length);
	memset(padded + length, tail, 64);
	memcpy(copy, padded, length + 64);
	if (inj_elf_open_owned(copy, length, "sample", &elf, NULL) == 0)
		sum = walk_elf(elf);
	return sum;
}

Test(elf_hostile, truncated_at_every_byte)
{
	static const unsigned options[] = {MAKE_PLAIN, MAKE_NO_SECTIONS, MAKE_DEBUG_ONLY,
					   MAKE_EXTENDED_COUNTS};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(options); i++) {
		make_elf(&made, options[i]);
		for (size_t length = 0; length < made.length; length++) {
			struct inj_elf *elf = NULL;

			/* Section headers or data end the file: every cut hurts. */
			cr_assert_eq(inj_elf_open_bytes(made.bytes, length, "cut", &elf, NULL),
				     INJ_BAD_PATCH, "option %u cut at %zu", options[i], length);
		}
	}
}

Test(elf_hostile, random_damage_never_leads_outside, .timeout = 100)
{
	uint64_t state = 88172645463325252u;
	size_t n_opened = 0;

	for (unsigned round = 0; round < 20000; round++) {
		make_elf(&made, round % 16);
		for (unsigned i = 0; i <= round % 8; i++) {
			state ^= state << 13;
			state ^= state >> 7;
			state ^= state << 17;
			size_t at = state % made.length;

			made.bytes[at] = state >> 40 & 1 ? (uint8_t)(state >> 32) : 0xff;
		}
		size_t length = made.length - (round % 3 == 0 ? state >> 50 & 63 : 0);
		uint64_t sum = walk_with_tail(length, 0x00);

		cr_assert_eq(sum, walk_with_tail(length, 0xa5), "round %u reads behind the end",
			     round);
		n_opened += sum != 0;
	}
	/* A reader that refused everything would have proved nothing. */
	cr_assert(gt(sz, n_opened, 1000));
}
