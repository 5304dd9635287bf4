/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What linking writes, byte for byte: one relocation of a real patch is turned into each type in
 * turn, bound to known numbers, and the place read back.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include <criterion/criterion.h>

#include "injector/arch/x86_64/reloc.h"
#include "tests/unit/image/mutable.h"

#define BASE UINT64_C(0x7f1234567000)
#define GOOD "link/link-all-gcc-O2.so"

/* A changed patch, linked into memory that is not where it believes to be. */
struct linked {
	struct inj_patch *patch;
	struct inj_image *image;
	uint8_t *bytes;
	int result;
	struct inj_why why;
	struct inj_late_words late;
};

static uint64_t word_at(const struct linked *linked, uint64_t vaddr)
{
	uint64_t word;

	memcpy(&word, linked->bytes + (vaddr - linked->image->vaddr_base), sizeof(word));
	return word;
}

/* Bind every external to `address`, or as thread-local where the patch says so. */
static void link_copy(const struct copy *copy, const struct inj_binding *ordinary,
		      bool may_be_late, struct linked *ret)
{
	static const struct inj_binding tls = {.is_tls = true, .tls_module_id = 7,
					       .tls_offset = 0x40, .tp_offset = -0x80};
	*ret = (struct linked){0};
	cr_assert_eq(open_patch_bytes(copy->bytes, copy->n, "reloc.so", &ret->patch, &ret->why), 0,
		     "%s", ret->why.text);
	cr_assert_eq(inj_image_layout(ret->patch, &ret->image, &ret->why), 0, "%s", ret->why.text);
	ret->bytes = calloc(1, ret->image->bytes);

	struct inj_binding *bindings = calloc(ret->patch->n_externals + 1, sizeof(*bindings));

	for (size_t i = 0; i < ret->patch->n_externals; i++)
		bindings[i] = ret->patch->externals[i].type == STT_TLS ? tls : *ordinary;
	ret->result = inj_image_link(ret->image, BASE, bindings, ret->bytes,
				     may_be_late ? &ret->late : NULL, &ret->why);
	free(bindings);
}

static void unlink_copy(struct linked *linked)
{
	inj_late_words_deinit(&linked->late);
	free(linked->bytes);
	inj_image_free(linked->image);
	inj_patch_close(linked->patch);
}

static const struct inj_binding at_5000 = {.address = 0x5000};

static void set_type(Elf64_Rela *rela, uint32_t type, int64_t addend)
{
	rela->r_info = ELF64_R_INFO(ELF64_R_SYM(rela->r_info), (uint64_t)type);
	rela->r_addend = addend;
}

static const struct {
	uint32_t type;
	int64_t addend;
	uint64_t expected;
} ordinary[] = {
	{R_X86_64_64, 0, 0x5000},
	{R_X86_64_64, 0x10, 0x5010},
	{R_X86_64_64, -0x5000, 0},
	{R_X86_64_64, INT64_MAX, 0x8000000000004fff},
	{R_X86_64_GLOB_DAT, 0, 0x5000},
	{R_X86_64_GLOB_DAT, 0x10, 0x5000}, /* psABI: the value is S alone */
	{R_X86_64_JUMP_SLOT, 0, 0x5000},
	{R_X86_64_RELATIVE, 0x1234, BASE + 0x1234},
	{R_X86_64_RELATIVE, -8, BASE - 8},
	{R_X86_64_NONE, 99, 0},
};

Test(reloc, of_an_external_symbol)
{
	struct copy copy = good_patch(GOOD);
	Elf64_Rela *rela = relocation_of(&copy, ".rela.dyn", R_X86_64_GLOB_DAT, "greeted");

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(ordinary); i++) {
		struct linked linked = {0};

		set_type(rela, ordinary[i].type, ordinary[i].addend);
		link_copy(&copy, &at_5000, false, &linked);
		cr_expect_eq(linked.result, 0, "%s", linked.why.text);
		cr_expect_eq(word_at(&linked, rela->r_offset), ordinary[i].expected,
			     "%s addend %" PRId64 ": 0x%" PRIx64,
			     inj_reloc_rule(ordinary[i].type)->name, ordinary[i].addend,
			     word_at(&linked, rela->r_offset));
		unlink_copy(&linked);
	}
	free(copy.bytes);
}

static const struct {
	uint32_t type;
	int64_t addend;
	uint64_t expected;
} thread_local_ones[] = {
	{R_X86_64_DTPMOD64, 0, 7},
	{R_X86_64_DTPOFF64, 0, 0x40},
	{R_X86_64_DTPOFF64, 8, 0x48},
	{R_X86_64_TPOFF64, 0, (uint64_t)-0x80},
	{R_X86_64_TPOFF64, 0x10, (uint64_t)-0x70},
};

Test(reloc, of_a_thread_local_variable)
{
	struct copy copy = good_patch(GOOD);
	Elf64_Rela *rela = relocation_of(&copy, ".rela.dyn", R_X86_64_DTPMOD64, "turns");

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(thread_local_ones); i++) {
		struct linked linked = {0};

		set_type(rela, thread_local_ones[i].type, thread_local_ones[i].addend);
		link_copy(&copy, &at_5000, false, &linked);
		cr_expect_eq(linked.result, 0, "%s", linked.why.text);
		cr_expect_eq(word_at(&linked, rela->r_offset), thread_local_ones[i].expected,
			     "%s", inj_reloc_rule(thread_local_ones[i].type)->name);
		unlink_copy(&linked);
	}
	free(copy.bytes);
}

Test(reloc, of_a_thread_local_descriptor)
{
	struct copy copy = good_patch(GOOD);
	Elf64_Rela *rela = relocation_of(&copy, ".rela.dyn", R_X86_64_DTPMOD64, "turns");
	Elf64_Rela *second = relocation_of(&copy, ".rela.dyn", R_X86_64_DTPOFF64, "turns");
	struct linked linked = {0};

	/* A descriptor takes the two words that module and offset had. */
	cr_assert_eq(second->r_offset, rela->r_offset + 8);
	set_type(second, R_X86_64_NONE, 0);
	set_type(rela, R_X86_64_TLSDESC, 4);
	link_copy(&copy, &at_5000, false, &linked);
	cr_assert_eq(linked.result, 0, "%s", linked.why.text);
	cr_assert_lt(linked.image->private_offset, linked.image->bytes);
	cr_expect_eq(word_at(&linked, rela->r_offset), BASE + linked.image->private_offset);
	cr_expect_eq(word_at(&linked, rela->r_offset + 8), (uint64_t)-0x7c);
	cr_expect_arr_eq(linked.bytes + linked.image->private_offset, inj_tlsdesc_code,
			 sizeof(inj_tlsdesc_code));
	cr_expect_eq(linked.image->parts[linked.image->n_parts - 1].prot, PROT_READ | PROT_EXEC);
	unlink_copy(&linked);
	free(copy.bytes);
}

Test(reloc, of_a_symbol_of_the_patch)
{
	struct copy copy = good_patch(GOOD);
	Elf64_Sym *symbol = symbol_of(&copy, "public_number", NULL);
	Elf64_Rela *rela = relocation_of(&copy, ".rela.dyn", R_X86_64_64, "public_number");
	struct linked linked = {0};

	rela->r_addend = 12;
	link_copy(&copy, &at_5000, false, &linked);
	cr_expect_eq(word_at(&linked, rela->r_offset), BASE + symbol->st_value + 12);
	unlink_copy(&linked);

	/* An absolute symbol stays what it is. */
	symbol->st_shndx = SHN_ABS;
	link_copy(&copy, &at_5000, false, &linked);
	cr_expect_eq(word_at(&linked, rela->r_offset), symbol->st_value + 12);
	unlink_copy(&linked);

	/* No symbol: the addend is the value. */
	rela->r_info = ELF64_R_INFO(UINT64_C(0), (uint64_t)R_X86_64_64);
	link_copy(&copy, &at_5000, false, &linked);
	cr_expect_eq(word_at(&linked, rela->r_offset), 12);
	unlink_copy(&linked);
	free(copy.bytes);
}

static const struct inj_late_word *late_word_at(const struct linked *linked, uint64_t vaddr)
{
	for (size_t i = 0; i < linked->late.n_items; i++)
		if (linked->late.items[i].offset == vaddr - linked->image->vaddr_base)
			return &linked->late.items[i];
	cr_assert_fail("nothing is to come to 0x%" PRIx64, vaddr);
	return NULL;
}

Test(reloc, of_an_indirect_function_is_listed)
{
	struct copy copy = good_patch(GOOD);
	Elf64_Sym *symbol = symbol_of(&copy, "thrice", NULL);
	Elf64_Rela *first = relocation_of(&copy, ".rela.dyn", R_X86_64_GLOB_DAT, "greeted");
	Elf64_Rela *by_symbol = relocation_of(&copy, ".rela.dyn", R_X86_64_64, "thrice");
	struct linked linked = {0};

	set_type(first, R_X86_64_IRELATIVE, (int64_t)symbol->st_value);
	symbol->st_info = ELF64_ST_INFO(STB_GLOBAL, STT_GNU_IFUNC);
	by_symbol->r_addend = 3;
	link_copy(&copy, &at_5000, true, &linked);
	cr_assert_eq(linked.result, 0, "%s", linked.why.text);
	cr_expect_eq(linked.late.n_items, 2);

	const struct inj_late_word *one = late_word_at(&linked, first->r_offset);
	const struct inj_late_word *other = late_word_at(&linked, by_symbol->r_offset);

	cr_expect_eq(one->resolver, BASE + symbol->st_value);
	cr_expect_eq(one->addend, 0);
	cr_expect_eq(other->resolver, BASE + symbol->st_value);
	cr_expect_eq(other->addend, 3);
	unlink_copy(&linked);

	link_copy(&copy, &at_5000, false, &linked);
	cr_expect_eq(linked.result, INJ_UNSUPPORTED_RELOCATION);
	cr_expect(strstr(linked.why.text, "indirect function"), "%s", linked.why.text);
	unlink_copy(&linked);
	free(copy.bytes);
}

/* What the target has not chosen yet comes first, with everything that refers to it. */
Test(reloc, of_a_pending_choice_of_the_target_is_listed_first)
{
	static const struct inj_binding pending = {.resolver = 0x7000};
	struct copy copy = good_patch("link/link-indirect-gcc-now.so");
	struct linked linked = {0};
	size_t n_pending = 0;

	link_copy(&copy, &pending, true, &linked);
	cr_assert_eq(linked.result, 0, "%s", linked.why.text);
	for (size_t i = 0; i < linked.late.n_items; i++)
		if (linked.late.items[i].resolver == 0x7000)
			cr_expect_eq(n_pending++, i);
	cr_expect_gt(n_pending, 0);
	cr_expect_gt(linked.late.n_items, n_pending);
	unlink_copy(&linked);
	free(copy.bytes);
}

Test(reloc, that_cannot_be_bound_is_refused)
{
	static const struct inj_binding tls = {.is_tls = true};
	static const struct inj_binding high = {.address = UINT64_MAX - 8};
	struct copy copy = good_patch(GOOD);
	Elf64_Rela *rela = relocation_of(&copy, ".rela.dyn", R_X86_64_GLOB_DAT, "greeted");
	struct linked linked = {0};

	link_copy(&copy, &tls, false, &linked);
	cr_expect_eq(linked.result, INJ_UNSUPPORTED_TLS);
	cr_expect(strstr(linked.why.text, "in the target it is thread-local"), "%s",
		  linked.why.text);
	unlink_copy(&linked);

	set_type(rela, R_X86_64_64, 16);
	link_copy(&copy, &high, false, &linked);
	cr_expect_eq(linked.result, INJ_UNSUPPORTED_RELOCATION);
	cr_expect(strstr(linked.why.text, "R_X86_64_64") && strstr(linked.why.text, "greeted") &&
			  strstr(linked.why.text, "address space"),
		  "%s", linked.why.text);
	unlink_copy(&linked);

	set_type(rela, R_X86_64_TPOFF64, 0);
	link_copy(&copy, &at_5000, false, &linked);
	cr_expect_eq(linked.result, INJ_UNSUPPORTED_TLS);
	cr_expect(strstr(linked.why.text, "not thread-local"), "%s", linked.why.text);
	unlink_copy(&linked);
	free(copy.bytes);
}

/* Moving the base moves pointers into the patch by as much, and changes nothing else. */
Test(reloc, another_base_changes_only_own_pointers)
{
	struct copy copy = good_patch("link/link-throw-gcc-O2.so");
	const uint64_t shift = 0x123456000;
	struct linked linked = {0};
	struct inj_binding bindings[64];
	size_t n_different = 0;

	link_copy(&copy, &at_5000, false, &linked);
	cr_assert_eq(linked.result, 0, "%s", linked.why.text);
	cr_assert_leq(linked.patch->n_externals, INJ_ARRAY_LENGTH(bindings));
	for (size_t i = 0; i < linked.patch->n_externals; i++)
		bindings[i] = at_5000;

	uint8_t *moved = calloc(1, linked.image->bytes);

	cr_assert_eq(inj_image_link(linked.image, BASE + shift, bindings, moved, NULL, NULL), 0);
	for (uint64_t at = 0; at < linked.image->bytes; at += 8) {
		uint64_t before, after;

		memcpy(&before, linked.bytes + at, 8);
		memcpy(&after, moved + at, 8);
		if (before == after)
			continue;
		cr_expect_eq(after - before, shift, "at 0x%" PRIx64, at);
		n_different++;
	}
	cr_expect_gt(n_different, 5);
	cr_expect_eq(inj_image_link(linked.image, BASE + 8, bindings, moved, NULL, NULL), -EINVAL);
	cr_expect_eq(inj_image_link(linked.image, UINT64_MAX - 4095, bindings, moved, NULL, NULL),
		     -EINVAL);
	free(moved);
	unlink_copy(&linked);
	free(copy.bytes);
}
