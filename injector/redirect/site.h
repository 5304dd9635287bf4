/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_REDIRECT_SITE_H
#define INJ_REDIRECT_SITE_H

#include "injector/base/why.h"

/*
 * A site is the entry of a function to be replaced. How its first bytes become a jump to a dispatch stub:
 *
 *   near   5 bytes `jmp rel32` to the stub; the whole instructions they cover are copied, relocated, into the stub, so that the stub can run the old function: installed while inert.
 *   short  2 bytes `jmp rel8` to at least 5 bytes of padding (nop/int3/zero between functions) within reach, where a `jmp rel32` to the stub stands: for short functions and for branches back to entry+2...entry+4. Inert too.
 *   late   the first instructions cannot run elsewhere (branch target inside every possible overwrite): `jmp rel32` to the new function's pad, written at commit under the undo journal.
 */
enum inj_site_kind {
	INJ_SITE_NEAR = 1,
	INJ_SITE_SHORT = 2,
	INJ_SITE_LATE = 3,
};

#define INJ_SITE_MAX_COVERED 32
#define INJ_STUB_MAX_BYTES 256

/* The code around a function, read from the target and from its module's file. */
struct inj_text {
	inj_addr address;         /* entry */
	uint64_t size;            /* of the function */
	const uint8_t *bytes;     /* from address - before to address + size + after */
	size_t before, after;     /* bytes of padding candidates around it: up to neighbouring symbols, at most 256 each */
	const char *name;         /* for messages */
};

struct inj_relocated { uint8_t from, to; }; /* instruction boundary: offset in the site, offset in the stub */

struct inj_site {
	inj_addr address;
	enum inj_site_kind kind;
	uint8_t n_covered;         /* bytes of whole instructions moved into the stub (0 for LATE) */
	uint8_t covered[INJ_SITE_MAX_COVERED];
	inj_addr pad;              /* SHORT: address of the padding used, else 0 */
	uint8_t n_pad;             /* 5 */
	uint8_t pad_bytes[8];      /* its original bytes */
	bool crosses_page;         /* a write of this site is not atomic against our death: guard it */
	bool calls_out;            /* a call is among the covered instructions (its return address lies in the stub) */
};

/*
 * Decide how to redirect the function. Pure. Decodes the whole function (Zydis) to find branches into the covered bytes; jump tables cannot be seen: an indirect jump makes only targets at the covered bytes' instruction boundaries inside [2,n) suspect where the function has
 * relocated data... (see site.c for the rule chosen and why it is safe).
 * Errors: INJ_FUNCTION_TOO_SHORT (says size and what was tried); INJ_UNSUPPORTED_PROCESS when the bytes do not decode or begin with a foreign hook (int3, jmp out of the module: says what was found).
 */
int inj_site_examine(const struct inj_text *code, struct inj_site *ret, struct inj_why *why);

/* A stub at its address. Layout: [generation test, branch to new] [relocated instructions] [jump back] ; uses no register, touches no stack, changes flags only. */
struct inj_stub {
	uint8_t bytes[INJ_STUB_MAX_BYTES];
	size_t n_bytes;
	uint8_t old_path;          /* offset of the first relocated instruction: calling stub+old_path runs the old function */
	struct inj_relocated map[INJ_SITE_MAX_COVERED];
	size_t n_map;
	uint8_t cfi[96];           /* DW_CFA_* program of the stub's FDE (CIE: code align 1, data align -8, RA 16, initial CFA = rsp+8, RA at cfa-8) */
	size_t n_cfi;
};

/*
 * Emit the stub of a site. generation: address of the generation byte, must fit a sign-extended disp32 (below 2 GiB): the stub says `cmpb $0, generation; jne new`.
 * replacement: may be anywhere (a far one is reached through `jmp *[rip]` with the address stored in the stub). Relocated code must reach all it refers to, else -ERANGE.
 * LATE sites get a stub without old path: just a jump to the replacement.
 */
int inj_stub_emit(const struct inj_site *site, inj_addr stub, inj_addr generation, inj_addr replacement, struct inj_stub *ret, struct inj_why *why);

/* One piece of bytes to be written over code. */
struct inj_site_write { inj_addr address; uint8_t n; uint8_t old[8]; uint8_t new[8]; };
/* The writes that redirect the site to `target` (the stub, or for promotion the replacement itself), in the order in which they must be made; undo in reverse. At most 2. -ERANGE when out of reach. */
int inj_site_writes(const struct inj_site *site, inj_addr target, struct inj_site_write writes[2], size_t *ret_n);

#endif
