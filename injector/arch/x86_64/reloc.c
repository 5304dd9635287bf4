/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns what this CPU says about patch images: the table of dynamic relocations with what each
 * asks for, the code behind static TLS descriptors, and the shape of the compiler's own start-up
 * function. Always holds: a type that is not in the table is unsupported. Pure data and reading.
 */
#include <elf.h>
#include <string.h>

#include "injector/arch/x86_64/reloc.h"

#define COMPILE_PIC "compile everything in the patch with -fPIC"

#define RULE(type, kind, bytes, needs_symbol)                                                      \
	{R_X86_64_##type, INJ_RELOC_##kind, bytes, needs_symbol, "R_X86_64_" #type, NULL}
#define REFUSE(type, advice)                                                                       \
	{R_X86_64_##type, INJ_RELOC_UNSUPPORTED, 0, false, "R_X86_64_" #type, advice}

static const struct inj_reloc_rule rules[] = {
	RULE(NONE, NOTHING, 0, false),
	RULE(64, SYMBOL_ADDEND, 8, false),
	RULE(GLOB_DAT, SYMBOL, 8, true),
	RULE(JUMP_SLOT, SYMBOL, 8, true),
	RULE(RELATIVE, BASE_ADDEND, 8, false),
	RULE(IRELATIVE, RESOLVER, 8, false),
	RULE(DTPMOD64, TLS_MODULE, 8, true),
	RULE(DTPOFF64, TLS_OFFSET, 8, true),
	RULE(TPOFF64, TLS_TP, 8, true),
	RULE(TLSDESC, TLS_DESCRIPTOR, 16, true),
	REFUSE(COPY, "copy relocations belong to programs; link with -shared"),
	REFUSE(PC32, COMPILE_PIC),
	REFUSE(PLT32, COMPILE_PIC),
	REFUSE(32, COMPILE_PIC),
	REFUSE(32S, COMPILE_PIC),
	REFUSE(16, COMPILE_PIC),
	REFUSE(PC16, COMPILE_PIC),
	REFUSE(8, COMPILE_PIC),
	REFUSE(PC8, COMPILE_PIC),
	REFUSE(PC64, COMPILE_PIC),
	REFUSE(GOT32, COMPILE_PIC),
	REFUSE(GOTPCREL, COMPILE_PIC),
	REFUSE(GOTPCRELX, COMPILE_PIC),
	REFUSE(REX_GOTPCRELX, COMPILE_PIC),
	REFUSE(GOTOFF64, COMPILE_PIC),
	REFUSE(GOTPC32, COMPILE_PIC),
	REFUSE(TLSGD, COMPILE_PIC),
	REFUSE(TLSLD, COMPILE_PIC),
	REFUSE(DTPOFF32, COMPILE_PIC),
	REFUSE(GOTTPOFF, COMPILE_PIC),
	REFUSE(TPOFF32, COMPILE_PIC),
	REFUSE(GOT64, COMPILE_PIC),
	REFUSE(GOTPCREL64, COMPILE_PIC),
	REFUSE(GOTPC64, COMPILE_PIC),
	REFUSE(GOTPLT64, COMPILE_PIC),
	REFUSE(PLTOFF64, COMPILE_PIC),
	REFUSE(SIZE32, "do not take the size of a foreign symbol"),
	REFUSE(SIZE64, "do not take the size of a foreign symbol"),
	REFUSE(GOTPC32_TLSDESC, COMPILE_PIC),
	REFUSE(TLSDESC_CALL, COMPILE_PIC),
	REFUSE(RELATIVE64, "compile with -m64, not -mx32"),
};

static const struct inj_reloc_rule unknown_rule = {
	0, INJ_RELOC_UNSUPPORTED, 0, false, "an unknown relocation",
	"no linker for x86-64 makes it; the file is damaged or from a later toolchain"};

const struct inj_reloc_rule *inj_reloc_rule(uint32_t type)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(rules); i++)
		if (rules[i].type == type)
			return &rules[i];
	return &unknown_rule;
}

const uint8_t inj_tlsdesc_code[INJ_TLSDESC_CODE_BYTES] = {
	0xf3, 0x0f, 0x1e, 0xfa, /* endbr64 */
	0x48, 0x8b, 0x40, 0x08, /* mov 8(%rax), %rax */
	0xc3,                   /* ret */
};

bool inj_is_crt_frame_dummy(uint64_t vaddr, inj_code_reader read, const void *context)
{
	static const uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
	const uint8_t *code = read(context, vaddr, sizeof(endbr64));

	if (code && memcmp(code, endbr64, sizeof(endbr64)) == 0)
		vaddr += sizeof(endbr64);
	code = read(context, vaddr, 5);
	if (!code)
		return false;
	if (code[0] == 0xe9) { /* jmp rel32 */
		int32_t displacement;

		memcpy(&displacement, code + 1, sizeof(displacement));
		vaddr += 5 + (uint64_t)(int64_t)displacement;
	} else if (code[0] == 0xeb) { /* jmp rel8 */
		vaddr += 2 + (uint64_t)(int64_t)(int8_t)code[1];
	} else {
		return false;
	}
	/* register_tm_clones: lea X(%rip), %rdi; lea Y(%rip), %rsi; sub %rdi, %rsi */
	code = read(context, vaddr, 17);
	return code && memcmp(code, "\x48\x8d\x3d", 3) == 0 &&
	       memcmp(code + 7, "\x48\x8d\x35", 3) == 0 &&
	       memcmp(code + 14, "\x48\x29\xfe", 3) == 0;
}
