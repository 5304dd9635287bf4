/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_IMAGE_IMAGE_H
#define INJ_IMAGE_IMAGE_H

#include "injector/image/patch.h"

/* One page-aligned stretch of the image with one protection: PROT_READ, PROT_READ|PROT_EXEC or
 * PROT_READ|PROT_WRITE; never write and execute. */
struct inj_image_part {
	uint64_t offset; /* from the image's base, page aligned */
	uint64_t bytes;  /* page multiple */
	int prot;        /* final from the start: RELRO, written by the linker only, is PROT_READ */
};

/*
 * Where everything of a patch will lie relative to its base.
 * vaddr v of the patch lies at base + v - vaddr_base.
 */
struct inj_image {
	const struct inj_patch *patch; /* borrowed */
	uint64_t vaddr_base;           /* page aligned lowest vaddr */
	uint64_t bytes;                /* page multiple; includes our own tail */
	struct inj_image_part *parts;  /* ascending, cover [0, bytes), neighbours differ */
	size_t n_parts;
	uint64_t eh_frame_offset; /* .eh_frame with zero terminator, from base; 0: there is none */
	uint64_t eh_frame_bytes;  /* terminator included */
	uint64_t private_offset;  /* our own tail: code and tables that the patch lacks */
};

/*
 * Lay out a patch. Pure.
 * patch: must outlive the image. ret: new object, free with inj_image_free().
 * State: none.
 * Return: 0.
 * Errors: -ENOMEM.
 * Source: gABI chapter 5, "Program Header"; PT_GNU_RELRO as the dynamic linker rounds it.
 */
int inj_image_layout(const struct inj_patch *patch, struct inj_image **ret, struct inj_why *why);
void inj_image_free(struct inj_image *image);
INJ_DEFINE_GUARD(struct inj_image *, inj_image_free, inj_image_guard)

/* What an external symbol is bound to. */
struct inj_binding {
	inj_addr address;       /* functions and data */
	bool is_tls;
	uint64_t tls_module_id; /* DTPMOD64 */
	uint64_t tls_offset;    /* DTPOFF64: bytes from the start of the module's block */
	int64_t tp_offset;      /* TPOFF64: bytes from the thread pointer; if the external wants it */
};

/*
 * Run an indirect function's resolver at a target address.
 * ret: the implementation's address, not 0.
 * Return: 0; anything else ends the linking and is passed on.
 */
typedef int (*inj_run_ifunc_fn)(void *context, inj_addr resolver, inj_addr *ret,
				struct inj_why *why);

/*
 * Link the patch for its base address. Pure but for run_ifunc.
 * base: where the target sees the image, page aligned. bindings: one per patch->externals, in that
 *   order; an unresolved weak symbol has address 0. run_ifunc: called for IRELATIVE relocations and
 *   for IFUNC symbols of the patch itself, after everything else is linked; NULL: such patches are
 *   refused. context: handed to run_ifunc. bytes: image->bytes of zeroed memory that will be the
 *   target's pages (a view of the shared memfd); final when this returns 0.
 * State: none of its own; run_ifunc has its own demands.
 * Return: 0.
 * Errors: INJ_UNSUPPORTED_RELOCATION (an addend that leaves the address space, an indirect function
 *   without resolver); INJ_UNSUPPORTED_TLS (thread-local on one side only); INJ_BAD_PATCH (unwind
 *   table that cannot be copied); whatever run_ifunc refuses; -EINVAL for an impossible base.
 * Source: psABI x86-64, 4.4 Relocation; Oliva, "Thread-Local Storage Descriptors for IA32 and
 *   AMD64/EM64T".
 */
int inj_image_link(const struct inj_image *image, inj_addr base, const struct inj_binding *bindings,
		   inj_run_ifunc_fn run_ifunc, void *context, uint8_t *bytes, struct inj_why *why);

/*
 * The words that inj_image_link() writes only after a resolver has run, as far as the target may
 * write there too. A resolver that stores into its page (__builtin_cpu_init() does, into .bss)
 * gives the target a private copy of it, and our view of the memfd no longer reaches that copy: so
 * once linking is done, each of these words must be written into the target itself.
 * ret_offsets: from the image's base, 8 bytes each, malloc'ed, the caller's; NULL when there are
 *   none, as in every patch without indirect functions of its own.
 * State: none; pure.
 * Return: 0.
 * Errors: -ENOMEM.
 * Source: mmap(2), MAP_PRIVATE.
 */
int inj_image_late_words(const struct inj_image *image, uint64_t **ret_offsets, size_t *ret_n,
			 struct inj_why *why);

#endif
