/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_REDIRECT_PROMOTE_H
#define INJ_REDIRECT_PROMOTE_H

#include "injector/base/types.h"

/*
 * Promotion: once an update is committed, its stubs need not ask for the generation any more. The
 * first eight bytes of a stub, its test, become a straight jump to where the test leads then.
 * All other bytes stay, so a thread that is past the test goes on undisturbed, and both forms do
 * the same as long as the generation word is 1: stubs are promoted after the commit, demoted
 * before a revert, one by one, and whoever dies in between leaves no mixture.
 */
#define INJ_STUB_HEAD_BYTES 8

/*
 * Promote a copy of a stub.
 * bytes: the stub, n of them, as it was emitted; its head is rewritten.
 * State: pure; belongs into the target only while all threads are held.
 * Return: true when it was promoted; false, and nothing is done, when it starts with no test (the
 *   stub of a LATE site, one promoted already) or the jump is out of reach.
 * Errors: none.
 * Source: Intel SDM volume 2, CMP, Jcc, JMP.
 */
bool inj_stub_promote(uint8_t *bytes, size_t n);

/*
 * The head of a stub that asks for the generation, as one word to be stored.
 * generation, per_thread: as the stub was emitted for.
 * ret: the eight bytes, in the order of memory.
 * State: pure.
 * Return: 0.
 * Errors: -ERANGE when no stub can refer to that address.
 * Source: Intel SDM volume 2, CMP.
 */
int inj_stub_test(inj_addr generation, bool per_thread, uint64_t *ret);

#endif
