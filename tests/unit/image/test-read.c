/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the reader says about good patches: names as their authors wrote them, whatever compiler,
 * linker and options stood between.
 */
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <criterion/criterion.h>
#include <openssl/evp.h>

#include "tests/unit/image/mutable.h"

static struct inj_patch *open_good(const char *name)
{
	struct inj_patch *patch = NULL;
	struct inj_why why = {0};

	cr_assert_eq(open_patch(patch_path(name), &patch, &why), 0, "%s", why.text);
	return patch;
}

static const struct inj_replacement *replacement_of(const struct inj_patch *patch, const char *name)
{
	for (size_t i = 0; i < patch->n_replacements; i++)
		if (strcmp(patch->replacements[i].name, name) == 0)
			return &patch->replacements[i];
	cr_assert_fail("%s is not replaced", name);
	return NULL;
}

static const struct inj_external *external_of(const struct inj_patch *patch, const char *name)
{
	for (size_t i = 0; i < patch->n_externals; i++)
		if (strcmp(patch->externals[i].name, name) == 0)
			return &patch->externals[i];
	cr_assert_fail("%s is no external symbol", name);
	return NULL;
}

static void check_all(const struct inj_patch *patch, const char *path)
{
	cr_expect_str_eq(patch->id, "link-all");
	cr_expect_str_eq(patch->version, "1.0");
	cr_expect(patch->has_manifest);
	cr_expect_eq(patch->n_replacements, 6, "%s", path);
	cr_expect_eq(patch->n_constructors, 0, "%s", path);

	const struct inj_replacement *by_table = replacement_of(patch, "by_table");

	cr_expect_str_eq(by_table->file, "x/y.c");
	cr_expect_null(by_table->module);
	cr_expect_str_eq(by_table->new_name, "by_table");
	cr_expect_str_eq(replacement_of(patch, "by_switch")->module, "libexample.so.1");
	cr_expect_str_eq(replacement_of(patch, "libc.part.0")->file, "z.c");
	cr_expect_str_eq(replacement_of(patch, "libc.part.0")->new_name, "libc_new");
	cr_expect_null(replacement_of(patch, "data")->file);
	cr_expect_str_eq(external_of(patch, "counter")->file, "dir/b-1.c");
	cr_expect_str_eq(external_of(patch, "scale")->file, "dir/b-1.c");
	cr_expect_str_eq(external_of(patch, "note")->file, "b+c.c");
	cr_expect_eq(external_of(patch, "note")->type, STT_TLS);
	cr_expect_null(external_of(patch, "greeted")->file);
	cr_expect(external_of(patch, "absent")->weak);
	cr_expect_not(external_of(patch, "greeted")->weak);
	for (size_t i = 0; i < patch->n_externals; i++) {
		cr_expect_neq(strncmp(patch->externals[i].name, "_ITM_", 5), 0, "%s", path);
		cr_expect_str_neq(patch->externals[i].name, "__cxa_finalize", "%s", path);
		cr_expect_str_neq(patch->externals[i].name, "public_number", "%s", path);
	}
}

Test(read, the_same_from_every_toolchain)
{
	glob_t found = {0};

	cr_assert_eq(glob(patch_path("link/link-all-*.so"), 0, NULL, &found), 0);
	cr_assert_gt(found.gl_pathc, 15);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		struct inj_patch *patch = NULL;
		struct inj_why why = {0};

		cr_assert_eq(open_patch(found.gl_pathv[i], &patch, &why), 0, "%s", why.text);
		check_all(patch, found.gl_pathv[i]);
		inj_patch_close(patch);
	}
	globfree(&found);
}

Test(read, sizes_versions_and_digest)
{
	struct inj_patch *patch = open_good("link/link-all-gcc-O3.so");
	struct inj_patch *stripped = open_good("link/link-all-gcc-stripped.so");
	struct copy copy = good_patch("link/link-all-gcc-O3.so");
	uint8_t digest[32];
	char hex[65] = "";

	cr_expect_gt(replacement_of(patch, "data")->new_size, 10);
	cr_expect_eq(replacement_of(stripped, "data")->new_size, 0);
	cr_expect(patch->has_debug_info);
	cr_expect_not(stripped->has_debug_info);
	cr_expect_null(external_of(patch, "greeted")->version);
	cr_expect_str_eq(external_of(patch, "qsort")->version, "GLIBC_2.2.5");
	cr_expect_str_eq(external_of(patch, "memcpy")->version, "GLIBC_2.14");
	cr_expect_eq(strlen(patch->build_id_hex), 40);
	cr_assert_eq(EVP_Digest(copy.bytes, copy.n, digest, NULL, EVP_sha256(), NULL), 1);
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	cr_expect_str_eq(patch->digest, hex);
	cr_expect_eq(patch->file_bytes, copy.n);
	free(copy.bytes);
	inj_patch_close(stripped);
	inj_patch_close(patch);
}

Test(read, constructors_are_counted_without_the_compilers_own)
{
	static const char *const names[] = {"link/constructors.so",
					    "link/constructors-stripped.so"};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(names); i++) {
		struct inj_patch *patch = open_good(names[i]);

		cr_expect_eq(patch->n_constructors, 2, "%s: %zu", names[i], patch->n_constructors);
		inj_patch_close(patch);
	}
}

Test(read, a_plain_object_replaces_what_it_exports)
{
	struct inj_patch *patch = open_good("link/plain.so");

	cr_expect_not(patch->has_manifest);
	cr_expect_str_eq(patch->id, "plain.so");
	cr_expect_str_eq(patch->version, "");
	cr_expect_eq(patch->n_replacements, 2);
	cr_expect_str_eq(replacement_of(patch, "visible")->new_name, "visible");
	cr_expect_gt(replacement_of(patch, "visible_too")->new_size, 0);
	external_of(patch, "greeted");
	inj_patch_close(patch);
}

static const struct {
	const char *file, *id;
} file_names[] = {
	{"hello.so", "hello.so"},
	{"/some/where/hello v2.so", "hello-v2.so"},
	{"libfoo.so.1", "libfoo.so.1"},
	{"a+b_c-d.so", "a+b_c-d.so"},
	{".so", "_so"},
	{"-rf.so", "_rf.so"},
	{"..", "_."},
	{"trailing/", "patch"},
	{"\xc3\xa4\n.so", "--"}, /* how many, depends on the character set */
};

Test(read, ids_from_file_names_are_harmless)
{
	struct copy copy = good_patch("link/plain.so");
	INJ_CLOSE int fd = memfd_create("plain", MFD_CLOEXEC);
	char many[400];

	cr_assert_eq(write(fd, copy.bytes, copy.n), (ssize_t)copy.n);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(file_names); i++) {
		struct inj_patch *patch = NULL;

		cr_assert_eq(inj_patch_open(fd, file_names[i].file, &patch, NULL), 0);
		if (strcmp(file_names[i].id, "--") != 0)
			cr_expect_str_eq(patch->id, file_names[i].id);
		for (const char *c = patch->id; *c; c++)
			cr_expect(strchr("abcdefghijklmnopqrstuvwxyz0123456789._+-", *c));
		cr_expect(patch->id[0] != '.' && patch->id[0] != '-');
		inj_patch_close(patch);
	}

	struct inj_patch *patch = NULL;

	memset(many, 'x', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	cr_assert_eq(inj_patch_open(fd, many, &patch, NULL), 0);
	cr_expect_eq(strlen(patch->id), INJ_PATCH_ID_MAX - 1);
	inj_patch_close(patch);
	free(copy.bytes);
}

static const struct inj_image_part *part_at(const struct inj_image *image, uint64_t vaddr)
{
	for (size_t i = 0; i < image->n_parts; i++)
		if (vaddr - image->vaddr_base >= image->parts[i].offset &&
		    vaddr - image->vaddr_base < image->parts[i].offset + image->parts[i].bytes)
			return &image->parts[i];
	cr_assert_fail("no part");
	return NULL;
}

Test(read, layout_follows_segments_and_relro)
{
	struct copy copy = good_patch("link/link-all-gcc-now.so");
	struct inj_patch *patch = open_good("link/link-all-gcc-now.so");
	struct inj_image *image = NULL;

	cr_assert_eq(inj_image_layout(patch, &image, NULL), 0);
	check_layout(image);
	cr_expect_eq(part_at(image, 0)->prot, PROT_READ);
	cr_expect_eq(part_at(image, replacement_of(patch, "data")->new_vaddr)->prot,
		     PROT_READ | PROT_EXEC);
	cr_expect_eq(part_at(image, section_of(&copy, ".got")->sh_addr)->prot, PROT_READ);
	cr_expect_eq(part_at(image, section_of(&copy, ".data")->sh_addr)->prot,
		     PROT_READ | PROT_WRITE);
	cr_expect_eq(part_at(image, section_of(&copy, ".bss")->sh_addr)->prot,
		     PROT_READ | PROT_WRITE);
	cr_expect_eq(image->eh_frame_offset, section_of(&copy, ".eh_frame")->sh_addr);
	cr_expect_eq(image->eh_frame_bytes, section_of(&copy, ".eh_frame")->sh_size);
	cr_expect_eq(image->private_offset, image->bytes);
	inj_image_free(image);
	inj_patch_close(patch);
	free(copy.bytes);
}

/* Without crtendS.o nothing ends .eh_frame; if data follows it, a copy in the tail has the end. */
Test(read, an_endless_unwind_table_gets_an_end)
{
	struct copy copy = good_patch("link/link-throw-gcc-nostart.so");
	const Elf64_Shdr *section = section_of(&copy, ".eh_frame");
	struct inj_patch *patch = open_good("link/link-throw-gcc-nostart.so");
	struct inj_image *image = NULL;

	cr_assert_eq(inj_image_layout(patch, &image, NULL), 0);
	cr_assert_geq(image->eh_frame_offset, image->private_offset);
	cr_expect_eq(image->eh_frame_bytes, section->sh_size + 4);
	inj_image_free(image);
	inj_patch_close(patch);
	free(copy.bytes);
}
