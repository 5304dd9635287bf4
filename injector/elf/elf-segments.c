/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads and checks program headers, translates link-time addresses to file bytes, and finds the
 * build-id. Always holds: PT_LOADs ascend, do not overlap, lie inside the file and can be mapped
 * page by page. Segments of a separate debug file describe bytes that are not in it; they are
 * reported with p_filesz 0 and never followed.
 */
#include <string.h>

#include "injector/base/bisect.h"
#include "injector/base/types.h"
#include "injector/elf/elf-priv.h"

/* The build-id is among the first notes; the bounds keep hostile files from being read for it. */
#define MAX_NOTE_AREAS 64
#define MAX_NOTE_BYTES 65536

/* Types whose file part is a prefix of a memory part. */
static bool is_memory_segment(uint32_t type)
{
	switch (type) {
	case PT_LOAD:
	case PT_TLS:
	case PT_DYNAMIC:
	case PT_GNU_RELRO:
	case PT_GNU_EH_FRAME:
		return true;
	default:
		return false;
	}
}

/* What is wrong with a program header, or NULL. previous_end: where the last PT_LOAD ended. */
static const char *segment_fault(const struct inj_elf *elf, const Elf64_Phdr *segment,
				 uint64_t previous_end)
{
	uint64_t end;

	if (segment->p_type == PT_NULL)
		return NULL;
	if (!elf_inside(segment->p_offset, segment->p_filesz, elf->store.length) &&
	    segment->p_filesz)
		return "reaches beyond the end of the file";
	if (!is_memory_segment(segment->p_type))
		return NULL;
	if (segment->p_filesz > segment->p_memsz)
		return "is larger in the file than in memory";
	if (__builtin_add_overflow(segment->p_vaddr, segment->p_memsz, &end) ||
	    end > UINT64_MAX - INJ_PAGE_BYTES)
		return "wraps around the end of the address space";
	if (segment->p_align & (segment->p_align - 1))
		return "has an alignment that is no power of two";
	if (segment->p_type != PT_LOAD)
		return NULL;
	if (segment->p_filesz && (segment->p_vaddr - segment->p_offset) % INJ_PAGE_BYTES)
		return "cannot be mapped: offset and address disagree";
	if (segment->p_vaddr < previous_end)
		return "overlaps the one before it";
	return NULL;
}

static int check_segments(struct inj_elf *elf, struct inj_why *why)
{
	uint64_t previous_end = 0;

	for (size_t i = 0; i < elf->n_segments; i++) {
		Elf64_Phdr *segment = &elf->segments[i];

		if (elf->debug_only)
			segment->p_filesz = 0;
		const char *fault = segment_fault(elf, segment, previous_end);

		if (fault)
			return inj_refuse(
				why, INJ_BAD_PATCH,
				"%s is truncated or damaged: segment %zu (type %u, offset "
				"%#llx, address %#llx) %s; build or copy it again",
				elf->name, i, segment->p_type,
				(unsigned long long)segment->p_offset,
				(unsigned long long)segment->p_vaddr, fault);
		if (segment->p_type != PT_LOAD)
			continue;
		previous_end = segment->p_vaddr + segment->p_memsz;
		elf->loads[elf->n_loads++] = *segment;
	}
	return 0;
}

int elf_read_segments(struct inj_elf *elf, size_t count, struct inj_why *why)
{
	uint64_t bytes = (uint64_t)count * sizeof(Elf64_Phdr);
	const uint8_t *from = elf_view(elf, elf->header.e_phoff, bytes);

	if (count == 0)
		return 0;
	if (!from)
		return inj_refuse(
			why, INJ_BAD_PATCH,
			"%s is truncated: %zu program headers at byte %llu do not fit its %zu "
			"bytes; build or copy it again",
			elf->name, count, (unsigned long long)elf->header.e_phoff,
			elf->store.length);
	elf->segments = malloc(bytes);
	elf->loads = malloc(bytes);
	if (!elf->segments || !elf->loads)
		return inj_broke(why, -ENOMEM, "cannot read the program headers of %s", elf->name);
	memcpy(elf->segments, from, bytes);
	elf->n_segments = count;
	return check_segments(elf, why);
}

const Elf64_Phdr *inj_elf_segments(const struct inj_elf *elf, size_t *ret_n)
{
	*ret_n = elf->n_segments;
	return elf->segments;
}

/* File bytes from a link-time address to the end of its segment's file part. */
bool elf_locate(const struct inj_elf *elf, uint64_t vaddr, struct elf_extent *ret)
{
	size_t low = INJ_COUNT_WHILE(elf->n_loads, i, elf->loads[i].p_vaddr <= vaddr);

	if (low == 0)
		return false;
	const Elf64_Phdr *load = &elf->loads[low - 1];
	uint64_t into = vaddr - load->p_vaddr;

	if (into >= load->p_filesz)
		return false;
	*ret = (struct elf_extent){load->p_offset + into, load->p_filesz - into};
	return true;
}

const uint8_t *inj_elf_bytes_at(const struct inj_elf *elf, uint64_t vaddr, size_t length)
{
	struct elf_extent extent;

	if (!elf_locate(elf, vaddr, &extent) || length > extent.bytes)
		return NULL;
	return elf_view(elf, extent.offset, length);
}

/* Search one area of notes (gABI chapter 5) for the build-id. */
static bool find_in_notes(struct inj_elf *elf, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + (length < MAX_NOTE_BYTES ? length : MAX_NOTE_BYTES);

	while (offset < end && end - offset >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr note;
		const uint8_t *bytes = elf_view(elf, offset, sizeof(note));

		if (!bytes)
			return false;
		memcpy(&note, bytes, sizeof(note));
		uint64_t name = offset + sizeof(note);
		uint64_t description = name + ((uint64_t)note.n_namesz + 3) / 4 * 4;

		if (!elf_inside(description, note.n_descsz, end))
			return false;
		bytes = elf_view(elf, name, description + note.n_descsz - name);
		if (!bytes)
			return false;
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
		    memcmp(bytes, ELF_NOTE_GNU, 4) == 0 && note.n_descsz) {
			elf->build_id = bytes + (description - name);
			elf->n_build_id = note.n_descsz;
			return true;
		}
		offset = description + ((uint64_t)note.n_descsz + 3) / 4 * 4;
	}
	return false;
}

/* Called at open: the note sits beside headers that were read anyway. */
void elf_find_build_id(struct inj_elf *elf)
{
	size_t n_areas = 0;

	for (size_t i = 0; i < elf->n_segments && n_areas < MAX_NOTE_AREAS; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];

		if (segment->p_type != PT_NOTE || !segment->p_filesz)
			continue;
		n_areas++;
		if (find_in_notes(elf, segment->p_offset, segment->p_filesz))
			return;
	}
	for (size_t i = 0; i < elf->n_sections && n_areas < MAX_NOTE_AREAS; i++) {
		if (elf->sections[i].type != SHT_NOTE)
			continue;
		n_areas++;
		if (find_in_notes(elf, elf->section_offsets[i], elf->sections[i].size))
			return;
	}
}

const uint8_t *inj_elf_build_id(const struct inj_elf *elf, size_t *ret_length)
{
	*ret_length = elf->n_build_id;
	return elf->build_id;
}
