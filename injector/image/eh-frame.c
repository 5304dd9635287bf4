/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the unwind table of a patch: finds it, walks it once to prove that the runtime of the
 * target can use it, and corrects a copy that lies elsewhere. Always holds: a table that passed
 * has whole records, pointers that are relative to themselves or have a relocation, and ranges
 * inside the patch. Refuses encodings that need a base that __register_frame_info() cannot be
 * told, and 64-bit DWARF, which no compiler for this CPU writes.
 */
#include <errno.h>
#include <string.h>

#include "injector/image/patch-priv.h"

/* DW_EH_PE_*: LSB, "DWARF exception header encoding". */
#define PE_FORMAT 0x0f
#define PE_BASE 0x70
#define PE_PCREL 0x10
#define PE_INDIRECT 0x80
#define PE_OMIT 0xff
#define PE_ABSPTR 0x00
#define PE_UDATA2 0x02
#define PE_UDATA4 0x03
#define PE_UDATA8 0x04
#define PE_SDATA2 0x0a
#define PE_SDATA4 0x0b
#define PE_SDATA8 0x0c

/* "zPLRS" and a little more; real ones have at most that. */
#define MAX_AUGMENTATION 8

struct walk {
	const struct inj_patch_file *file;
	const uint8_t *bytes;
	uint64_t vaddr; /* of bytes[0] */
	size_t n;
	int64_t moved;  /* added to every pc-relative pointer when `copy` is set */
	uint8_t *copy;
};

/* A stretch of the table that is read from its start. */
struct field {
	size_t at, end;
	bool bad; /* ran over the end or holds what cannot be used */
};

struct cie {
	uint8_t pointers; /* encoding of the ranges */
	uint8_t lsda;     /* PE_OMIT when there is none */
	bool augmented;   /* records carry their augmentation's length */
};

static uint8_t take_byte(const struct walk *walk, struct field *field)
{
	if (field->at >= field->end) {
		field->bad = true;
		return 0;
	}
	return walk->bytes[field->at++];
}

static uint64_t take_uleb(const struct walk *walk, struct field *field)
{
	uint64_t value = 0;

	for (unsigned int shift = 0; shift < 63; shift += 7) {
		uint8_t byte = take_byte(walk, field);

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return value;
	}
	field->bad = true;
	return 0;
}

static size_t pointer_bytes(uint8_t encoding)
{
	switch (encoding & PE_FORMAT) {
	case PE_UDATA2:
	case PE_SDATA2:
		return 2;
	case PE_UDATA4:
	case PE_SDATA4:
		return 4;
	case PE_ABSPTR:
	case PE_UDATA8:
	case PE_SDATA8:
		return 8;
	default:
		return 0;
	}
}

/* The number at a place as its format has it, sign extended where it is signed. */
static uint64_t load_number(const uint8_t *place, uint8_t encoding)
{
	uint64_t raw = 0;
	size_t n = pointer_bytes(encoding);

	memcpy(&raw, place, n);
	if ((encoding & PE_FORMAT) == PE_SDATA2)
		return (uint64_t)(int64_t)(int16_t)raw;
	if ((encoding & PE_FORMAT) == PE_SDATA4)
		return (uint64_t)(int64_t)(int32_t)raw;
	return raw;
}

/* Correct one pc-relative pointer of the copy. */
static bool move_pointer(const struct walk *walk, size_t at, uint8_t encoding)
{
	uint64_t value = load_number(walk->copy + at, encoding) + (uint64_t)walk->moved;

	memcpy(walk->copy + at, &value, pointer_bytes(encoding));
	return load_number(walk->copy + at, encoding) == value;
}

/*
 * Step over one pointer. ret_vaddr: what it points to before anything is placed, 0 for a null
 * pointer and for one that a relocation fills in.
 */
static void take_pointer(const struct walk *walk, struct field *field, uint8_t encoding,
			 uint64_t *ret_vaddr)
{
	size_t n = pointer_bytes(encoding);
	uint64_t vaddr = walk->vaddr + field->at;

	*ret_vaddr = 0;
	if (n == 0 || n > field->end - field->at) {
		field->bad = true;
		return;
	}

	size_t at = field->at;
	uint64_t value = load_number(walk->bytes + at, encoding);

	field->at += n;
	switch (encoding & PE_BASE) {
	case PE_PCREL:
		/* The runtime takes 0 for "none", before it adds anything. */
		if (value == 0)
			return;
		*ret_vaddr = vaddr + value;
		if (walk->copy && !move_pointer(walk, at, encoding))
			field->bad = true;
		return;
	case PE_ABSPTR:
		if (n != 8 || (value && !inj_patch_relocation_for(walk->file, vaddr)))
			field->bad = true;
		return;
	default:
		field->bad = true;
	}
}

static bool in_patch(const struct walk *walk, uint64_t vaddr, uint64_t bytes)
{
	return inj_patch_segment_at(walk->file->public.elf, vaddr, bytes);
}

/* The letters of the augmentation, in the order of the string. */
static void take_augmentation(const struct walk *walk, struct field *field, const char *letters,
			      struct cie *ret)
{
	uint64_t ignored;

	for (; *letters; letters++) {
		switch (*letters) {
		case 'R':
			ret->pointers = take_byte(walk, field);
			break;
		case 'L':
			ret->lsda = take_byte(walk, field);
			break;
		case 'P': {
			uint8_t encoding = take_byte(walk, field);

			take_pointer(walk, field, encoding, &ignored);
			if (ignored && !in_patch(walk, ignored, 1))
				field->bad = true;
			break;
		}
		case 'S':
			break;
		default:
			field->bad = true;
		}
	}
	/* Ranges and LSDAs are read where they stand, never through another pointer. */
	if (ret->pointers == PE_OMIT || (ret->pointers & PE_INDIRECT) ||
	    (ret->lsda != PE_OMIT && (ret->lsda & PE_INDIRECT)))
		field->bad = true;
}

/* body: after the length and the id. */
static void read_cie(const struct walk *walk, struct field body, struct cie *ret, bool *ret_bad)
{
	char letters[MAX_AUGMENTATION + 1];
	size_t n = 0;
	uint8_t version = take_byte(walk, &body);

	*ret = (struct cie){.pointers = PE_ABSPTR, .lsda = PE_OMIT};
	do {
		letters[n] = (char)take_byte(walk, &body);
	} while (letters[n] && ++n < sizeof(letters));
	if (n == sizeof(letters) || (version != 1 && version != 3)) {
		*ret_bad = true;
		return;
	}
	take_uleb(walk, &body); /* code alignment */
	take_uleb(walk, &body); /* data alignment; as long as an SLEB */
	if (version == 1)
		take_byte(walk, &body); /* return column */
	else
		take_uleb(walk, &body);
	if (letters[0] == 'z') {
		uint64_t length = take_uleb(walk, &body);
		struct field augmentation = {body.at, body.end, false};

		if (length > body.end - body.at) {
			*ret_bad = true;
			return;
		}
		augmentation.end = body.at + length;
		ret->augmented = true;
		take_augmentation(walk, &augmentation, letters + 1, ret);
		body.bad |= augmentation.bad;
	} else if (letters[0]) {
		body.bad = true;
	}
	*ret_bad = body.bad;
}

/* body: after the length and the pointer to the CIE. */
static bool read_fde(const struct walk *walk, struct field body, const struct cie *cie)
{
	uint64_t start, lsda;
	uint8_t plain = cie->pointers & PE_FORMAT;
	size_t range_at;

	take_pointer(walk, &body, cie->pointers, &start);
	range_at = body.at;
	if (body.bad || pointer_bytes(plain) > body.end - body.at)
		return false;
	body.at += pointer_bytes(plain);

	uint64_t range = load_number(walk->bytes + range_at, plain);

	/* A range outside would answer for code that is not the patch's. */
	if (start && !in_patch(walk, start, range))
		return false;
	if (!cie->augmented)
		return true;

	uint64_t length = take_uleb(walk, &body);

	if (body.bad || length > body.end - body.at)
		return false;
	body.end = body.at + length;
	if (cie->lsda == PE_OMIT)
		return true;
	take_pointer(walk, &body, cie->lsda, &lsda);
	return !body.bad && (!lsda || in_patch(walk, lsda, 1));
}

/* One record; false when anything about it is wrong. */
static bool read_record(const struct walk *walk, size_t at, uint32_t length)
{
	struct field body = {at + 8, at + 4 + length, false};
	struct cie cie;
	bool bad = false;
	uint32_t id;

	if (length < 4)
		return false;
	memcpy(&id, walk->bytes + at + 4, sizeof(id));
	if (id == 0) {
		read_cie(walk, body, &cie, &bad);
		return !bad;
	}
	/* The id is the distance back to the CIE, from the id itself. */
	if (id > at + 4)
		return false;

	struct walk quiet = *walk;
	size_t cie_at = at + 4 - id;
	uint32_t cie_length, cie_id;

	quiet.copy = NULL; /* the CIE's own pointers are corrected once, when it is met */
	if (walk->n - cie_at < 8)
		return false;
	memcpy(&cie_length, walk->bytes + cie_at, sizeof(cie_length));
	memcpy(&cie_id, walk->bytes + cie_at + 4, sizeof(cie_id));
	if (cie_id != 0 || cie_length < 4 || cie_length > walk->n - cie_at - 4)
		return false;
	read_cie(&quiet, (struct field){cie_at + 8, cie_at + 4 + cie_length, false}, &cie, &bad);
	return !bad && read_fde(walk, body, &cie);
}

/* All records up to a terminator or the end. ret_at: where that is, or where it went wrong. */
static bool read_table(const struct walk *walk, size_t *ret_at, bool *ret_terminated)
{
	size_t at = 0;

	*ret_terminated = false;
	while (walk->n - at >= 4) {
		uint32_t length;

		memcpy(&length, walk->bytes + at, sizeof(length));
		if (length == 0) {
			*ret_terminated = true;
			break;
		}
		*ret_at = at;
		if (length >= 0xfffffff0u || length > walk->n - at - 4 ||
		    !read_record(walk, at, length))
			return false;
		at += 4 + (size_t)length;
	}
	*ret_at = at;
	return *ret_terminated || at == walk->n;
}

/* Where the header for binary search says that the table lies; 0 when it does not say. */
static uint64_t vaddr_from_header(const struct inj_elf *elf)
{
	size_t n = 0;
	const Elf64_Phdr *segments = inj_elf_segments(elf, &n);

	for (size_t i = 0; i < n; i++) {
		if (segments[i].p_type != PT_GNU_EH_FRAME)
			continue;

		const uint8_t *header = inj_elf_bytes_at(elf, segments[i].p_vaddr, 8);
		int32_t distance;

		/* version 1, eh_frame_ptr pcrel sdata4: the one form that linkers write */
		if (!header || header[0] != 1 || header[1] != (PE_PCREL | PE_SDATA4))
			return 0;
		memcpy(&distance, header + 4, sizeof(distance));
		return segments[i].p_vaddr + 4 + (uint64_t)(int64_t)distance;
	}
	return 0;
}

/* The table's place and the longest it can be. */
static bool locate(const struct inj_elf *elf, uint64_t *ret_vaddr, uint64_t *ret_limit)
{
	const struct inj_elf_section *section = inj_elf_section_named(elf, ".eh_frame");
	uint64_t vaddr = vaddr_from_header(elf);

	if (section && (section->flags & SHF_ALLOC) && section->bytes &&
	    (!vaddr || vaddr == section->address)) {
		*ret_vaddr = section->address;
		*ret_limit = section->size;
		return section->size > 0;
	}
	if (!vaddr)
		return false;

	const Elf64_Phdr *segment = inj_patch_segment_at(elf, vaddr, 4);

	*ret_vaddr = vaddr;
	/* A wrong address gets a limit that the caller finds unreadable. */
	*ret_limit = segment && segment->p_vaddr + segment->p_filesz > vaddr ?
			     segment->p_vaddr + segment->p_filesz - vaddr :
			     UINT64_MAX;
	return true;
}

/* Are there four zero bytes at vaddr once the patch is in memory? */
static bool zero_follows(const struct inj_elf *elf, uint64_t vaddr)
{
	const Elf64_Phdr *segment = inj_patch_segment_at(elf, vaddr - 1, 1);
	uint64_t file_end = segment->p_vaddr + segment->p_filesz;

	for (uint64_t at = vaddr; at < vaddr + 4; at++) {
		/* The rest of the last page is zero in our image. */
		if (at >= INJ_PAGE_UP(segment->p_vaddr + segment->p_memsz))
			return false;

		const uint8_t *byte = at < file_end ? inj_elf_bytes_at(elf, at, 1) : NULL;

		if (byte && *byte)
			return false;
	}
	return true;
}

int inj_eh_frame_find(const struct inj_patch_file *file, struct inj_eh_frame *ret,
		      struct inj_why *why)
{
	const struct inj_elf *elf = file->public.elf;
	uint64_t vaddr, limit;
	size_t end = 0;

	*ret = (struct inj_eh_frame){0};
	if (!locate(elf, &vaddr, &limit))
		return 0;

	const uint8_t *bytes = limit == UINT64_MAX ? NULL : inj_elf_bytes_at(elf, vaddr, limit);

	if (!bytes)
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s: the unwind table at 0x%lx lies outside of the file's "
				  "segments; build the patch again",
				  file->label, vaddr);

	struct walk walk = {.file = file, .bytes = bytes, .vaddr = vaddr, .n = limit};

	if (!read_table(&walk, &end, &ret->terminated))
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s: the unwind record at 0x%lx cannot be used by the target's "
				  "unwinder; compile with -fPIC and without hand-written .eh_frame",
				  file->label, vaddr + end);
	if (end == 0)
		return 0;
	ret->vaddr = vaddr;
	ret->bytes = end;
	if (!ret->terminated)
		ret->terminated = zero_follows(elf, vaddr + end);
	return 0;
}

int inj_eh_frame_move(const struct inj_patch_file *file, uint8_t *table, uint64_t bytes,
		      uint64_t from, uint64_t to, struct inj_why *why)
{
	struct walk walk = {.file = file,
			    .bytes = inj_elf_bytes_at(file->public.elf, from, bytes),
			    .vaddr = from,
			    .n = bytes,
			    .moved = (int64_t)(from - to),
			    .copy = table};
	size_t end = 0;
	bool terminated;

	if (!walk.bytes || !read_table(&walk, &end, &terminated))
		return inj_refuse(why, INJ_BAD_PATCH,
				  "%s: the unwind record at 0x%lx does not reach its code from "
				  "0x%lx; link the patch with the compiler's start-up files",
				  file->label, from + end, to);
	return 0;
}
