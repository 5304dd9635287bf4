/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files that are no usable patch: each is refused under its code, and the sentence names what is
 * wrong. Some are built so, some are a good patch with one field changed, some are damaged at
 * random; those that still pass must lay out and link inside their own bounds.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "injector/abi/patch-format.h"
#include "injector/arch/x86_64/reloc.h"
#include "tests/unit/image/mutable.h"

/* Arrays, not pointers: Criterion hands parameters to a process of another layout. */
static const struct refusal {
	char file[32];
	int code;
	char words[3][32];
} refusals[] = {
	{"own-tls", INJ_UNSUPPORTED_TLS, {"my_count", "my_total", "extern __thread"}},
	{"own-tls-stripped", INJ_UNSUPPORTED_TLS, {"my_total"}},
	{"two-declarations", INJ_BAD_PATCH, {"two DSU_PATCH"}},
	{"twice", INJ_BAD_PATCH, {"hello twice", "hello_new", "hello_newer"}},
	{"undefined-new", INJ_BAD_PATCH, {"hello_new", "not defined", "replace hello"}},
	{"no-declaration", INJ_BAD_PATCH, {"DSU_REPLACE but no DSU_PATCH"}},
	{"nothing", INJ_BAD_PATCH, {"replaces nothing", "export"}},
	{"nothing-declared", INJ_BAD_PATCH, {"replaces nothing", "add DSU_REPLACE"}},
	{"bad-id", INJ_BAD_PATCH, {"../x", "choose another"}},
	{"empty-id", INJ_BAD_PATCH, {"the id \"\""}},
	{"bad-version", INJ_BAD_PATCH, {"1 beta", "version"}},
	{"indirect-new", INJ_BAD_PATCH, {"hello_new", "ordinary function"}},
	{"indirect-new-exported", INJ_BAD_PATCH, {"hello_new", "indirect function"}},
	{"aligned", INJ_BAD_PATCH, {"8192", "page"}},
	{"trampoline", INJ_BAD_PATCH, {"executable stack", "nested functions"}},
	{"execstack", INJ_BAD_PATCH, {"executable stack"}},
	{"text-relocation", INJ_UNSUPPORTED_RELOCATION,
	 {"R_X86_64_64", "foreign", "text relocation"}},
	{"program", INJ_BAD_PATCH, {"is a program", "-shared"}},
	{"program-pie", INJ_BAD_PATCH, {"is a program", "-shared"}},
	{"object", INJ_BAD_PATCH, {"not linked", "-shared"}},
};

ParameterizedTestParameters(refuse, built)
{
	return cr_make_param_array(struct refusal, (struct refusal *)refusals,
				   INJ_ARRAY_LENGTH(refusals));
}

ParameterizedTest(struct refusal *refusal, refuse, built)
{
	INJ_CLEANUP(inj_patch_guard) struct inj_patch *patch = NULL;
	struct inj_why why = {0};
	char name[128];

	snprintf(name, sizeof(name), "refused/refused-%s.so", refusal->file);
	cr_assert_eq(open_patch(patch_path(name), &patch, &why), refusal->code, "%s: %s",
		     refusal->file, why.text);
	cr_assert_null(patch);
	cr_assert_eq(why.code, refusal->code);
	cr_assert(strstr(why.text, refusal->file), "no file: %s", why.text);
	for (size_t i = 0; i < 3 && refusal->words[i][0]; i++)
		cr_expect(strstr(why.text, refusal->words[i]), "%s: no \"%s\" in: %s",
			  refusal->file, refusal->words[i], why.text);
}

static int reopen(const struct copy *copy, struct inj_why *why)
{
	INJ_CLEANUP(inj_patch_guard) struct inj_patch *patch = NULL;

	return open_patch_bytes(copy->bytes, copy->n, "changed.so", &patch, why);
}

static void expect_refusal(const struct copy *copy, int code, const char *words)
{
	struct inj_why why = {0};

	cr_expect_eq(reopen(copy, &why), code, "\"%s\" expected, got: %s", words, why.text);
	cr_expect(strstr(why.text, words), "no \"%s\" in: %s", words, why.text);
}

#define GOOD "link/link-all-gcc-O2.so"

Test(refuse, files_that_are_no_patch)
{
	static const char *const texts[] = {"", "\177EL", "#!/bin/sh\n", "\177ELF\2\1\1"};
	INJ_CLEANUP(inj_patch_guard) struct inj_patch *patch = NULL;
	struct inj_why why = {0};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(texts); i++)
		cr_expect_eq(open_patch_bytes(texts[i], strlen(texts[i]), "x.so", &patch, &why),
			     INJ_BAD_PATCH);
	cr_expect_eq(open_patch("/dev/zero", &patch, &why), INJ_BAD_PATCH);
	cr_expect(strstr(why.text, "regular file"));
	cr_expect_eq(open_patch("/", &patch, &why), INJ_BAD_PATCH);

	INJ_CLOSE int fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);

	cr_expect_lt(inj_patch_open(fd, "x", &patch, &why), 0);

	INJ_CLOSE int huge = memfd_create("huge", MFD_CLOEXEC);

	cr_assert_eq(ftruncate(huge, INJ_PATCH_MAX_BYTES + 1), 0);
	cr_expect_eq(inj_patch_open(huge, "huge.so", &patch, &why), INJ_BAD_PATCH);
	cr_expect(strstr(why.text, "huge.so has 268435457 bytes"), "%s", why.text);
}

Test(refuse, other_machines_and_types)
{
	struct copy copy = good_patch(GOOD);
	Elf64_Ehdr *header = (Elf64_Ehdr *)copy.bytes;
	struct inj_why why = {0};

	header->e_machine = EM_AARCH64;
	cr_expect_eq(reopen(&copy, &why), INJ_BAD_PATCH);
	header->e_machine = EM_X86_64;
	header->e_ident[EI_CLASS] = ELFCLASS32;
	cr_expect_eq(reopen(&copy, &why), INJ_BAD_PATCH);
	header->e_ident[EI_CLASS] = ELFCLASS64;
	header->e_ident[EI_DATA] = ELFDATA2MSB;
	cr_expect_eq(reopen(&copy, &why), INJ_BAD_PATCH);
	header->e_ident[EI_DATA] = ELFDATA2LSB;
	header->e_type = ET_EXEC;
	expect_refusal(&copy, INJ_BAD_PATCH, "is a program");
	header->e_type = ET_CORE;
	cr_expect_eq(reopen(&copy, &why), INJ_BAD_PATCH);
	header->e_type = ET_DYN;
	cr_expect_eq(reopen(&copy, &why), 0, "%s", why.text);
	header->e_shnum = 0;
	header->e_shoff = 0;
	header->e_shstrndx = 0;
	expect_refusal(&copy, INJ_BAD_PATCH, "no section headers");
	free(copy.bytes);
}

Test(refuse, segments)
{
	struct copy copy = good_patch(GOOD);
	Elf64_Phdr *text = segment_of(&copy, PT_LOAD, 1);
	Elf64_Phdr *data = segment_of(&copy, PT_LOAD, 3);
	Elf64_Phdr saved = *data;

	cr_assert_eq(text->p_flags, PF_R | PF_X);
	text->p_flags |= PF_W;
	expect_refusal(&copy, INJ_BAD_PATCH, "writable and executable");
	text->p_flags &= ~(uint32_t)PF_W;
	data->p_memsz = 1UL << 30;
	expect_refusal(&copy, INJ_BAD_PATCH, "more than the 0x20000000");
	data->p_memsz = UINT64_MAX - 8192;
	cr_expect_eq(reopen(&copy, NULL), INJ_BAD_PATCH);
	*data = saved;
	/* Two segments in one page: there is one protection for both. */
	text->p_memsz = text->p_filesz = data->p_vaddr - text->p_vaddr;
	cr_expect_eq(reopen(&copy, NULL), INJ_BAD_PATCH);
	free(copy.bytes);
}

Test(refuse, every_other_relocation_type_by_name)
{
	struct copy copy = good_patch(GOOD);
	Elf64_Rela *rela = relocation_of(&copy, ".rela.plt", R_X86_64_JUMP_SLOT, NULL);
	uint32_t symbol = ELF64_R_SYM(rela->r_info);
	size_t n_refused = 0;

	for (uint32_t type = 0; type < 300; type++) {
		const struct inj_reloc_rule *rule = inj_reloc_rule(type);
		struct inj_why why = {0};

		if (rule->kind != INJ_RELOC_UNSUPPORTED)
			continue;
		rela->r_info = ELF64_R_INFO((uint64_t)symbol, (uint64_t)type);
		cr_expect_eq(reopen(&copy, &why), INJ_UNSUPPORTED_RELOCATION, "%u", type);
		cr_expect(strstr(why.text, rule->name), "%s", why.text);
		cr_expect(strstr(why.text, rule->advice), "%s", why.text);
		n_refused++;
	}
	cr_expect_eq(n_refused, 300 - 10);
	cr_expect_str_eq(inj_reloc_rule(R_X86_64_COPY)->name, "R_X86_64_COPY");
	cr_expect_str_eq(inj_reloc_rule(R_X86_64_PC32)->name, "R_X86_64_PC32");
	cr_expect_str_eq(inj_reloc_rule(299)->name, "an unknown relocation");
	free(copy.bytes);
}

Test(refuse, relocations_that_point_nowhere)
{
	struct copy copy = good_patch(GOOD);
	Elf64_Rela *rela = relocation_of(&copy, ".rela.plt", R_X86_64_JUMP_SLOT, NULL);
	Elf64_Rela *other = relocation_of(&copy, ".rela.dyn", R_X86_64_RELATIVE, NULL);
	Elf64_Rela *tls = relocation_of(&copy, ".rela.dyn", R_X86_64_DTPMOD64, NULL);
	Elf64_Rela saved = *rela, saved_tls = *tls;

	rela->r_offset = 0x10;
	expect_refusal(&copy, INJ_UNSUPPORTED_RELOCATION, "text relocation");
	rela->r_offset = UINT64_MAX - 3;
	expect_refusal(&copy, INJ_BAD_PATCH, "outside of the patch");
	rela->r_offset = 0x7fffffff;
	expect_refusal(&copy, INJ_BAD_PATCH, "outside of the patch");
	rela->r_offset = other->r_offset + 4;
	expect_refusal(&copy, INJ_BAD_PATCH, "two relocations");
	*rela = saved;
	rela->r_info = ELF64_R_INFO(UINT64_C(0xffffff), (uint64_t)R_X86_64_JUMP_SLOT);
	cr_expect_eq(reopen(&copy, NULL), INJ_BAD_PATCH);
	rela->r_info = ELF64_R_INFO(UINT64_C(0), (uint64_t)R_X86_64_JUMP_SLOT);
	expect_refusal(&copy, INJ_BAD_PATCH, "names no symbol");
	*rela = saved;
	tls->r_info = ELF64_R_INFO(UINT64_C(0), (uint64_t)R_X86_64_DTPMOD64);
	expect_refusal(&copy, INJ_UNSUPPORTED_TLS, "thread-local memory of the patch itself");
	*tls = saved_tls;
	rela->r_info = ELF64_R_INFO(UINT64_C(0), (uint64_t)R_X86_64_IRELATIVE);
	rela->r_addend = (int64_t)other->r_offset;
	expect_refusal(&copy, INJ_BAD_PATCH, "is no code");
	free(copy.bytes);
}

Test(refuse, manifests_that_are_damaged)
{
	struct copy copy = good_patch(GOOD);
	const Elf64_Shdr *section = section_of(&copy, DSU_MANIFEST_SECTION);
	uint8_t *start = copy.bytes + section->sh_offset;
	struct dsu_manifest_header *header = (struct dsu_manifest_header *)start;
	struct dsu_manifest_header saved = *header;
	struct inj_why why = {0};

	cr_assert_eq(header->magic, DSU_MANIFEST_MAGIC);
	header->magic++;
	expect_refusal(&copy, INJ_BAD_PATCH, "does not begin as one");
	*header = saved;
	header->version++;
	expect_refusal(&copy, INJ_BAD_PATCH, "upgrade dsud");
	*header = saved;
	header->flags = 1;
	expect_refusal(&copy, INJ_BAD_PATCH, "flags 0x1");
	*header = saved;
	header->kind = 99;
	expect_refusal(&copy, INJ_BAD_PATCH, "unknown kind");
	*header = saved;
	for (uint32_t bytes = 0; bytes < section->sh_size + 64; bytes++) {
		if (bytes == saved.bytes)
			continue;
		header->bytes = bytes;
		cr_expect_eq(reopen(&copy, &why), INJ_BAD_PATCH, "%u bytes", bytes);
	}
	header->bytes = UINT32_MAX;
	expect_refusal(&copy, INJ_BAD_PATCH, "wrong size");
	*header = saved;
	/* No NUL anywhere after the header. */
	memset(start + sizeof(*header), 'x', section->sh_size - sizeof(*header));
	expect_refusal(&copy, INJ_BAD_PATCH, "manifest record");
	free(copy.bytes);
}

/* What passes the checks must be safe to lay out and to link, and stay in its bounds. */
static void try_to_link(const struct inj_patch *patch)
{
	INJ_CLEANUP(inj_image_guard) struct inj_image *image = NULL;
	const uint64_t base = 0x7f0000000000;
	struct inj_why why = {0};

	cr_assert_eq(inj_image_layout(patch, &image, &why), 0, "%s", why.text);
	check_layout(image);

	uint8_t *bytes = mmap(NULL, image->bytes + 2 * INJ_PAGE_BYTES, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	INJ_FREE struct inj_binding *bindings =
		calloc(patch->n_externals + 1, sizeof(struct inj_binding));

	/* Guard pages on both sides turn a stray write into a crash. */
	cr_assert_neq(bytes, MAP_FAILED);
	cr_assert_eq(mprotect(bytes + INJ_PAGE_BYTES, image->bytes, PROT_READ | PROT_WRITE), 0);
	for (size_t i = 0; i < patch->n_externals; i++)
		bindings[i] = (struct inj_binding){
			.address = 0x1000, .is_tls = patch->externals[i].type == STT_TLS};
	INJ_CLEANUP(inj_late_words_deinit) struct inj_late_words late = {0};

	inj_image_link(image, base, bindings, bytes + INJ_PAGE_BYTES, &late, &why);
	for (size_t i = 0; i < late.n_items; i++)
		cr_expect_leq(late.items[i].offset, image->bytes - 8);
	munmap(bytes, image->bytes + 2 * INJ_PAGE_BYTES);
}

static void try_bytes(int fd, const uint8_t *bytes, size_t n)
{
	INJ_CLEANUP(inj_patch_guard) struct inj_patch *patch = NULL;
	struct inj_why why = {0};

	cr_assert_eq(ftruncate(fd, 0), 0);
	cr_assert_eq(pwrite(fd, bytes, n, 0), (ssize_t)n);

	int r = inj_patch_open(fd, "mutant.so", &patch, &why);

	if (r == 0) {
		try_to_link(patch);
		return;
	}
	cr_assert_gt(r, 0, "%s", why.text);
	cr_assert(r == INJ_BAD_PATCH || r == INJ_UNSUPPORTED_TLS || r == INJ_UNSUPPORTED_RELOCATION,
		  "%d: %s", r, why.text);
	cr_assert_eq(why.code, r);
	cr_assert_gt(strlen(why.text), 20);
}

Test(refuse, truncated_at_every_length, .timeout = 100)
{
	struct copy copy = good_patch("link/link-all-gcc-stripped.so");
	INJ_CLOSE int fd = memfd_create("mutant", MFD_CLOEXEC);

	for (size_t n = 0; n < copy.n; n += n < 1024 || copy.n - n < 1024 ? 1 : 7) {
		struct inj_why why = {0};
		INJ_CLEANUP(inj_patch_guard) struct inj_patch *patch = NULL;

		cr_assert_eq(ftruncate(fd, 0), 0);
		cr_assert_eq(pwrite(fd, copy.bytes, n, 0), (ssize_t)n);
		cr_assert_eq(inj_patch_open(fd, "cut.so", &patch, &why), INJ_BAD_PATCH,
			     "%zu of %zu bytes", n, copy.n);
	}
	free(copy.bytes);
}

static const char *const mutated[] = {
	"link/link-all-gcc-stripped.so", "link/link-throw-gcc-relr.so",
	"link/link-indirect-clang-O2.so", "link/link-throw-gcc-nostart.so",
	"link/plain.so",
};

static const char *mutant_source(size_t i)
{
	/* Built only where clang is there. */
	if (access(patch_path(mutated[i]), R_OK) != 0)
		return "link/link-indirect-gcc-O2.so";
	return mutated[i];
}

/* Every byte of what is read as structure: headers, tables, manifest, unwind table. */
Test(refuse, every_byte_changed, .timeout = 300)
{
	static const uint8_t masks[] = {0x01, 0x80, 0xff};
	INJ_CLOSE int fd = memfd_create("mutant", MFD_CLOEXEC);

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(mutated); i++) {
		struct copy copy = good_patch(mutant_source(i));
		const Elf64_Shdr *text = section_of(&copy, ".text");
		size_t padding = 0;

		for (size_t at = 0; at < copy.n; at++) {
			/* Code is not looked at; long runs of zeroes are padding of the file. */
			if (at >= text->sh_offset && at < text->sh_offset + text->sh_size)
				continue;
			padding = copy.bytes[at] ? 0 : padding + 1;
			if (padding > 64)
				continue;
			for (size_t m = 0; m < INJ_ARRAY_LENGTH(masks); m++) {
				copy.bytes[at] ^= masks[m];
				try_bytes(fd, copy.bytes, copy.n);
				copy.bytes[at] ^= masks[m];
			}
		}
		free(copy.bytes);
	}
}

/* Whole fields, with the values that break sums. */
Test(refuse, every_word_changed, .timeout = 300)
{
	static const uint64_t values[] = {0,
					  1,
					  0x7fffffff,
					  0xffffffff,
					  INT64_MAX,
					  (uint64_t)INT64_MIN,
					  UINT64_MAX,
					  UINT64_MAX - 7,
					  UINT64_MAX - 4095};
	INJ_CLOSE int fd = memfd_create("mutant", MFD_CLOEXEC);

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(mutated); i++) {
		struct copy copy = good_patch(mutant_source(i));
		const Elf64_Shdr *text = section_of(&copy, ".text");

		for (size_t at = 0; at + 8 <= copy.n; at += 8) {
			uint64_t saved;

			if (at >= text->sh_offset && at < text->sh_offset + text->sh_size)
				continue;
			memcpy(&saved, copy.bytes + at, 8);
			if (!saved)
				continue;
			for (size_t v = 0; v < INJ_ARRAY_LENGTH(values); v++) {
				memcpy(copy.bytes + at, &values[v], 8);
				try_bytes(fd, copy.bytes, copy.n);
			}
			memcpy(copy.bytes + at, &saved, 8);
		}
		free(copy.bytes);
	}
}
