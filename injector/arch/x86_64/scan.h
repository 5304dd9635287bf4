/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_ARCH_X86_64_SCAN_H
#define INJ_ARCH_X86_64_SCAN_H

#include "injector/base/types.h"

/*
 * Find what could be a rel32 jump or conditional jump into a small range, at any byte position:
 * none is missed whatever the instruction boundaries are; data that looks like one is found, too.
 * code: n readable bytes that stand at address; from: offset to start at; into: the range, not
 *   empty; ret_offset: of the opcode's last byte, call again with *ret_offset + 1 for the next.
 * State: pure.
 * Return: true; false when there is none from `from` on.
 * Errors: none.
 * Source: Intel SDM volume 2, JMP (e9) and Jcc (0f 80 to 0f 8f).
 */
bool inj_scan_jump32(const uint8_t *code, size_t n, inj_addr address, size_t from,
		     struct inj_range into, size_t *ret_offset, inj_addr *ret_target);

/*
 * The same for calls as well as jumps.
 * Parameters and result as above.
 * State: pure.
 * Return: true; false when there is none from `from` on.
 * Errors: none.
 * Source: Intel SDM volume 2, CALL (e8), JMP (e9) and Jcc (0f 80 to 0f 8f).
 */
bool inj_scan_branch32(const uint8_t *code, size_t n, inj_addr address, size_t from,
		       struct inj_range into, size_t *ret_offset, inj_addr *ret_target);

/*
 * The same for rel8 jumps: jmp, jcc, loop, loopcc, jrcxz. Many bytes look like one.
 * Parameters and result as above; ret_offset: of the opcode, call again with *ret_offset + 1.
 * State: pure.
 * Return: true; false when there is none from `from` on.
 * Errors: none.
 * Source: Intel SDM volume 2, JMP (eb), Jcc (70 to 7f), LOOP and JCXZ (e0 to e3).
 */
bool inj_scan_jump8(const uint8_t *code, size_t n, inj_addr address, size_t from,
		    struct inj_range into, size_t *ret_offset, inj_addr *ret_target);

/*
 * Is a jump that a scan found an instruction of the code, or mere data? The code in front of it is
 * decoded from sixteen starting points; such decodings soon fall into step with the instructions,
 * and with each other.
 * offset, target: from a scan of the same code.
 * State: pure.
 * Return: true when any of them arrives at a branch there with this target.
 * Errors: none.
 * Source: Intel SDM volume 2, chapter 2 (instruction lengths).
 */
bool inj_scan_confirm(const uint8_t *code, size_t n, inj_addr address, size_t offset,
		      inj_addr target);

#endif
