/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_REDIRECT_STUB_FRAME_H
#define INJ_REDIRECT_STUB_FRAME_H

#include "injector/redirect/site.h"

/*
 * Build one .eh_frame section for stubs: a CIE, one FDE for each stub, a zero terminator.
 * stubs, addresses: n of each; eh_frame_address: where the section will stand, within 2 GiB of all
 *   stubs; buffer: cap bytes, may be NULL with cap 0 to learn the size.
 * State: pure.
 * Return: 0; *ret_bytes is the size of the section, a multiple of 8 plus the terminator's 4.
 * Errors: -ENOSPC when cap is too small (*ret_bytes is set then as well); -ERANGE when a stub is
 *   out of reach or reaches around the end of the address space.
 * Source: LSB Core 5.0, 10.6.1 (eh_frame); DWARF 5, 6.4.
 */
int inj_stub_frames(const struct inj_stub *const *stubs, const inj_addr *addresses, size_t n,
		    inj_addr eh_frame_address, uint8_t *buffer, size_t cap, size_t *ret_bytes);

/*
 * The same for return pads and their personality routine.
 * personality: its address, 0: there is none. Everything else as above.
 */
int inj_pad_frames(const struct inj_stub *const *stubs, const inj_addr *addresses, size_t n,
		   inj_addr personality, inj_addr eh_frame_address, uint8_t *buffer, size_t cap,
		   size_t *ret_bytes);

#endif
