/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dynamic relocations in one sequence: DT_RELA, DT_JMPREL, DT_RELR. The first two are used where
 * they lie; DT_RELR is checked and counted at open and expanded when one of its relocations is
 * first asked for, since the addends are spread over all of the object's data. Always holds: every
 * place that DT_RELR names is file-backed. Refuses a DT_RELR that names others.
 * Source: gABI, "Relative Relocation Table" (an even word is an address, an odd one a bitmap of the
 * 63 words that follow the last address or bitmap).
 */
#include <string.h>

#include "injector/elf/elf-priv.h"

/* Tables are used in place, so our structure must be the one in the file. */
_Static_assert(sizeof(struct inj_elf_rela) == sizeof(Elf64_Rela), "layout of relocations");
_Static_assert(offsetof(struct inj_elf_rela, addend) == offsetof(Elf64_Rela, r_addend),
	       "layout of relocations");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "type is the low half of r_info");

#define BITMAP_WORDS 63

static int damaged(const struct inj_elf *elf, size_t entry, struct inj_why *why)
{
	return inj_refuse(
		why, INJ_BAD_PATCH,
		"%s is damaged: entry %zu of its compact relocations names a place outside "
		"the file; build or copy it again",
		elf->name, entry);
}

static const uint64_t *relr_words(const struct inj_elf *elf, size_t *ret_n)
{
	const struct elf_extent *relr = &elf->dynamic.relr;

	*ret_n = relr->bytes / sizeof(uint64_t);
	return (const uint64_t *)(const void *)elf_view(elf, relr->offset, relr->bytes);
}

/* Are the 8-byte words from vaddr to vaddr + 8 * n_words file-backed? */
static bool words_inside(const struct inj_elf *elf, uint64_t vaddr, unsigned n_words)
{
	struct elf_extent extent;

	return elf_locate(elf, vaddr, &extent) && extent.bytes >= (uint64_t)n_words * 8;
}

int elf_check_relocations(struct inj_elf *elf, struct inj_why *why)
{
	size_t n;
	const uint64_t *words = relr_words(elf, &n);
	uint64_t next = 0;

	if (n && !words)
		return inj_broke(why, -EIO, "%s became shorter while it was read", elf->name);
	for (size_t i = 0; i < n; i++) {
		if (!(words[i] & 1)) {
			if (words[i] > UINT64_MAX - (n + 1) * BITMAP_WORDS * 8 ||
			    !words_inside(elf, words[i], 1))
				return damaged(elf, i, why);
			next = words[i] + 8;
			elf->n_relr++;
			continue;
		}
		uint64_t bits = words[i] >> 1;

		if (next == 0)
			return damaged(elf, i, why);
		if (bits) {
			unsigned lowest = (unsigned)__builtin_ctzll(bits);
			unsigned highest = 63 - (unsigned)__builtin_clzll(bits);

			if (!words_inside(elf, next + lowest * 8, highest - lowest + 1))
				return damaged(elf, i, why);
			elf->n_relr += (size_t)__builtin_popcountll(bits);
		}
		next += BITMAP_WORDS * 8;
	}
	/* Each relocation has a word of its own in any object a linker made. */
	if (elf->n_relr > elf->store.length / 8)
		return damaged(elf, 0, why);
	return 0;
}

static void put_relative(const struct inj_elf *elf, struct inj_elf_rela *list, size_t *n,
			 uint64_t vaddr)
{
	const uint8_t *bytes = inj_elf_bytes_at(elf, vaddr, 8);
	int64_t addend = 0;

	if (bytes)
		memcpy(&addend, bytes, sizeof(addend));
	list[(*n)++] = (struct inj_elf_rela){
		.offset = vaddr, .type = R_X86_64_RELATIVE, .addend = addend};
}

static bool expand_relr(struct inj_elf *elf)
{
	size_t n_words, n = 0;
	const uint64_t *words = relr_words(elf, &n_words);
	struct inj_elf_rela *list = calloc(elf->n_relr, sizeof(*list));
	uint64_t next = 0;

	if (!list || !words) {
		free(list);
		return false;
	}
	for (size_t i = 0; i < n_words; i++) {
		if (!(words[i] & 1)) {
			put_relative(elf, list, &n, words[i]);
			next = words[i] + 8;
			continue;
		}
		for (uint64_t bits = words[i] >> 1; bits; bits &= bits - 1)
			put_relative(elf, list, &n, next + (uint64_t)__builtin_ctzll(bits) * 8);
		next += BITMAP_WORDS * 8;
	}
	elf->relr = list;
	return true;
}

size_t inj_elf_n_rela(const struct inj_elf *elf)
{
	return (elf->dynamic.rela.bytes + elf->dynamic.jmprel.bytes) / sizeof(Elf64_Rela);
}

size_t inj_elf_n_relocations(const struct inj_elf *elf)
{
	return inj_elf_n_rela(elf) + elf->n_relr;
}

static const struct inj_elf_rela *rela_in(const struct inj_elf *elf,
					  const struct elf_extent *table, size_t index)
{
	return (const struct inj_elf_rela *)(const void *)elf_view(
		elf, table->offset + index * sizeof(Elf64_Rela), sizeof(Elf64_Rela));
}

const struct inj_elf_rela *inj_elf_relocation_at(const struct inj_elf *elf, size_t index)
{
	const struct elf_dynamic *dynamic = &elf->dynamic;
	size_t n_rela = dynamic->rela.bytes / sizeof(Elf64_Rela);
	size_t n_jmprel = dynamic->jmprel.bytes / sizeof(Elf64_Rela);

	if (index < n_rela)
		return rela_in(elf, &dynamic->rela, index);
	index -= n_rela;
	if (index < n_jmprel)
		return rela_in(elf, &dynamic->jmprel, index);
	index -= n_jmprel;
	if (index >= elf->n_relr)
		return NULL;
	if (!elf->relr && !expand_relr(elf_cache(elf)))
		return NULL;
	return &elf->relr[index];
}
