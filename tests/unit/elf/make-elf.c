/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lays out a shared object part by part at growing offsets. Nothing here comes from the reader
 * under test: hashes and bitmaps are worked out anew.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/unit/elf/make-elf.h"

#define DATA_WORDS 80

/* .dynstr, by offset */
enum {
	S_PUTS = 1,
	S_ALPHA = 6,
	S_BETA = 12,
	S_GAMMA = 17,
	S_DELTA = 23,
	S_SONAME = 29,
	S_V1 = 42,
	S_V2 = 45,
	S_LIBC = 48,
	S_GLIBC = 58,
};
static const char dynstr[] = "\0puts\0alpha\0beta\0gamma\0delta\0libsample.so\0V1\0V2\0libc.so.6"
			     "\0GLIBC_2.2.5";
static const char strtab[] = "\0one.c\0two.c\0local\0local2\0global";
static const char shstrtab[] =
	"\0.text\0.dynsym\0.dynstr\0.note.gnu.build-id\0.bss\0.symtab\0.strtab"
	"\0.shstrtab";

static size_t put(struct made *made, const void *bytes, size_t length, size_t alignment)
{
	size_t at = (made->length + alignment - 1) / alignment * alignment;

	if (at + length > sizeof(made->bytes))
		abort();
	memcpy(made->bytes + at, bytes, length);
	made->length = at + length;
	return at;
}

static uint32_t gnu_hash(const char *name)
{
	uint32_t hash = 5381;

	while (*name)
		hash = hash * 33 + (unsigned char)*name++;
	return hash;
}

static void put_symbols(struct made *made)
{
	const unsigned function = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
	const Elf64_Sym symbols[MADE_N_SYMBOLS] = {
		{0},
		{.st_name = S_PUTS, .st_info = function},
		{.st_name = S_ALPHA,
		 .st_info = function,
		 .st_shndx = 1,
		 .st_value = 0x100,
		 .st_size = 4},
		{.st_name = S_ALPHA,
		 .st_info = function,
		 .st_shndx = 1,
		 .st_value = 0x110,
		 .st_size = 8},
		{.st_name = S_BETA,
		 .st_info = ELF64_ST_INFO(STB_WEAK, STT_OBJECT),
		 .st_shndx = 5,
		 .st_value = 0x200},
		{.st_name = S_GAMMA, .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_TLS), .st_shndx = 5},
		{.st_name = S_DELTA,
		 .st_info = function,
		 .st_shndx = 1,
		 .st_value = 0x120,
		 .st_other = STV_PROTECTED},
	};
	const uint16_t versions[MADE_N_SYMBOLS] = {0, 4, 0x8002, 3, 1, 3, 0x8002};

	made->symbols = put(made, symbols, sizeof(symbols), 8);
	made->strings = put(made, dynstr, sizeof(dynstr), 1);
	made->versions = put(made, versions, sizeof(versions), 2);
}

static void put_versions(struct made *made)
{
	const struct {
		Elf64_Verdef base;
		Elf64_Verdaux base_name;
		Elf64_Verdef v1;
		Elf64_Verdaux v1_name;
		Elf64_Verdef v2;
		Elf64_Verdaux v2_name;
	} definitions = {
		{VER_DEF_CURRENT, VER_FLG_BASE, 1, 1, 0, sizeof(Elf64_Verdef), 28},
		{S_SONAME, 0},
		{VER_DEF_CURRENT, 0, 2, 1, 0, sizeof(Elf64_Verdef), 28},
		{S_V1, 0},
		{VER_DEF_CURRENT, 0, 3, 1, 0, sizeof(Elf64_Verdef), 0},
		{S_V2, 0},
	};
	const struct {
		Elf64_Verneed need;
		Elf64_Vernaux name;
	} needs = {
		{VER_NEED_CURRENT, 1, S_LIBC, sizeof(Elf64_Verneed), 0},
		{0, 0, 4, S_GLIBC, 0},
	};

	made->verdef = put(made, &definitions, sizeof(definitions), 8);
	made->verneed = put(made, &needs, sizeof(needs), 8);
}

static void put_hashes(struct made *made)
{
	static const char *const names[] = {"alpha", "alpha", "beta", "gamma", "delta"};
	struct {
		uint32_t n_buckets, first, n_bloom, shift;
		uint64_t bloom;
		uint32_t bucket;
		uint32_t chain[5];
	} gnu = {1, 2, 1, 6, 0, 2, {0}};
	const uint32_t sysv[] = {1, MADE_N_SYMBOLS, 2, 0, 0, 3, 4, 5, 6, 0};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(names); i++) {
		uint32_t hash = gnu_hash(names[i]);

		gnu.bloom |= UINT64_C(1) << (hash % 64) | UINT64_C(1) << (hash >> 6) % 64;
		gnu.chain[i] = (hash & ~1U) | (i + 1 == INJ_ARRAY_LENGTH(names));
	}
	made->gnu_hash = put(made, &gnu, sizeof(gnu), 8);
	made->hash = put(made, sysv, sizeof(sysv), 8);
}

/* DT_RELR: words 0, 1, 3 and 64 of .data. */
static void put_relocations(struct made *made)
{
	uint64_t data[DATA_WORDS];

	for (size_t i = 0; i < DATA_WORDS; i++)
		data[i] = 0x1000 + i;
	made->data = put(made, data, sizeof(data), 8);
	const uint64_t d = made->data;
	const Elf64_Rela rela[] = {
		{d + 70 * 8, ELF64_R_INFO(0, R_X86_64_RELATIVE), 0x110},
		{d + 71 * 8, ELF64_R_INFO(4, R_X86_64_GLOB_DAT), 0},
	};
	const Elf64_Rela jmprel[] = {{d + 72 * 8, ELF64_R_INFO(1, R_X86_64_JUMP_SLOT), -1}};
	/* Bit 0 marks a bitmap; bit n + 1 is the n-th word after the last address or bitmap. */
	const uint64_t relr[] = {d, 1 | 1 << 1 | 1 << 3, 1 | 1 << 1};

	made->rela = put(made, rela, sizeof(rela), 8);
	made->jmprel = put(made, jmprel, sizeof(jmprel), 8);
	made->relr = put(made, relr, sizeof(relr), 8);
}

static void put_dynamic(struct made *made, unsigned options)
{
	Elf64_Dyn entries[] = {
		{DT_SONAME, {S_SONAME}},
		{DT_STRTAB, {made->strings}},
		{DT_STRSZ, {sizeof(dynstr)}},
		{DT_SYMTAB, {made->symbols}},
		{DT_SYMENT, {sizeof(Elf64_Sym)}},
		{options & MAKE_NO_GNU_HASH ? DT_DEBUG : DT_GNU_HASH, {made->gnu_hash}},
		{options & MAKE_NO_SYSV_HASH ? DT_DEBUG : DT_HASH, {made->hash}},
		{DT_VERSYM, {made->versions}},
		{DT_VERDEF, {made->verdef}},
		{DT_VERDEFNUM, {3}},
		{DT_VERNEED, {made->verneed}},
		{DT_VERNEEDNUM, {1}},
		{DT_RELA, {made->rela}},
		{DT_RELASZ, {2 * sizeof(Elf64_Rela)}},
		{DT_RELAENT, {sizeof(Elf64_Rela)}},
		{DT_JMPREL, {made->jmprel}},
		{DT_PLTRELSZ, {sizeof(Elf64_Rela)}},
		{DT_PLTREL, {DT_RELA}},
		{DT_RELR, {made->relr}},
		{DT_RELRSZ, {3 * sizeof(Elf64_Relr)}},
		{DT_RELRENT, {sizeof(Elf64_Relr)}},
		{DT_NULL, {0}},
	};

	made->dynamic = put(made, entries, sizeof(entries), 8);
	made->n_dynamic = INJ_ARRAY_LENGTH(entries);
}

static void put_note(struct made *made)
{
	struct {
		Elf64_Nhdr other;
		char other_name[4];
		uint8_t other_text[4];
		Elf64_Nhdr note;
		char name[4];
		uint8_t id[MADE_BUILD_ID_BYTES];
	} notes = {
		{4, 3, NT_GNU_ABI_TAG}, "GNU", {1, 2, 3, 0},
		{4, MADE_BUILD_ID_BYTES, NT_GNU_BUILD_ID}, "GNU", {0},
	};

	for (size_t i = 0; i < MADE_BUILD_ID_BYTES; i++)
		notes.id[i] = (uint8_t)(0xa0 + i);
	made->note = put(made, &notes, sizeof(notes), 4);
}

static void put_symtab(struct made *made)
{
	const unsigned file = ELF64_ST_INFO(STB_LOCAL, STT_FILE);
	const unsigned local = ELF64_ST_INFO(STB_LOCAL, STT_FUNC);
	const unsigned global = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
	const Elf64_Sym symbols[MADE_N_SYMTAB] = {
		{0},
		{.st_name = 1, .st_info = file, .st_shndx = SHN_ABS},
		{.st_name = 13, .st_info = local, .st_shndx = 1, .st_value = 0x100},
		{.st_name = 7, .st_info = file, .st_shndx = SHN_ABS},
		{.st_name = 13, .st_info = local, .st_shndx = 1, .st_value = 0x104},
		{.st_name = 0, .st_info = file, .st_shndx = SHN_ABS},
		{.st_name = 19, .st_info = local, .st_shndx = 1, .st_value = 0x108},
		{.st_name = 26, .st_info = global, .st_shndx = 1, .st_value = 0x10c},
	};

	made->symtab = put(made, symbols, sizeof(symbols), 8);
	made->strtab = put(made, strtab, sizeof(strtab), 1);
}

static void put_sections(struct made *made, unsigned options)
{
	const uint64_t alloc = SHF_ALLOC;
	Elf64_Shdr sections[MADE_N_SECTIONS] = {
		[MADE_TEXT] = {1, SHT_PROGBITS, alloc | SHF_EXECINSTR, made->text, made->text, 16},
		[MADE_DYNSYM] = {7, SHT_DYNSYM, alloc, made->symbols, made->symbols,
				 MADE_N_SYMBOLS * sizeof(Elf64_Sym), MADE_DYNSTR, 1, 8,
				 sizeof(Elf64_Sym)},
		[MADE_DYNSTR] = {15, SHT_STRTAB, alloc, made->strings, made->strings,
				 sizeof(dynstr)},
		[MADE_BUILD_ID] = {23, SHT_NOTE, alloc, made->note, made->note, 20 + 36},
		[MADE_BSS] = {42, SHT_NOBITS, alloc | SHF_WRITE, 0x3000, 0x3000, 1 << 20},
		[MADE_SYMTAB] = {47, SHT_SYMTAB, 0, 0, made->symtab,
				 MADE_N_SYMTAB * sizeof(Elf64_Sym), MADE_STRTAB, 7, 8,
				 sizeof(Elf64_Sym)},
		[MADE_STRTAB] = {55, SHT_STRTAB, 0, 0, made->strtab, sizeof(strtab)},
		[MADE_SHSTRTAB] = {63, SHT_STRTAB, 0, 0, made->section_names, sizeof(shstrtab)},
	};

	if (options & MAKE_DEBUG_ONLY) {
		sections[MADE_TEXT].sh_type = SHT_NOBITS;
		sections[MADE_DYNSYM].sh_type = SHT_NOBITS;
		sections[MADE_DYNSTR].sh_type = SHT_NOBITS;
	}
	if (options & MAKE_EXTENDED_COUNTS) {
		sections[0].sh_size = MADE_N_SECTIONS;
		sections[0].sh_link = MADE_SHSTRTAB;
		sections[0].sh_info = MADE_N_SEGMENTS;
	}
	made->n_sections = MADE_N_SECTIONS;
	made->sections = put(made, sections, sizeof(sections), 8);
}

static void fill_headers(struct made *made, unsigned options)
{
	/* Bytes beyond the file, as a debug file's segments have them. */
	const uint64_t away = options & MAKE_DEBUG_ONLY ? MADE_MAX : 0;
	const uint64_t end = made->length;
	const Elf64_Phdr segments[MADE_N_SEGMENTS] = {
		[MADE_LOAD] = {PT_LOAD, PF_R | PF_X, 0, 0, 0, made->data + away, made->data + away,
			       0x1000},
		[MADE_LOAD_DATA] = {PT_LOAD, PF_R | PF_W, made->data, made->data + away,
				    made->data + away, end - made->data, 0x4000, 0x1000},
		[MADE_DYNAMIC] = {PT_DYNAMIC, PF_R, made->dynamic + away, made->dynamic,
				  made->dynamic, made->n_dynamic * sizeof(Elf64_Dyn),
				  made->n_dynamic * sizeof(Elf64_Dyn), 8},
		[MADE_NOTE] = {PT_NOTE, PF_R, made->note, made->note, made->note, 20 + 36, 20 + 36,
			       4},
		[MADE_TLS] = {PT_TLS, PF_R, made->data, made->data, made->data, 8, 16, 8},
	};
	Elf64_Ehdr header = {
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			    EV_CURRENT},
		.e_type = ET_DYN,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = made->segments,
		.e_ehsize = sizeof(header),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = MADE_N_SEGMENTS,
	};

	made->n_segments = MADE_N_SEGMENTS;
	if (made->sections) {
		header.e_shoff = made->sections;
		header.e_shentsize = sizeof(Elf64_Shdr);
		header.e_shnum = MADE_N_SECTIONS;
		header.e_shstrndx = MADE_SHSTRTAB;
	}
	if (options & MAKE_EXTENDED_COUNTS) {
		header.e_shnum = 0;
		header.e_shstrndx = SHN_XINDEX;
		header.e_phnum = PN_XNUM;
	}
	memcpy(made->bytes, &header, sizeof(header));
	memcpy(made->bytes + made->segments, segments, sizeof(segments));
}

void make_elf(struct made *made, unsigned options)
{
	static const Elf64_Phdr no_segments[MADE_N_SEGMENTS];
	static const uint8_t text[16] = {0xf3, 0x0f, 0x1e, 0xfa, 0xc3};

	memset(made, 0, sizeof(*made));
	made->length = sizeof(Elf64_Ehdr);
	made->segments = put(made, no_segments, sizeof(no_segments), 8);
	put_note(made);
	made->text = put(made, text, sizeof(text), 16);
	put_symbols(made);
	put_versions(made);
	put_hashes(made);
	put_relocations(made);
	put_dynamic(made, options);
	put_symtab(made);
	made->section_names = put(made, shstrtab, sizeof(shstrtab), 1);
	if (!(options & MAKE_NO_SECTIONS))
		put_sections(made, options);
	fill_headers(made, options);
}

Elf64_Ehdr *made_header(struct made *made)
{
	return (Elf64_Ehdr *)(void *)made->bytes;
}

Elf64_Phdr *made_segment(struct made *made, enum made_segment number)
{
	return (Elf64_Phdr *)(void *)(made->bytes + made->segments) + number;
}

Elf64_Shdr *made_section(struct made *made, enum made_section number)
{
	return (Elf64_Shdr *)(void *)(made->bytes + made->sections) + number;
}

Elf64_Dyn *made_dynamic(struct made *made, int64_t tag)
{
	Elf64_Dyn *entries = (Elf64_Dyn *)(void *)(made->bytes + made->dynamic);

	for (size_t i = 0; i < made->n_dynamic; i++)
		if (entries[i].d_tag == tag)
			return &entries[i];
	abort();
}
