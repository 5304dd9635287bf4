/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Machine code of return pads. All memory operands are absolute 32-bit addresses (ModRM + SIB without base and index), so a
 * pad may stand anywhere while its words stand below 2 GiB.
 */
#include "injector/redirect/return-pad.h"

#include <errno.h>
#include <string.h>

#include "injector/abi/ledger.h"

#define HIGHEST_WORD 0x7fffff00u

static const uint8_t code[] = {
	0x90,                                           /* nop: covers entry - 1 */
	0xf0, 0xff, 0x04, 0x25, 0, 0, 0, 0,             /* lock incl arrived */
	0x83, 0x3c, 0x25, 0, 0, 0, 0, 0x00,             /* wait: cmpl $0, armed */
	0x74, 0x0e,                                     /* je out */
	0x83, 0x2c, 0x25, 0, 0, 0, 0, 0x01,             /* subl $1, spins */
	0x72, 0x04,                                     /* jb out */
	0xf3, 0x90,                                     /* pause */
	0xeb, 0xe8,                                     /* jmp wait */
	0xff, 0x24, 0x25, 0, 0, 0, 0,                   /* out: jmp *back */
};

#define ARRIVED_AT 5
#define ARMED_AT 12
#define SPINS_AT 22
#define BACK_AT 36

_Static_assert(sizeof(code) <= INJ_RETURN_PAD_BYTES, "pads stand side by side");

static void put32(uint8_t *place, uint64_t value)
{
	for (int i = 0; i < 4; i++)
		place[i] = (uint8_t)(value >> (8 * i));
}

int inj_return_pad_emit(inj_addr words, struct inj_stub *ret)
{
	const inj_addr back = words + offsetof(struct dsu_pad, back);
	uint8_t *cfi = ret->cfi;

	if (words > HIGHEST_WORD)
		return -ERANGE;
	*ret = (struct inj_stub){ .n_bytes = INJ_RETURN_PAD_BYTES };
	memset(ret->bytes, 0xcc, INJ_RETURN_PAD_BYTES);
	memcpy(ret->bytes, code, sizeof(code));
	put32(ret->bytes + ARRIVED_AT, words + offsetof(struct dsu_pad, arrived));
	put32(ret->bytes + ARMED_AT, words + offsetof(struct dsu_pad, armed));
	put32(ret->bytes + SPINS_AT, words + offsetof(struct dsu_pad, spins));
	put32(ret->bytes + BACK_AT, back);

	/* The return address was popped already; the real one stands in the pad's words. */
	*cfi++ = 0x0e; /* DW_CFA_def_cfa_offset 0 */
	*cfi++ = 0;
	*cfi++ = 0x10; /* DW_CFA_expression: return address, 9 bytes */
	*cfi++ = 16;
	*cfi++ = 9;
	*cfi++ = 0x03; /* DW_OP_addr */
	for (int i = 0; i < 8; i++)
		*cfi++ = (uint8_t)(back >> (8 * i));
	ret->n_cfi = (size_t)(cfi - ret->cfi);
	return 0;
}
