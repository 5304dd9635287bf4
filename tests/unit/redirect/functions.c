/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lists the functions of an ELF file by its unwind tables, which stripped programs have as well.
 * Only for files of this machine that the tests choose themselves.
 */
#include "tests/unit/redirect/functions.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PCREL_SDATA4 0x1b

static bool load_segments(Elf *elf, struct program *program)
{
	size_t n;

	if (elf_getphdrnum(elf, &n) < 0)
		return false;
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < n; i++) {
			GElf_Phdr header;

			if (!gelf_getphdr(elf, (int)i, &header) || header.p_type != PT_LOAD)
				continue;
			if (pass == 0) {
				if (header.p_vaddr + header.p_memsz > program->n_image)
					program->n_image = header.p_vaddr + header.p_memsz;
				continue;
			}
			Elf_Data *data = elf_getdata_rawchunk(elf, (int64_t)header.p_offset,
							      header.p_filesz, ELF_T_BYTE);
			if (data)
				memcpy(program->image + header.p_vaddr, data->d_buf, data->d_size);
			if (header.p_flags & PF_X)
				program->code = (struct inj_range){
					header.p_vaddr, header.p_vaddr + header.p_filesz };
		}
		if (pass == 0)
			program->image = calloc(1, program->n_image + INJ_PAGE_BYTES);
	}
	return program->code.end != 0;
}

static void relocate(Elf *elf, struct program *program)
{
	Elf_Scn *section = NULL;

	while ((section = elf_nextscn(elf, section))) {
		GElf_Shdr header;
		Elf_Data *data = elf_getdata(section, NULL);

		if (!gelf_getshdr(section, &header) || header.sh_type != SHT_RELA || !data)
			continue;
		for (int i = 0;; i++) {
			GElf_Rela rela;

			if (!gelf_getrela(data, i, &rela))
				break;
			uint64_t value = program->bias + (uint64_t)rela.r_addend;

			if (GELF_R_TYPE(rela.r_info) == R_X86_64_RELATIVE &&
			    rela.r_offset + 8 <= program->n_image)
				memcpy(program->image + rela.r_offset, &value, 8);
		}
	}
}

static int compare_functions(const void *a, const void *b)
{
	const struct function *left = a;
	const struct function *right = b;

	return left->start < right->start ? -1 : left->start > right->start;
}

/* The .cold part of a function is described by a frame that exists from its first instruction. */
static bool starts_in_a_frame(const Dwarf_FDE *fde)
{
	const uint8_t *at = fde->start + 8;

	at += 1 + *at; /* augmentation data */
	if (at >= fde->end)
		return false;
	return *at == 0x0c || *at == 0x0e || *at == 0x0d || (*at & 0xc0) == 0x80;
}

static void add_fde(struct program *program, const Dwarf_FDE *fde, const Dwarf_CIE *cie,
		    Elf_Data *data, inj_addr section)
{
	inj_addr field = section + (size_t)(fde->start - (const uint8_t *)data->d_buf);
	int32_t begin, range, handlers = 0;

	if (cie->augmentation[0] != 'z' || fde->end - fde->start < 8)
		return;
	memcpy(&begin, fde->start, 4);
	memcpy(&range, fde->start + 4, 4);
	if (strchr(cie->augmentation, 'L') && fde->end - fde->start >= 13)
		memcpy(&handlers, fde->start + 9, 4);
	program->functions[program->n_functions++] = (struct function){
		field + (uint64_t)(int64_t)begin,
		field + (uint64_t)(int64_t)begin + (uint32_t)range,
		handlers != 0,
		starts_in_a_frame(fde),
	};
}

static const Dwarf_CIE *cie_of(const unsigned char *ident, Elf_Data *data, Dwarf_Off offset,
			       Dwarf_CFI_Entry *ret_entry)
{
	Dwarf_Off next;

	if (dwarf_next_cfi(ident, data, true, offset, &next, ret_entry) != 0 ||
	    ret_entry->CIE_id != LIBDW_CIE_ID)
		return NULL;
	return &ret_entry->cie;
}

static void read_functions(Elf *elf, struct program *program)
{
	const unsigned char *ident = (const unsigned char *)elf_getident(elf, NULL);
	Elf_Scn *section = NULL;
	size_t strings;

	elf_getshdrstrndx(elf, &strings);
	while ((section = elf_nextscn(elf, section))) {
		GElf_Shdr header;
		Elf_Data *data = elf_getdata(section, NULL);

		if (!gelf_getshdr(section, &header) || !data ||
		    strcmp(elf_strptr(elf, strings, header.sh_name), ".eh_frame") != 0)
			continue;
		program->functions = calloc(data->d_size / 16 + 1, sizeof(struct function));
		for (Dwarf_Off at = 0, next = 0;; at = next) {
			Dwarf_CFI_Entry entry, cie_entry;
			int r = dwarf_next_cfi(ident, data, true, at, &next, &entry);
			const Dwarf_CIE *cie = NULL;

			if (r > 0 || next == (Dwarf_Off)-1)
				break;
			if (r < 0 || entry.CIE_id == LIBDW_CIE_ID)
				continue;
			cie = cie_of(ident, data, entry.fde.CIE_pointer, &cie_entry);
			if (cie)
				add_fde(program, &entry.fde, cie, data, header.sh_addr);
		}
	}
	if (program->n_functions)
		qsort(program->functions, program->n_functions, sizeof(struct function),
		      compare_functions);
}

bool program_load(const char *path, inj_addr bias, struct program *ret_program)
{
	*ret_program = (struct program){ .bias = bias };
	ret_program->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (ret_program->fd < 0)
		return false;
	elf_version(EV_CURRENT);
	Elf *elf = elf_begin(ret_program->fd, ELF_C_READ_MMAP, NULL);

	ret_program->elf = elf;
	if (!elf || !load_segments(elf, ret_program))
		return false;
	relocate(elf, ret_program);
	read_functions(elf, ret_program);
	ret_program->cfi = dwarf_getcfi_elf(elf);
	return ret_program->n_functions > 0;
}

void program_free(struct program *program)
{
	if (program->cfi)
		dwarf_cfi_end(program->cfi);
	elf_end(program->elf);
	if (program->fd >= 0)
		close(program->fd);
	free(program->image);
	free(program->functions);
}

bool program_frame(struct program *program, inj_addr address, int *ret_register,
		   int64_t *ret_offset)
{
	Dwarf_Frame *frame;
	Dwarf_Op *ops;
	size_t n = 0;
	bool simple = false;

	if (!program->cfi || dwarf_cfi_addrframe(program->cfi, address, &frame) != 0)
		return false;
	if (dwarf_frame_cfa(frame, &ops, &n) == 0 && n == 1 && ops[0].atom == DW_OP_bregx) {
		*ret_register = (int)ops[0].number;
		*ret_offset = (int64_t)ops[0].number2;
		simple = true;
	}
	free(frame);
	return simple;
}

static int read_image(void *context, inj_addr address, void *buffer, size_t n)
{
	const struct program *program = context;
	inj_addr offset = address - program->bias;

	if (offset > program->n_image || n > program->n_image - offset)
		return -1;
	memcpy(buffer, program->image + offset, n);
	return 0;
}

static size_t window(inj_addr from, inj_addr to)
{
	if (to <= from)
		return 0;
	return to - from < 256 ? to - from : 256;
}

struct inj_text program_text(struct program *program, size_t i)
{
	const struct function *function = &program->functions[i];
	inj_addr low = i > 0 ? function[-1].end : program->code.start;
	inj_addr high = i + 1 < program->n_functions ? function[1].start : program->code.end;
	size_t before = window(low, function->start);

	return (struct inj_text){
		.address = program->bias + function->start,
		.size = function->end - function->start,
		.bytes = program->image + function->start - before,
		.before = before,
		.after = window(function->end, high),
		.name = "function",
		.has_handlers = function->has_handlers,
		.code = program->image + program->code.start,
		.code_address = program->bias + program->code.start,
		.n_code = program->code.end - program->code.start,
		.read = read_image,
		.context = program,
	};
}
