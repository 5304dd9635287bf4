/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes debug information readable by libdw. libdw is handed a made file that holds just the
 * sections it needs, unpacked
 * by us: it opens no further files (split or shared debug information, whose paths the foreign file
 * would choose), maps nothing that could shrink, and unpacks nothing beyond our bounds. Refused is
 * what is larger than MAX_TOTAL_BYTES.
 */
#include <string.h>
#include <zlib.h>

#include "injector/symbol/debug-priv.h"

#define MAX_TOTAL_BYTES (256UL << 20)
/* zlib cannot do better than 1032 to 1. */
#define MAX_RATIO 1100UL

static const char *const names[] = {
	".debug_info", ".debug_abbrev", ".debug_str", ".debug_line_str", ".debug_ranges",
	".debug_rnglists", ".debug_str_offsets", ".debug_addr",
};

#define N_NAMES INJ_ARRAY_LENGTH(names)

struct piece {
	const struct inj_elf_section *section; /* NULL: none */
	bool packed;
	uint64_t bytes; /* unpacked */
	uint64_t offset; /* in the made file */
	uint32_t name;
};

struct plan {
	struct piece pieces[N_NAMES];
	char strings[1 + sizeof(".shstrtab") + N_NAMES * sizeof(".debug_str_offsets")];
	size_t n_strings;
	uint32_t name_of_strings;
	uint64_t offset_of_strings, offset_of_headers;
	size_t n_sections;
	uint64_t bytes;
};

static uint32_t add_string(struct plan *plan, const char *string)
{
	const size_t at = plan->n_strings;

	memcpy(plan->strings + at, string, strlen(string) + 1);
	plan->n_strings += strlen(string) + 1;
	return (uint32_t)at;
}

static int measure(const struct inj_elf_section *section, struct piece *piece)
{
	Elf64_Chdr header;

	piece->bytes = section->size;
	piece->packed = section->flags & SHF_COMPRESSED;
	if (!piece->packed)
		return 0;
	if (section->size < sizeof(header))
		return -EBADMSG;
	memcpy(&header, section->bytes, sizeof(header));
	if (header.ch_type != ELFCOMPRESS_ZLIB)
		return -ENOENT;
	if (header.ch_size / MAX_RATIO > section->size)
		return -EBADMSG;
	piece->bytes = header.ch_size;
	return 0;
}

static int plan_pieces(const struct inj_elf *elf, struct plan *plan)
{
	plan->bytes = sizeof(Elf64_Ehdr);
	plan->n_strings = 1;
	plan->n_sections = 2;
	for (size_t i = 0; i < N_NAMES; i++) {
		struct piece *piece = &plan->pieces[i];
		int r;

		piece->section = inj_elf_section_named(elf, names[i]);
		if (!piece->section || !piece->section->bytes || piece->section->size == 0) {
			piece->section = NULL;
			if (i < 2) /* nothing can be read without these */
				return -ENOENT;
			continue;
		}
		r = measure(piece->section, piece);
		if (r < 0)
			return r;
		if (piece->bytes > MAX_TOTAL_BYTES - plan->bytes)
			return -EFBIG;
		piece->name = add_string(plan, names[i]);
		piece->offset = plan->bytes;
		plan->bytes += (piece->bytes + 7) & ~7UL;
		plan->n_sections++;
	}
	plan->name_of_strings = add_string(plan, ".shstrtab");
	plan->offset_of_strings = plan->bytes;
	plan->offset_of_headers = plan->bytes + ((plan->n_strings + 7) & ~7UL);
	plan->bytes = plan->offset_of_headers + plan->n_sections * sizeof(Elf64_Shdr);
	return 0;
}

static int unpack(const struct piece *piece, uint8_t *to)
{
	const uint8_t *from = piece->section->bytes;
	uLongf n = piece->bytes;

	if (!piece->packed) {
		memcpy(to, from, piece->bytes);
		return 0;
	}
	if (uncompress(to, &n, from + sizeof(Elf64_Chdr),
		       piece->section->size - sizeof(Elf64_Chdr)) != Z_OK ||
	    n != piece->bytes)
		return -EBADMSG;
	return 0;
}

static int fill(const struct plan *plan, uint8_t *image)
{
	Elf64_Ehdr *header = (Elf64_Ehdr *)image;
	Elf64_Shdr *sections = (Elf64_Shdr *)(image + plan->offset_of_headers);
	size_t n = 1;

	*header = (Elf64_Ehdr){
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			    EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_shoff = plan->offset_of_headers,
		.e_ehsize = sizeof(*header),
		.e_shentsize = sizeof(*sections),
		.e_shnum = (Elf64_Half)plan->n_sections,
		.e_shstrndx = (Elf64_Half)(plan->n_sections - 1),
	};
	for (size_t i = 0; i < N_NAMES; i++) {
		const struct piece *piece = &plan->pieces[i];
		int r;

		if (!piece->section)
			continue;
		r = unpack(piece, image + piece->offset);
		if (r < 0)
			return r;
		sections[n++] = (Elf64_Shdr){
			.sh_name = piece->name, .sh_type = SHT_PROGBITS, .sh_offset = piece->offset,
			.sh_size = piece->bytes, .sh_addralign = 1,
		};
	}
	memcpy(image + plan->offset_of_strings, plan->strings, plan->n_strings);
	sections[n] = (Elf64_Shdr){
		.sh_name = plan->name_of_strings, .sh_type = SHT_STRTAB,
		.sh_offset = plan->offset_of_strings, .sh_size = plan->n_strings, .sh_addralign = 1,
	};
	return 0;
}

int debug_view_new(const struct inj_elf *elf, struct debug_view **ret)
{
	INJ_CLEANUP(debug_view_guard) struct debug_view *view = calloc(1, sizeof(*view));
	struct plan plan = {};
	int r = view ? plan_pieces(elf, &plan) : -ENOMEM;

	if (r < 0)
		return r;
	view->image = calloc(1, plan.bytes);
	if (!view->image)
		return -ENOMEM;
	r = fill(&plan, view->image);
	if (r < 0)
		return r;
	elf_version(EV_CURRENT);
	view->elf = elf_memory((char *)view->image, plan.bytes);
	if (view->elf)
		view->dwarf = dwarf_begin_elf(view->elf, DWARF_C_READ, NULL);
	if (!view->dwarf)
		return -EBADMSG;
	*ret = INJ_TAKE(view);
	return 0;
}

void debug_view_free(struct debug_view *view)
{
	if (!view)
		return;
	dwarf_end(view->dwarf);
	elf_end(view->elf);
	free(view->image);
	free(view);
}
