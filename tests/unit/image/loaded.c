/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Links patches into the test's own process: the base is memory of ours, symbols come from a
 * table of the test, else from the dynamic linker, resolvers are called directly.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <criterion/criterion.h>

#include "injector/base/io.h"
#include "tests/unit/image/loaded.h"

const char *patch_path(const char *name)
{
	static char path[4096];
	const char *root = getenv("DSU_BUILD_ROOT");

	snprintf(path, sizeof(path), "%s/tests/patches/%s", root ? root : "build", name);
	return path;
}

int open_patch(const char *path, struct inj_patch **ret, struct inj_why *why)
{
	INJ_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

	cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
	return inj_patch_open(fd, path, ret, why);
}

int open_patch_bytes(const void *bytes, size_t n, const char *name, struct inj_patch **ret,
		     struct inj_why *why)
{
	INJ_CLOSE int fd = memfd_create(name, MFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	cr_assert_eq(inj_write_full(fd, bytes, n), 0);
	return inj_patch_open(fd, name, ret, why);
}

uint8_t *read_file(const char *path, size_t *ret_n)
{
	INJ_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = NULL;

	cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
	cr_assert_eq(inj_read_whole(fd, 64 << 20, &text, ret_n), 0);
	return (uint8_t *)text;
}

void check_layout(const struct inj_image *image)
{
	uint64_t at = 0;

	for (size_t i = 0; i < image->n_parts; i++) {
		const struct inj_image_part *part = &image->parts[i];

		cr_assert_eq(part->offset, at);
		cr_assert_gt(part->bytes, 0);
		cr_assert_eq(part->bytes % INJ_PAGE_BYTES, 0);
		cr_assert(part->prot == PROT_READ || part->prot == (PROT_READ | PROT_EXEC) ||
			  part->prot == (PROT_READ | PROT_WRITE));
		cr_assert(i == 0 || part->prot != image->parts[i - 1].prot);
		at += part->bytes;
	}
	cr_assert_eq(at, image->bytes);
	cr_assert_leq(image->private_offset, image->bytes);
	cr_assert_leq(image->eh_frame_offset + image->eh_frame_bytes, image->bytes);
}

/* The TLS block of the main program in this thread. */
static int find_main_tls(struct dl_phdr_info *info, size_t size, void *ret)
{
	*(struct dl_phdr_info *)ret = *info;
	return 1; /* the first one is the main program */
}

static void bind_tls(void *address, struct inj_binding *ret)
{
	struct dl_phdr_info main_program = {0};

	dl_iterate_phdr(find_main_tls, &main_program);
	cr_assert_neq(main_program.dlpi_tls_modid, 0);
	ret->is_tls = true;
	ret->tls_module_id = main_program.dlpi_tls_modid;
	ret->tls_offset = (uint64_t)((char *)address - (char *)main_program.dlpi_tls_data);
	ret->tp_offset = (char *)address - (char *)__builtin_thread_pointer();
}

static void bind_one(const struct inj_external *external, const struct own_symbol *own, size_t n,
		     struct inj_binding *ret)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(own[i].name, external->name) != 0 ||
		    strcmp(own[i].file ? own[i].file : "", external->file ? external->file : "") !=
			    0)
			continue;
		ret->address = own[i].is_tls ? 0 : (inj_addr)own[i].address;
		if (own[i].is_tls)
			bind_tls(own[i].address, ret);
		return;
	}
	ret->address = (inj_addr)dlsym(RTLD_DEFAULT, external->name);
	cr_assert(ret->address || external->weak, "%s is not bound", external->name);
}

static void run_late(struct loaded *loaded, const struct inj_late_words *late)
{
	/* A resolver runs in its final place, so protections must be final as well. */
	for (size_t i = 0; late->n_items && i < loaded->image->n_parts; i++)
		if (loaded->image->parts[i].prot & PROT_EXEC)
			mprotect(loaded->bytes + loaded->image->parts[i].offset,
				 loaded->image->parts[i].bytes, PROT_READ | PROT_EXEC);
	for (size_t i = 0; i < late->n_items; i++) {
		uint64_t word = ((inj_addr(*)(void))late->items[i].resolver)();

		word += (uint64_t)late->items[i].addend;
		memcpy(loaded->bytes + late->items[i].offset, &word, sizeof(word));
		loaded->n_resolvers_run++;
	}
}

static void register_unwind(const struct loaded *loaded)
{
	void (*register_frame_info)(const void *, void *) =
		(void (*)(const void *, void *))dlsym(RTLD_DEFAULT, "__register_frame_info");
	static uint64_t object[16];

	if (!loaded->image->eh_frame_offset || !register_frame_info)
		return;
	cr_assert_eq(memcmp(loaded->bytes + loaded->image->eh_frame_offset +
				    loaded->image->eh_frame_bytes - 4,
			    "\0\0\0", 4),
		     0);
	register_frame_info(loaded->bytes + loaded->image->eh_frame_offset, object);
}

void load(const char *path, const struct own_symbol *own, size_t n_own, struct loaded *ret)
{
	struct inj_why why = {0};

	*ret = (struct loaded){0};
	cr_assert_eq(open_patch(path, &ret->patch, &why), 0, "%s: %s", path, why.text);
	cr_assert_eq(inj_image_layout(ret->patch, &ret->image, &why), 0, "%s: %s", path, why.text);
	check_layout(ret->image);
	ret->bytes = mmap(NULL, ret->image->bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(ret->bytes, MAP_FAILED);

	INJ_FREE struct inj_binding *bindings =
		calloc(ret->patch->n_externals + 1, sizeof(struct inj_binding));

	for (size_t i = 0; i < ret->patch->n_externals; i++)
		bind_one(&ret->patch->externals[i], own, n_own, &bindings[i]);
	INJ_CLEANUP(inj_late_words_deinit) struct inj_late_words late = {0};

	cr_assert_eq(
		inj_image_link(ret->image, (inj_addr)ret->bytes, bindings, ret->bytes, &late, &why),
		0, "%s: %s", path, why.text);
	run_late(ret, &late);
	for (size_t i = 0; i < ret->image->n_parts; i++)
		cr_assert_eq(mprotect(ret->bytes + ret->image->parts[i].offset,
				      ret->image->parts[i].bytes, ret->image->parts[i].prot),
			     0);
	register_unwind(ret);
}

void unload(struct loaded *loaded)
{
	void *(*deregister)(const void *) =
		(void *(*)(const void *))dlsym(RTLD_DEFAULT, "__deregister_frame_info");

	if (loaded->image->eh_frame_offset && deregister)
		deregister(loaded->bytes + loaded->image->eh_frame_offset);
	munmap(loaded->bytes, loaded->image->bytes);
	inj_image_free(loaded->image);
	inj_patch_close(loaded->patch);
}

void *entry_of(const struct loaded *loaded, const char *name)
{
	for (size_t i = 0; i < loaded->patch->n_replacements; i++)
		if (strcmp(loaded->patch->replacements[i].name, name) == 0)
			return loaded->bytes + (loaded->patch->replacements[i].new_vaddr -
						loaded->image->vaddr_base);
	cr_assert_fail("the patch does not replace %s", name);
	return NULL;
}
