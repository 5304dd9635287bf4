/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where signal handlers return to. A word of a stack that points there tells that a handler is
 * running and that the interrupted frames may be on any other stack. Owns the search for such
 * code. Bounded: big modules are searched in their first part only, for code of a C library.
 */
#include <string.h>

#include "injector/unwind/trampoline.h"

enum {
	MAX_TRAMPOLINES = 64,
	MAX_SEARCHED = 8 << 20, /* bytes of code */
	PIECE = 16 << 10,
};

static int add(struct inj_unwind_tables *tables, struct inj_range code)
{
	if (tables->n_trampolines == MAX_TRAMPOLINES ||
	    inj_unwind_tables_trampoline(tables, code.start))
		return 0;
	struct inj_range *larger =
		reallocarray(tables->trampolines, tables->n_trampolines + 1, sizeof(*larger));

	if (!larger)
		return -ENOMEM;
	tables->trampolines = larger;
	tables->trampolines[tables->n_trampolines++] = code;
	return 0;
}

static int add_marked(struct inj_unwind_tables *tables, const struct inj_constant *frames)
{
	inj_addr position = frames->address;
	struct inj_cfi cfi;

	if (!inj_cfi_has_signal_frames(frames))
		return 0;
	while (inj_cfi_next(frames, &position, &cfi))
		if (cfi.code.start != cfi.code.end && (cfi.flags & INJ_CFI_SIGNAL) &&
		    add(tables, cfi.code))
			return -ENOMEM;
	return 0;
}

/* mov $15,%eax or mov $15,%rax; syscall */
static int search_piece(struct inj_unwind_tables *tables, inj_addr address, const uint8_t *bytes,
			size_t n)
{
	static const uint8_t tail[] = {0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05};
	const uint8_t *at = bytes, *end = bytes + n;

	while ((at = memmem(at, (size_t)(end - at), tail, sizeof(tail)))) {
		inj_addr place = address + (inj_addr)(at - bytes);
		struct inj_range code = {place, place + sizeof(tail)};

		if (at - bytes >= 1 && at[-1] == 0xb8)
			code.start -= 1;
		else if (at - bytes >= 3 && !memcmp(at - 3, "\x48\xc7\xc0", 3))
			code.start -= 3;
		if (code.start != place && add(tables, code))
			return -ENOMEM;
		at += sizeof(tail);
	}
	return 0;
}

static int search(struct inj_unwind_tables *tables, const struct inj_module *module,
		  const Elf64_Phdr *segment)
{
	uint64_t n = segment->p_filesz < MAX_SEARCHED ? segment->p_filesz : MAX_SEARCHED;

	/* Pieces overlap by what a form may straddle. */
	for (uint64_t at = 0; at < n; at += PIECE) {
		size_t length = n - at < PIECE + 16 ? n - at : PIECE + 16;
		const uint8_t *bytes = inj_elf_bytes_at(module->elf, segment->p_vaddr + at, length);

		if (bytes &&
		    search_piece(tables, segment->p_vaddr + at + module->bias, bytes, length))
			return -ENOMEM;
	}
	return 0;
}

static bool is_c_library(const struct inj_module *module)
{
	static const char *const prefixes[] = {"libc.", "libc-", "libpthread", "ld-musl"};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(prefixes); i++)
		if (!strncmp(module->name, prefixes[i], strlen(prefixes[i])))
			return true;
	return module->kind == INJ_MODULE_INTERPRETER;
}

/* A program without an interpreter brings its C library; Go brings one in any case. */
static bool is_own_runtime(const struct inj_module *module)
{
	size_t n;
	const Elf64_Phdr *segments = inj_elf_segments(module->elf, &n);

	if (module->kind != INJ_MODULE_MAIN)
		return false;
	for (size_t i = 0; i < n; i++)
		if (segments[i].p_type == PT_INTERP)
			return inj_elf_section_named(module->elf, ".gopclntab") != NULL;
	return true;
}

int inj_trampolines_add(struct inj_unwind_tables *tables, const struct inj_module *module,
			const struct inj_constant *frames)
{
	size_t before = tables->n_trampolines, n;
	const Elf64_Phdr *segments = inj_elf_segments(module->elf, &n);

	if (!is_c_library(module) && !is_own_runtime(module))
		return 0;
	if (frames->n && add_marked(tables, frames))
		return -ENOMEM;
	if (tables->n_trampolines > before)
		return 0;
	for (size_t i = 0; i < n; i++)
		if (segments[i].p_type == PT_LOAD && (segments[i].p_flags & PF_X) &&
		    search(tables, module, &segments[i]))
			return -ENOMEM;
	return 0;
}
