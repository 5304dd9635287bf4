/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_ARCH_X86_64_RELOC_H
#define INJ_ARCH_X86_64_RELOC_H

#include "injector/base/types.h"

/* What a dynamic relocation asks for, in the words of the psABI: S symbol, A addend, B base. */
enum inj_reloc_kind {
	INJ_RELOC_NOTHING,        /* no place, no value */
	INJ_RELOC_SYMBOL_ADDEND,  /* S + A */
	INJ_RELOC_SYMBOL,         /* S */
	INJ_RELOC_BASE_ADDEND,    /* B + A */
	INJ_RELOC_RESOLVER,       /* what the function at B + A returns */
	INJ_RELOC_TLS_MODULE,     /* module id of S */
	INJ_RELOC_TLS_OFFSET,     /* S + A inside the module's block */
	INJ_RELOC_TLS_TP,         /* S + A from the thread pointer */
	INJ_RELOC_TLS_DESCRIPTOR, /* a function and its argument that yield S + A from the
				     pointer */
	INJ_RELOC_UNSUPPORTED,
};

struct inj_reloc_rule {
	uint32_t type;
	enum inj_reloc_kind kind;
	uint8_t bytes;      /* at the place; 0 for INJ_RELOC_NOTHING and what is unsupported */
	bool needs_symbol;  /* symbol 0 makes no sense */
	const char *name;
	const char *advice; /* what to do about an unsupported one, else NULL */
};

/*
 * The rule for a relocation type.
 * type: R_X86_64_*, any number.
 * State: none; pure.
 * Return: the rule, INJ_RELOC_UNSUPPORTED for a type that this table does not know either.
 * Source: psABI x86-64, 4.4 Relocation; TLS ABI, "TLS descriptors".
 */
const struct inj_reloc_rule *inj_reloc_rule(uint32_t type);

/*
 * The function that static TLS descriptors point to: returns its argument, the offset from the
 * thread pointer, in rax and leaves every other register alone, as descriptors demand.
 */
#define INJ_TLSDESC_CODE_BYTES 9
extern const uint8_t inj_tlsdesc_code[INJ_TLSDESC_CODE_BYTES];

/*
 * Does the code begin like the start-up function of gcc's crtbeginS.o (frame_dummy), which
 * does nothing but jump to register_tm_clones?
 * code: n bytes of code at vaddr; read: bytes at another vaddr, NULL when there are none.
 * State: none; pure.
 * Return: true only for that very shape: [endbr64] jmp to lea rdi, lea rsi, sub rsi.
 */
typedef const uint8_t *(*inj_code_reader)(const void *context, uint64_t vaddr, size_t n);
bool inj_is_crt_frame_dummy(uint64_t vaddr, inj_code_reader read, const void *context);

#endif
