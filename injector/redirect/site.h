/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_REDIRECT_SITE_H
#define INJ_REDIRECT_SITE_H

#include "injector/base/why.h"

/*
 * A site is the entry of a function to be replaced. How its first bytes become a jump to a
 * dispatch stub:
 *
 *   near   5 bytes `jmp rel32` to the stub; the whole instructions they cover are copied,
 *          relocated, into the stub, so that the stub can run the old function: installed while
 *          inert.
 *   short  2 bytes `jmp rel8` to 5 bytes of padding between functions (nop, int3, zero), where a
 *          `jmp rel32` to the stub stands: for short functions and for branches back into what
 *          the long jump would cover. Inert too.
 *   late   the first instructions cannot run elsewhere: `jmp rel32` to the stub, which is nothing
 *          but a jump to the new function; written at commit under the undo journal.
 *
 * A function that begins with endbr64 keeps it: the jump stands behind it, at address + n_kept,
 * so that direct and indirect callers alike arrive at it. (Only when nothing fits there is
 * endbr64 covered like any other instruction.)
 */
enum inj_site_kind {
	INJ_SITE_NEAR = 1,
	INJ_SITE_SHORT = 2,
	INJ_SITE_LATE = 3,
};

#define INJ_SITE_MAX_COVERED 32
#define INJ_STUB_MAX_BYTES 768

/*
 * Read data of the target: the module's constants as they are in memory, relocated.
 * Return 0 when all n bytes are there, else anything.
 */
typedef int (*inj_site_read_fn)(void *context, inj_addr address, void *buffer, size_t n);

struct inj_arrivals;

/* The code around a function, read from the target and from its module's file. */
struct inj_text {
	inj_addr address;     /* entry */
	uint64_t size;        /* of the function */
	const uint8_t *bytes; /* from address - before to address + size + after */
	size_t before, after; /* bytes around it that belong to no symbol and to no FDE, at most 256
				 each; less than 256 means that something known follows there */
	const char *name;     /* for messages */

	/*
	 * What follows may be absent (zero). has_handlers: the function's FDE has an LSDA; a call
	 * of it must not move into the stub, where the exception tables do not look. code: the
	 * module's executable segment, which holds the function, to be searched for jumps back
	 * into its entry, from its .cold part or from assembly next to it (glibc's mempcpy jumps
	 * to memmove + 3); without it there are taken to be none: only for modules whose code is
	 * known. arrivals: what such a search of this code found, for many functions at once; where
	 * this function is not among them, the code is searched for it alone. read: for jump
	 * tables; without it an indirect jump of the function is taken to lead to any instruction
	 * behind its first one.
	 */
	bool has_handlers;
	const uint8_t *code;
	inj_addr code_address; /* of code[0] */
	size_t n_code;
	const struct inj_arrivals *arrivals;
	inj_site_read_fn read;
	void *context;         /* for read */
};

/* Instruction start: offset in the site, offset in the stub. */
struct inj_relocated {
	uint8_t from, to;
};

/*
 * What the new path of a stub must do for callers that know how the old function was compiled
 * (callers.h finds out). wanted: call the replacement from a frame of its own, with an aligned
 * stack, and give these registers back as they were; bit n: register n (rax 0 to r15), xmm n. The
 * replacement then finds no stack arguments.
 */
struct inj_keep {
	bool wanted;
	uint16_t gprs;
	uint16_t xmms;
};

struct inj_site {
	inj_addr address;
	enum inj_site_kind kind;
	uint8_t n_kept;        /* bytes at the entry that stay as they are (endbr64): 0 or 4 */
	uint8_t n_covered;     /* bytes from address on whose instructions the stub takes over (kept
				  ones included, though they are not copied); 0 for LATE */
	uint8_t covered[INJ_SITE_MAX_COVERED]; /* the original bytes; for LATE those overwritten */
	inj_addr pad;          /* SHORT: address of the padding used, else 0 */
	uint8_t n_pad;         /* 5 */
	uint8_t pad_bytes[8];  /* its original bytes */
	bool crosses_page;     /* the write at the entry is not atomic against our death: guard it
				  (padding is never executed, its page does not matter) */
	bool calls_out;        /* a call is among the covered instructions (its return address lies
				  in the stub) */
	bool loops_to_entry;   /* the old function jumps back to its entry: each round asks the stub
				  again. As good as a tail call of itself, but a replacement that
				  calls the old path must expect to be called by it */
	bool per_thread;       /* the stub asks for the generation relative to the GS base of the
				  thread: each has an own answer. Set by whoever wants it */
	struct inj_keep keep;  /* set by whoever looked at the callers; examining leaves it empty */
};

/*
 * Decide how to redirect a function.
 *
 * The whole function is decoded; the bytes to be overwritten must not hold, except at their start,
 * an instruction that anything outside the covered instructions can reach:
 *  - a direct branch of the function, or of other code in text->code: rel8 jumps around it, rel32
 *    jumps in its neighbourhood, and in all of the module when the function has branches out of
 *    itself, indirect jumps or exception handlers, so that it may have a part elsewhere;
 *  - a return: a covered call that ends inside them (its frame may sleep on some stack), and the
 *    end of a system call, where threads sleep;
 *  - an indirect jump of the function (a switch). A label's address must come from somewhere: an
 *    address formed by the function's own instructions, or data reached from such an address. With
 *    text->read all of these are looked through for 8-byte addresses and for 4-byte offsets from
 *    any of them; without it every instruction start counts as reachable.
 * When the function does not decode to its end (data in code) every instruction start counts as
 * reachable, too. First NEAR, then SHORT is tried (SHORT first if only it avoids a page crossing),
 * then both without keeping endbr64, then LATE: it may overwrite any of this, because nothing runs
 * there when it is written.
 *
 * text: see there; borrowed for the call; ret_site: filled; why: filled on refusal, may be NULL.
 * State: pure; the bytes were read while the target ran or was held.
 * Return: 0.
 * Errors: INJ_FUNCTION_TOO_SHORT (says size and what was tried); INJ_UNSUPPORTED_PROCESS when the
 *   first bytes do not decode or are a breakpoint (a foreign hook; whether the bytes differ from
 *   the file's is for the caller to compare); -EINVAL when the range wraps around.
 * Source: Intel SDM volume 2; System V AMD64 psABI 3.2.
 */
int inj_site_examine(const struct inj_text *text, struct inj_site *ret_site, struct inj_why *why);

/*
 * Do two sites write to the same bytes (two short functions may share one padding)? Then examine
 * the second again with before = after = 0.
 * a, b: examined.
 * State: pure.
 * Return: true when they clash.
 * Errors: none.
 * Source: none.
 */
bool inj_site_clashes(const struct inj_site *a, const struct inj_site *b);

/*
 * A stub at its address. Layout: [generation test, branch to new] [relocated instructions]
 * [jump back] [far jump to new]; uses no register, touches no stack, changes flags only. With
 * site->keep the last part is a wrapper instead, which calls new from a frame of its own.
 */
struct inj_stub {
	uint8_t bytes[INJ_STUB_MAX_BYTES];
	size_t n_bytes;
	uint8_t old_path; /* offset of the first relocated instruction: calling stub + old_path runs
			     the old function */
	struct inj_relocated map[INJ_SITE_MAX_COVERED]; /* ascending in both; the last entry is the
							   jump back, from = n_covered, if any */
	size_t n_map;
	uint8_t cfi[128];  /* DW_CFA_* program of the stub's FDE (CIE: code align 1, data align -8,
			     RA 16, initial CFA = rsp+8, RA at cfa-8) */
	size_t n_cfi;
};

/*
 * Emit the stub of a site.
 * site: examined; stub: where it will stand; generation: address of the generation byte, below
 * 2 GiB (the stub says `cmpb $0, generation; jne new`, with a %gs: when it is per_thread);
 * replacement: may be anywhere (a far one is reached through `jmp *[rip]` with the address stored
 *   in the stub). LATE sites get a stub without
 * old path: just a jump to the replacement, or the wrapper.
 * State: pure.
 * Return: 0.
 * Errors: -ERANGE when the relocated code cannot reach what it refers to, or generation is too
 *   high; INJ_FUNCTION_TOO_SHORT when an instruction cannot move (not for an examined site).
 * Source: Intel SDM volume 2.
 */
int inj_stub_emit(const struct inj_site *site, inj_addr stub, inj_addr generation,
		  inj_addr replacement, struct inj_stub *ret_stub, struct inj_why *why);

/* One piece of bytes to be written over code. */
struct inj_site_write {
	inj_addr address;
	uint8_t n;
	uint8_t old[8];
	uint8_t new[8];
};

/*
 * The writes that redirect the site, in the order in which they must be made; undo in reverse.
 * The last one is at the entry, address + n_kept; everything before it is inert.
 * site: examined; target: the stub, or for promotion the replacement itself.
 * State: pure.
 * Return: 0; at most 2 writes.
 * Errors: -ERANGE when the target is out of reach.
 * Source: Intel SDM volume 2, JMP.
 */
int inj_site_writes(const struct inj_site *site, inj_addr target,
		    struct inj_site_write ret_writes[2], size_t *ret_n);

#endif
