/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_UNWIND_CFI_H
#define INJ_UNWIND_CFI_H

#include "injector/elf/elf.h"

/* Bytes of a target, held by us: data[0] stands at `address` there. */
struct inj_bytes {
	inj_addr address;
	const uint8_t *data;
	size_t n;
};

/*
 * Memory of a target that never changes, for one: an .eh_frame table. Its bytes are data, or those
 * of a module's file, which is read piece by piece as somebody asks.
 */
struct inj_constant {
	inj_addr address;
	size_t n;
	const uint8_t *data;	   /* borrowed, or NULL: */
	const struct inj_elf *elf; /* borrowed */
	inj_addr bias;
};

/* n bytes at an address, NULL unless all of them are there. State: any. */
const uint8_t *inj_constant_bytes(const struct inj_constant *constant, inj_addr address, size_t n);

enum {
	/* A signal trampoline: what it returns to was interrupted, not left by a call. */
	INJ_CFI_SIGNAL = 1,
	/* Somewhere the return address is not found right below the CFA. */
	INJ_CFI_MOVED_RETURN = 2,
	/* The caller's stack pointer is not simply the CFA. */
	INJ_CFI_MOVED_STACK = 4,
	/* As above, and the rule computes it (DW_CFA_val_expression). */
	INJ_CFI_STACK_VALUE = 8,
	/* It may name handlers or cleanups of exceptions (a language-specific data area). */
	INJ_CFI_HANDLERS = 16,
};

/* One frame description entry. */
struct inj_cfi {
	inj_addr fde;
	struct inj_range code;
	inj_addr cie;
	inj_addr program; /* first byte after the augmentation data */
	inj_addr end;
	unsigned flags; /* INJ_CFI_SIGNAL, INJ_CFI_HANDLERS; the others once inj_cfi_check() has
			   passed */
};

/*
 * Read the head of the entry at an address of an .eh_frame table.
 * table: the whole table; every byte used lies in it.
 * State: none, pure.
 * Return: 0.
 * Errors: -ENOENT when a CIE or the terminator stands there; -EBADMSG for what is malformed or
 *   beyond what compilers emit for x86-64.
 * Source: LSB Core, 10.6 "Exception Frames"; DWARF 4, 6.4.
 */
int inj_cfi_read(const struct inj_constant *table, inj_addr fde, struct inj_cfi *ret);

/*
 * Prove that libunwind can run the entry's instructions: known opcodes, registers it keeps,
 * balanced state stack, a CFA rule before all else, expressions inside the table. libunwind checks
 * none of it and would index arrays with it.
 * cfi: from inj_cfi_read(); flags are completed.
 * State: none, pure.
 * Return: 0.
 * Errors: -EBADMSG.
 * Source: DWARF 4, 6.4.2; libunwind 1.6.2, run_cfi_program() and apply_reg_state().
 */
int inj_cfi_check(const struct inj_constant *table, struct inj_cfi *cfi);

/*
 * Step through all records of a table.
 * position: address of a record; moved to the next one.
 * ret: filled when an FDE stood there; ret->code is empty for a CIE or an FDE that is not readable.
 * State: none, pure.
 * Return: 1 while there are records, 0 at the end or where the table stops making sense.
 * Source: as above.
 */
int inj_cfi_next(const struct inj_constant *table, inj_addr *position, struct inj_cfi *ret);

/*
 * Does the code of an entry begin with another frame than a call leaves? Then it is part of a
 * function that has built one.
 * cfi: from inj_cfi_read().
 * State: none, pure.
 * Source: DWARF 4, 6.4.2; psABI 3.7.
 */
bool inj_cfi_begins_framed(const struct inj_constant *table, const struct inj_cfi *cfi);

/*
 * Does the table hold a CIE of signal frames? Much cheaper than reading all entries.
 * State: none, pure.
 * Source: as above; augmentation letter S of gcc.
 */
bool inj_cfi_has_signal_frames(const struct inj_constant *table);

#endif
