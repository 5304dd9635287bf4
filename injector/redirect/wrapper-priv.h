/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_REDIRECT_WRAPPER_PRIV_H
#define INJ_REDIRECT_WRAPPER_PRIV_H

#include "injector/arch/x86_64/encode.h"
#include "injector/redirect/site.h"

/* Offsets in the stub at which the wrapper's call frame changes. */
struct inj_wrapper_marks {
	size_t pushed; /* behind `push %rbp` */
	size_t framed; /* behind `mov %rsp,%rbp` */
	size_t left;   /* behind `leave` */
};

/*
 * Append a call of the replacement that keeps registers and aligns the stack.
 * encoder: see there; keep: what to save; ret_marks: filled.
 * State: pure.
 * Return: nothing; look at encoder->error.
 * Errors: in encoder->error: -ENOSPC.
 * Source: System V AMD64 psABI 3.2.2 (alignment at calls).
 */
void inj_wrapper_emit(struct inj_encoder *encoder, const struct inj_keep *keep,
		      inj_addr replacement, struct inj_wrapper_marks *ret_marks);

#endif
