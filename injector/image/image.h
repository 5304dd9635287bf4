/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_IMAGE_IMAGE_H
#define INJ_IMAGE_IMAGE_H

#include "injector/image/patch.h"

/* One page-aligned stretch of the image with one protection: PROT_READ, PROT_READ|PROT_EXEC or PROT_READ|PROT_WRITE; never write and execute. */
struct inj_image_part {
	uint64_t offset;   /* from the image's base, page aligned */
	uint64_t bytes;    /* page multiple */
	int prot;          /* RELRO is merged into its neighbour as PROT_READ once linked */
};

/* Where everything of a patch will lie relative to its base. Pure. vaddr v of the patch lies at base + v - vaddr_base. */
struct inj_image {
	const struct inj_patch *patch; /* borrowed */
	uint64_t vaddr_base;           /* page aligned lowest vaddr */
	uint64_t bytes;                /* page multiple; includes our own tail (TLSDESC resolver, IRELATIVE slots...) */
	struct inj_image_part *parts;  /* ascending, cover [0, bytes) without gaps */
	size_t n_parts;
	uint64_t eh_frame_offset;      /* .eh_frame with zero terminator, from base; 0 when there is none */
	uint64_t eh_frame_bytes;
	uint64_t private_offset;       /* implementation's own tail */
};

int inj_image_layout(const struct inj_patch *patch, struct inj_image **ret, struct inj_why *why);
void inj_image_free(struct inj_image *image);
INJ_DEFINE_GUARD(struct inj_image *, inj_image_free, inj_image_guard)

/* What an external symbol is bound to. */
struct inj_binding {
	inj_addr address;        /* functions and data */
	bool is_tls;
	uint64_t tls_module_id;  /* DTPMOD64 */
	uint64_t tls_offset;     /* DTPOFF64: offset in the module's block */
	int64_t tp_offset;       /* TPOFF64: offset from the thread pointer */
};

/*
 * Link the patch for its base address.
 * bytes: image->bytes of zeroed memory that will be the target's pages (a view of the shared memfd); target's base: where the target sees it.
 * bindings: one per patch->externals, in that order; an unresolved weak symbol has address 0.
 * run_ifunc: called for IRELATIVE relocations and IFUNC symbols of the patch itself: run the resolver at the target address, return the implementation. NULL: such patches are refused.
 * It is called after everything else is linked. bytes are final when this returns.
 * Return: 0. Errors: INJ_UNSUPPORTED_RELOCATION (named), INJ_UNSUPPORTED_TLS, whatever run_ifunc refuses. */
typedef int (*inj_run_ifunc_fn)(void *context, inj_addr resolver, inj_addr *ret, struct inj_why *why);
int inj_image_link(const struct inj_image *image, inj_addr base, const struct inj_binding *bindings, inj_run_ifunc_fn run_ifunc, void *context, uint8_t *bytes, struct inj_why *why);

#endif
