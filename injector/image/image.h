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
	inj_addr resolver;      /* an indirect function of the target that is not bound yet; address
				   is nothing then */
	bool is_tls;
	uint64_t tls_module_id; /* DTPMOD64 */
	uint64_t tls_offset;    /* DTPOFF64: bytes from the start of the module's block */
	int64_t tp_offset;      /* TPOFF64: bytes from the thread pointer; if the external wants
				   it */
};

/* A word of the image that is what a resolver answers, plus the addend. */
struct inj_late_word {
	uint64_t offset;   /* from the image's base, 8 bytes */
	inj_addr resolver; /* to be run in the target */
	int64_t addend;
};

/*
 * In the order in which they are to be filled: those of the target's resolvers first, because the
 * patch's own may use them. A resolver that stores into its page (__builtin_cpu_init() does, into
 * .bss) gives the target a private copy of it, and our view of the memfd no longer reaches that
 * copy: words in writable parts must then be written into the target itself.
 */
struct inj_late_words {
	struct inj_late_word *items;
	size_t n_items;
};
void inj_late_words_deinit(struct inj_late_words *late);

/*
 * Link the patch for its base address. Pure.
 * base: where the target sees the image, page aligned. bindings: one per patch->externals, in that
 *   order; an unresolved weak symbol has address 0. bytes: image->bytes of zeroed memory that will
 *   be the target's pages; final when this returns 0, but for the late words. late: emptied list,
 *   to be freed with inj_late_words_deinit() also after a failure; NULL: patches with such words
 *   are refused.
 * State: none.
 * Return: 0.
 * Errors: INJ_UNSUPPORTED_RELOCATION (an addend that leaves the address space, an indirect function
 *   without resolver); INJ_UNSUPPORTED_TLS (thread-local on one side only); INJ_BAD_PATCH (unwind
 *   table that cannot be copied); -EINVAL for an impossible base; -ENOMEM.
 * Source: psABI x86-64, 4.4 Relocation; Oliva, "Thread-Local Storage Descriptors for IA32 and
 *   AMD64/EM64T".
 */
int inj_image_link(const struct inj_image *image, inj_addr base, const struct inj_binding *bindings,
		   uint8_t *bytes, struct inj_late_words *late, struct inj_why *why);

#endif
