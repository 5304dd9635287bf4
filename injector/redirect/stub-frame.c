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

static const uint8_t plain_cie[] = {
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

static const uint8_t personal_cie[] = {
	0, 0, 0, 0, 1, 'z', 'P', 'R', 0, 1, 0x78, INJ_DW_RA,
	10, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, /* absolute address of the personality routine */
	POINTER_ENCODING,
	0x0c, INJ_DW_RSP, 8,
	0x80 | INJ_DW_RA, 1,
};

#define PERSONALITY_AT 14

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

static void put_cie(uint8_t *section, size_t bytes, inj_addr personality)
{
	put32(section, (uint32_t)(bytes - 4));
	if (personality) {
		memcpy(section + 4, personal_cie, sizeof(personal_cie));
		memcpy(section + 4 + PERSONALITY_AT, &personality, sizeof(personality));
	} else {
		memcpy(section + 4, plain_cie, sizeof(plain_cie));
	}
}

int inj_pad_frames(const struct inj_stub *const *stubs, const inj_addr *addresses, size_t n,
		   inj_addr personality, inj_addr eh_frame_address, uint8_t *buffer, size_t cap,
		   size_t *ret_bytes)
{
	const size_t cie_bytes =
		ROUND_UP(4 + (personality ? sizeof(personal_cie) : sizeof(plain_cie)));
	size_t total = cie_bytes + 4;

	for (size_t i = 0; i < n; i++)
		total += fde_bytes(stubs[i]);
	*ret_bytes = total;
	if (total > INT32_MAX || total > cap)
		return -ENOSPC;
	memset(buffer, 0, total);
	put_cie(buffer, cie_bytes, personality);
	size_t at = cie_bytes;

	for (size_t i = 0; i < n; i++) {
		int r = put_fde(buffer, at, eh_frame_address, stubs[i], addresses[i]);

		if (r < 0)
			return r;
		at += fde_bytes(stubs[i]);
	}
	return 0;
}

int inj_stub_frames(const struct inj_stub *const *stubs, const inj_addr *addresses, size_t n,
		    inj_addr eh_frame_address, uint8_t *buffer, size_t cap, size_t *ret_bytes)
{
	return inj_pad_frames(stubs, addresses, n, 0, eh_frame_address, buffer, cap, ret_bytes);
}
