/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_ARCH_X86_64_SCAN_H
#define INJ_ARCH_X86_64_SCAN_H

#include "injector/base/types.h"

/*
 * Find what could be a rel32 jump or conditional jump into a small range, at any byte position:
 * none is missed whatever the instruction boundaries are; data that looks like one is found, too.
 * code: n readable bytes that stand at address; from: offset to start at; into: the range, not
 *   empty.
 * State: pure.
 * Return: true and the offset of the opcode's last byte and the target; false when there is none
 *   from `from` on.
 * Errors: none.
 * Source: Intel SDM volume 2, JMP (e9) and Jcc (0f 80 to 0f 8f).
 */
bool inj_scan_jump(const uint8_t *code, size_t n, inj_addr address, size_t from,
		   struct inj_range into, size_t *ret_offset, inj_addr *ret_target);

#endif
