/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_ARCH_X86_64_SCAN_H
#define INJ_ARCH_X86_64_SCAN_H

#include "injector/base/types.h"

/*
 * Find what could be a rel32 jump, conditional jump or call into a small range, at any byte
 * position: none is missed whatever the instruction boundaries are; data that looks like one is
 * found, too.
 * code: n readable bytes that stand at address; from: offset to start at; into: the range, not
 *   empty; ret_offset: of the opcode's last byte, call again with *ret_offset + 1 for the next.
 * State: pure.
 * Return: true; false when there is none from `from` on.
 * Errors: none.
 * Source: Intel SDM volume 2, CALL (e8), JMP (e9) and Jcc (0f 80 to 0f 8f).
 */
bool inj_scan_branch32(const uint8_t *code, size_t n, inj_addr address, size_t from,
		       struct inj_range into, size_t *ret_offset, inj_addr *ret_target);

/*
 * Where many small ranges of code lie: one bit for every 16 bytes that hold a part of any.
 */
#define INJ_SCAN_GRANULE 16u
struct inj_scan_marks {
	inj_addr start;       /* address of the first bit's bytes */
	uint64_t n_bits;
	const uint64_t *bits;
};

typedef void (*inj_scan_found_fn)(void *context, size_t offset, inj_addr target);

/*
 * In one pass, everything that inj_scan_branch32() would find for any of many ranges, and some
 * more: what leads into bytes that share a granule with one.
 * code, n, address: as above; marks: borrowed; found: called with the offset of the opcode's last
 *   byte, ascending, and the target.
 * State: pure.
 * Return: nothing.
 * Errors: none.
 * Source: Intel SDM volume 2, CALL (e8), JMP (e9) and Jcc (0f 80 to 0f 8f).
 */
void inj_scan_marked32(const uint8_t *code, size_t n, inj_addr address,
		       const struct inj_scan_marks *marks, inj_scan_found_fn found, void *context);

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
