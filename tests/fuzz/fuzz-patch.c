/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Foreign patch files: whatever opens must lay out and link inside its own bounds, whatever it is
 * bound to. Buffers are exact, so that the sanitizer sees one byte too many.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "injector/image/image.h"
#include "tests/fuzz/fuzz.h"

/* Larger images are left out: they cost time and show nothing new. */
#define MAX_IMAGE_BYTES (16UL << 20)

/* Every string that others print or compare. */
static size_t read_strings(const struct inj_patch *patch)
{
	size_t n = strlen(patch->id) + strlen(patch->version) + strlen(patch->build_id_hex);

	for (size_t i = 0; i < patch->n_replacements; i++) {
		const struct inj_replacement *replacement = &patch->replacements[i];

		n += strlen(replacement->name) + strlen(replacement->new_name);
		n += replacement->module ? strlen(replacement->module) : 0;
		n += replacement->file ? strlen(replacement->file) : 0;
	}
	for (size_t i = 0; i < patch->n_externals; i++) {
		const struct inj_external *external = &patch->externals[i];

		n += strlen(external->name) + (external->file ? strlen(external->file) : 0);
		n += external->version ? strlen(external->version) : 0;
	}
	return n;
}

static void link_patch(const struct inj_patch *patch)
{
	INJ_CLEANUP(inj_image_guard) struct inj_image *image = NULL;
	struct inj_why why;

	/* The checks promised that nothing about a layout can fail. */
	if (inj_image_layout(patch, &image, &why) != 0)
		abort();
	if (image->bytes > MAX_IMAGE_BYTES)
		return;

	INJ_FREE uint8_t *bytes = calloc(1, image->bytes);
	INJ_FREE struct inj_binding *bindings =
		calloc(patch->n_externals + 1, sizeof(struct inj_binding));

	if (!bytes || !bindings)
		return;
	for (size_t i = 0; i < patch->n_externals; i++) {
		bindings[i].is_tls = patch->externals[i].type == STT_TLS;
		bindings[i].address = 0x400000 + i;
	}
	INJ_CLEANUP(inj_late_words_deinit) struct inj_late_words late = {0};

	if (inj_image_link(image, 0x7f0000000000, bindings, bytes, &late, &why) != 0 &&
	    (why.code == 0 || why.text[0] == '\0'))
		abort();
	for (size_t i = 0; i < late.n_items; i++)
		if (late.items[i].offset > image->bytes - 8)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	INJ_CLEANUP(inj_patch_guard) struct inj_patch *patch = NULL;
	INJ_CLOSE int fd = memfd_create("input", MFD_CLOEXEC);
	struct inj_why why;

	if (fd < 0 || pwrite(fd, bytes, length, 0) != (ssize_t)length)
		return 0;

	int r = inj_patch_open(fd, "input.so", &patch, &why);

	if (r != 0 && (why.code == 0 || why.text[0] == '\0'))
		abort();
	if (r == 0 && read_strings(patch) > 0)
		link_patch(patch);
	return 0;
}
