/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_IMAGE_PATCH_PRIV_H
#define INJ_IMAGE_PATCH_PRIV_H

#include "injector/abi/patch-format.h"
#include "injector/arch/x86_64/reloc.h"
#include "injector/image/patch.h"

/* A patch spans at most this much address space, .bss included: it must lie near its modules. */
#define INJ_IMAGE_MAX_BYTES (512UL << 20)
#define INJ_IMAGE_MAX_SEGMENTS 16 /* to load; real patches have three to six */
#define INJ_PATCH_MAX_HEADERS 64
/* Names may overlap in a hostile string table; these keep reading all of them cheap. */
#define INJ_PATCH_MAX_SYMBOLS (1UL << 18)
#define INJ_PATCH_MAX_NAME (1UL << 16)

/* Marks a symbol of the patch that needs no binding: defined, unused or start-up noise. */
#define INJ_NO_EXTERNAL UINT32_MAX

/* The patch and what only image/ knows of it. */
struct inj_patch_file {
	struct inj_patch public; /* first: one is the other's address */
	char *label;             /* base name of the file, for messages */
	/* Relocations that have a place, ascending by it, none overlapping the next. */
	const struct inj_elf_rela **by_place;
	size_t n_by_place;
	struct inj_elf_symbol_table symbols; /* the dynamic ones, every name checked */
	uint32_t *external_of; /* per dynamic symbol: index in externals or INJ_NO_EXTERNAL */
	char **owned; /* strings that are not in the file as they are */
	size_t n_owned;
};

static inline const struct inj_patch_file *inj_patch_file(const struct inj_patch *patch)
{
	return (const struct inj_patch_file *)patch;
}

/* Name of a dynamic symbol; "" for a symbol without. */
static inline const char *inj_patch_symbol_name(const struct inj_patch_file *file,
						const Elf64_Sym *symbol)
{
	return symbol->st_name < file->symbols.n_strings ?
		       file->symbols.strings + symbol->st_name :
		       "";
}

/* Keep a copy of n characters until the patch is closed; NULL when memory is out. */
char *inj_patch_keep(struct inj_patch_file *file, const char *text, size_t n);

/* The PT_LOAD that holds [vaddr, vaddr + bytes), .bss included; NULL when none does. */
const Elf64_Phdr *inj_patch_segment_at(const struct inj_elf *elf, uint64_t vaddr, uint64_t bytes);
/* Is there code of the patch at vaddr? */
bool inj_patch_is_code(const struct inj_elf *elf, uint64_t vaddr);
/* The relocation whose place is exactly vaddr, NULL when there is none. */
const struct inj_elf_rela *inj_patch_relocation_for(const struct inj_patch_file *file,
						    uint64_t vaddr);

/*
 * The checks that inj_patch_open() makes, one file each; all take the elf from file->public and
 * may be called once. Return and errors as inj_patch_open().
 */
int inj_patch_check_shape(const struct inj_patch_file *file, struct inj_why *why);
int inj_patch_check_tls(const struct inj_patch_file *file, struct inj_why *why);
int inj_patch_check_symbols(struct inj_patch_file *file, struct inj_why *why);
int inj_patch_check_relocations(struct inj_patch_file *file, struct inj_why *why);
/* Needs the symbols and relocations. Fills id, version, has_manifest and the replacements of a
 * manifest; has_manifest stays false and nothing is filled when there is none. */
int inj_patch_read_manifest(struct inj_patch_file *file, struct inj_why *why);
/* The replacements of a plain shared object; id comes from the label. */
int inj_patch_read_exports(struct inj_patch_file *file, struct inj_why *why);
/* What both have in common: something to do, nothing twice; sizes filled in. */
int inj_patch_check_replacements(struct inj_patch_file *file, struct inj_why *why);
size_t inj_patch_count_constructors(const struct inj_patch_file *file);

/* The unwind table as gcc's and clang's runtime reads it. */
struct inj_eh_frame {
	uint64_t vaddr; /* 0: the patch has none */
	uint64_t bytes; /* without the terminator */
	bool terminated; /* four zero bytes follow it in memory */
};

/*
 * Find and check .eh_frame: every record lies inside, every pointer is one the target's unwinder
 * can follow without knowing more than the table's address, every range lies in the patch.
 * Errors: INJ_BAD_PATCH.
 */
int inj_eh_frame_find(const struct inj_patch_file *file, struct inj_eh_frame *ret,
		      struct inj_why *why);
/*
 * Correct the pc-relative pointers of a copy.
 * table: a checked table, copied from vaddr `from` to vaddr `to`.
 * Errors: INJ_BAD_PATCH when a pointer does not reach from there.
 */
int inj_eh_frame_move(const struct inj_patch_file *file, uint8_t *table, uint64_t bytes,
		      uint64_t from, uint64_t to, struct inj_why *why);

#endif
