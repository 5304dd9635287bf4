/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_REDIRECT_TRANSLATE_H
#define INJ_REDIRECT_TRANSLATE_H

#include "injector/redirect/site.h"

/* One redirected entry, from a site and its stub or from a ledger's record of them. */
struct inj_detour {
	inj_addr site;      /* entry of the old function */
	inj_addr stub;
	inj_addr pad;       /* 0: none */
	uint16_t n_stub;    /* bytes of the stub */
	uint8_t n_covered;  /* 0: LATE, no old path */
	uint8_t n_kept;     /* the entry is overwritten at site + n_kept ... */
	uint8_t n_written;  /* ... for so many bytes */
	const struct inj_relocated *map; /* ascending; the first `to` is the stub's old path */
	size_t n_map;
};

/*
 * Describe what an examined site and its stub do to threads.
 * site, stub: map is borrowed from stub; address: of the stub.
 * State: pure.
 * Return: the description.
 * Errors: none.
 * Source: none.
 */
struct inj_detour inj_site_detour(const struct inj_site *site, const struct inj_stub *stub,
				  inj_addr address);

/*
 * Where in the old function does a thread stand? For stack checks and walks: a stub's pc has the
 * frame of the instruction that it is mapped to.
 * pc: instruction pointer or return address. Dispatch part, far jump, used padding, and site +
 *   n_kept (nothing but endbr64 has run): the entry. Relocated instruction: the original one.
 *   Jump back: the instruction that it leads to. First instruction of a wrapper: the entry; behind
 *   it the frame is the stub's own, and a thread there is bound for the new function or has come
 *   from it.
 * State: pure.
 * Return: the equivalent address; pc itself when it has nothing to do with this detour.
 * Errors: none.
 * Source: layout of struct inj_stub.
 */
inj_addr inj_site_translate(const struct inj_detour *detour, inj_addr pc);

/*
 * Where must a thread go before its instructions are overwritten?
 * pc: of a held thread, or an address on a stack (return address, saved by a signal frame).
 * State: held; before the detour's writes.
 * Return: the copy in the stub when pc lies strictly inside the bytes to be overwritten; 0 when it
 *   lies there and there is no copy (wait until the thread has left); else pc itself.
 * Errors: none.
 * Source: layout of struct inj_stub.
 */
inj_addr inj_site_translate_into_stub(const struct inj_detour *detour, inj_addr pc);

/*
 * Where must a thread go so that no decision older than now is carried out? One that was held
 * between the stub's test and the jump that follows has chosen a version already; sent back to the
 * start of the stub, it will choose again. Do this for every thread before a commit or revert.
 * pc: of a held thread.
 * State: held.
 * Return: the stub's start for such a thread, else pc itself.
 * Errors: none.
 * Source: layout of struct inj_stub.
 */
inj_addr inj_site_decide_again(const struct inj_detour *detour, inj_addr pc);

/*
 * Where must a thread go before the site gets its original bytes back? A thread on its way through
 * used padding would fall into whatever the padding holds then.
 * pc: of a held thread.
 * State: held; before the writes are undone.
 * Return: site + n_kept for a pc in used padding, else pc itself.
 * Errors: none.
 * Source: layout of a short site.
 */
inj_addr inj_site_leave_padding(const struct inj_detour *detour, inj_addr pc);

#endif
