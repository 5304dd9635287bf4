/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Makes stubs visible to unwinders: one .eh_frame section for many of them. Every record is padded
 * to 8 bytes with DW_CFA_nop, which is 0; a length of zero ends the section.
 */
#include "injector/redirect/stub-frame.h"

#include <errno.h>
#include <string.h>

#include "injector/arch/x86_64/encode.h"
#include "injector/arch/x86_64/frame.h"

/* pcrel | sdata4: LSB Core 5.0, table 10-10 and 10-11 */
#define POINTER_ENCODING 0x1b
#define ROUND_UP(x) (((x) + 7u) & ~(size_t)7u)

static const uint8_t cie[] = {
	0, 0, 0, 0,             /* CIE id */
	1,                      /* version */
	'z', 'R', 0,            /* augmentation */
	1,                      /* code alignment */
	0x78,                   /* data alignment: -8 */
	INJ_DW_RA,              /* return address column */
	1, POINTER_ENCODING,    /* augmentation data */
	0x0c, INJ_DW_RSP, 8,    /* DW_CFA_def_cfa: rsp + 8 */
	0x80 | INJ_DW_RA, 1,    /* DW_CFA_offset: return address at CFA - 8 */
};

#define CIE_BYTES ROUND_UP(4 + sizeof(cie))
/* length, CIE pointer, pc begin, pc range, augmentation length */
#define FDE_HEAD 17u

static size_t fde_bytes(const struct inj_stub *stub)
{
	return ROUND_UP(FDE_HEAD + stub->n_cfi);
}

static void put32(uint8_t *place, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		place[i] = (uint8_t)(value >> (8 * i));
}

/* at: offset of the record in the section */
static int put_fde(uint8_t *section, size_t at, inj_addr section_address,
		   const struct inj_stub *stub, inj_addr address)
{
	uint8_t *record = section + at;
	inj_addr begin_field = section_address + at + 8;

	if (!inj_reaches32(begin_field, address) || address + stub->n_bytes < address)
		return -ERANGE;
	put32(record, (uint32_t)(fde_bytes(stub) - 4));
	put32(record + 4, (uint32_t)(at + 4)); /* back to the CIE at offset 0 */
	put32(record + 8, (uint32_t)(address - begin_field));
	put32(record + 12, (uint32_t)stub->n_bytes);
	memcpy(record + FDE_HEAD, stub->cfi, stub->n_cfi);
	return 0;
}

int inj_stub_frames(const struct inj_stub *const *stubs, const inj_addr *addresses, size_t n,
		    inj_addr eh_frame_address, uint8_t *buffer, size_t cap, size_t *ret_bytes)
{
	size_t total = CIE_BYTES + 4;

	for (size_t i = 0; i < n; i++)
		total += fde_bytes(stubs[i]);
	*ret_bytes = total;
	if (total > INT32_MAX || total > cap)
		return -ENOSPC;
	memset(buffer, 0, total);
	put32(buffer, CIE_BYTES - 4);
	memcpy(buffer + 4, cie, sizeof(cie));
	size_t at = CIE_BYTES;

	for (size_t i = 0; i < n; i++) {
		int r = put_fde(buffer, at, eh_frame_address, stubs[i], addresses[i]);

		if (r < 0)
			return r;
		at += fde_bytes(stubs[i]);
	}
	return 0;
}
