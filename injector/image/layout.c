/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the shape of a patch in memory: which page of the image has which protection, and what of
 * our own follows the patch. Always holds: parts ascend, cover the image without gaps, neighbours
 * differ in protection, none is writable and executable. Pure; the patch was checked when opened.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "injector/image/image-priv.h"

/* Every segment makes at most four parts: a hole before it, data, RELRO, data. And the tail. */
#define MAX_PARTS (4 * INJ_IMAGE_MAX_SEGMENTS + 1)

static void add_part(struct inj_image *image, uint64_t offset, uint64_t end, int prot)
{
	struct inj_image_part *last = image->n_parts ? &image->parts[image->n_parts - 1] : NULL;

	if (end <= offset)
		return;
	if (last && last->prot == prot)
		last->bytes += end - offset;
	else
		image->parts[image->n_parts++] = (struct inj_image_part){
			.offset = offset, .bytes = end - offset, .prot = prot};
}

static int segment_prot(const Elf64_Phdr *segment)
{
	if (segment->p_flags & PF_X)
		return PROT_READ | PROT_EXEC;
	return segment->p_flags & PF_W ? PROT_READ | PROT_WRITE : PROT_READ;
}

/* What is written while linking only and read-only ever after, rounded as the dynamic linker
 * does. */
static struct inj_range relro_range(const struct inj_elf *elf)
{
	size_t n = 0;
	const Elf64_Phdr *segments = inj_elf_segments(elf, &n);

	for (size_t i = 0; i < n; i++)
		if (segments[i].p_type == PT_GNU_RELRO)
			return (struct inj_range){
				INJ_PAGE_DOWN(segments[i].p_vaddr),
				INJ_PAGE_DOWN(segments[i].p_vaddr + segments[i].p_memsz)};
	return (struct inj_range){0, 0};
}

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
	return value < low ? low : value > high ? high : value;
}

static void add_segment(struct inj_image *image, const Elf64_Phdr *segment, struct inj_range relro)
{
	uint64_t start = INJ_PAGE_DOWN(segment->p_vaddr) - image->vaddr_base;
	uint64_t end = INJ_PAGE_UP(segment->p_vaddr + segment->p_memsz) - image->vaddr_base;
	uint64_t relro_start = clamp(relro.start - image->vaddr_base, start, end);
	uint64_t relro_end = clamp(relro.end - image->vaddr_base, relro_start, end);
	int prot = segment_prot(segment);

	/* A hole between segments is readable zeroes. */
	add_part(image, image->bytes, start, PROT_READ);
	if (prot & PROT_WRITE && relro_end > relro_start) {
		add_part(image, start, relro_start, prot);
		add_part(image, relro_start, relro_end, PROT_READ);
		add_part(image, relro_end, end, prot);
	} else {
		add_part(image, start, end, prot);
	}
	image->bytes = end;
}

static bool has_tls_descriptor(const struct inj_elf *elf)
{
	for (size_t i = 0; i < inj_elf_n_relocations(elf); i++)
		if (inj_elf_relocation_at(elf, i)->type == R_X86_64_TLSDESC)
			return true;
	return false;
}

static int add_tail(struct inj_image *image, struct inj_why *why)
{
	struct inj_eh_frame eh_frame;
	int r = inj_eh_frame_find(inj_patch_file(image->patch), &eh_frame, why);

	if (r)
		return r;

	bool moves = eh_frame.vaddr && !eh_frame.terminated;
	uint64_t bytes = 0;

	image->private_offset = image->bytes;
	if (eh_frame.vaddr) {
		image->eh_frame_bytes = eh_frame.bytes + 4;
		image->eh_frame_offset = moves ? image->private_offset + INJ_TAIL_EH_FRAME :
						 eh_frame.vaddr - image->vaddr_base;
	}
	if (moves)
		bytes = INJ_TAIL_EH_FRAME + image->eh_frame_bytes;
	else if (has_tls_descriptor(image->patch->elf))
		bytes = INJ_TAIL_TLSDESC + INJ_TLSDESC_CODE_BYTES;
	image->bytes = INJ_PAGE_UP(image->bytes + bytes);
	add_part(image, image->private_offset, image->bytes, PROT_READ | PROT_EXEC);
	return 0;
}

int inj_image_layout(const struct inj_patch *patch, struct inj_image **ret, struct inj_why *why)
{
	INJ_CLEANUP(inj_image_guard) struct inj_image *image = calloc(1, sizeof(*image));
	struct inj_range relro = relro_range(patch->elf);
	size_t n = 0;
	const Elf64_Phdr *segments = inj_elf_segments(patch->elf, &n);
	bool first = true;

	if (image)
		image->parts = calloc(MAX_PARTS, sizeof(*image->parts));
	if (!image || !image->parts)
		return inj_broke(why, -ENOMEM, "No memory for the layout of patch %s", patch->id);
	image->patch = patch;
	for (size_t i = 0; i < n; i++) {
		if (segments[i].p_type != PT_LOAD || segments[i].p_memsz == 0)
			continue;
		if (first)
			image->vaddr_base = INJ_PAGE_DOWN(segments[i].p_vaddr);
		first = false;
		add_segment(image, &segments[i], relro);
	}

	int r = add_tail(image, why);

	if (r)
		return r;
	*ret = INJ_TAKE(image);
	return 0;
}

void inj_image_free(struct inj_image *image)
{
	if (!image)
		return;
	free(image->parts);
	free(image);
}
