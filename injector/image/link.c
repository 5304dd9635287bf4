/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns turning a patch into the bytes of its image at one base: copies the segments, applies every
 * relocation, fills our tail, and lists the words that wait for the answer of an indirect
 * function's
 * resolver. Always holds: writes stay inside the image; a symbol that the patch defines means the
 * patch's own. Refuses what only shows once symbols are bound.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "injector/image/image-priv.h"

struct link {
	const struct inj_image *image;
	const struct inj_patch_file *file;
	const struct inj_binding *bindings;
	inj_addr base;
	uint64_t bias; /* run-time address minus patch address, modulo 2^64 */
	uint8_t *bytes;
	struct inj_late_words *late; /* may be NULL: then there may be none */
};

/* What a relocation's symbol means. */
struct meaning {
	const char *name;
	inj_addr address;
	const struct inj_binding *binding; /* NULL: defined in the patch, absolute, or nothing */
};

static void put_word(const struct link *link, uint64_t vaddr, uint64_t value)
{
	memcpy(link->bytes + (vaddr - link->image->vaddr_base), &value, sizeof(value));
}

static void copy_segments(const struct link *link)
{
	const struct inj_elf *elf = link->image->patch->elf;
	size_t n = 0;
	const Elf64_Phdr *segments = inj_elf_segments(elf, &n);

	for (size_t i = 0; i < n; i++) {
		if (segments[i].p_type != PT_LOAD || segments[i].p_filesz == 0)
			continue;

		const uint8_t *bytes =
			inj_elf_bytes_at(elf, segments[i].p_vaddr, segments[i].p_filesz);

		if (bytes)
			memcpy(link->bytes + (segments[i].p_vaddr - link->image->vaddr_base), bytes,
			       segments[i].p_filesz);
	}
}

static struct meaning find_meaning(const struct link *link, const struct inj_elf_rela *rela)
{
	struct meaning meaning = {.name = ""};

	if (rela->symbol == 0)
		return meaning;

	const Elf64_Sym *symbol = &link->file->symbols.symbols[rela->symbol];

	meaning.name = inj_patch_symbol_name(link->file, symbol);
	if (symbol->st_shndx == SHN_UNDEF) {
		uint32_t external = link->file->external_of[rela->symbol];

		if (external == INJ_NO_EXTERNAL)
			return meaning;
		meaning.binding = &link->bindings[external];
		meaning.name = link->image->patch->externals[external].name;
		meaning.address = meaning.binding->address;
		return meaning;
	}
	if (symbol->st_shndx == SHN_ABS) {
		meaning.address = symbol->st_value;
		return meaning;
	}
	meaning.address = symbol->st_value + link->bias;
	return meaning;
}

/* Does the place wait for the answer of a resolver of the patch's own? */
static bool is_late(const struct inj_patch_file *file, const struct inj_elf_rela *rela)
{
	enum inj_reloc_kind kind = inj_reloc_rule(rela->type)->kind;

	if (kind == INJ_RELOC_RESOLVER)
		return true;
	/* Other kinds may carry any number as their symbol. */
	if ((kind != INJ_RELOC_SYMBOL && kind != INJ_RELOC_SYMBOL_ADDEND) || rela->symbol == 0)
		return false;

	const Elf64_Sym *symbol = &file->symbols.symbols[rela->symbol];

	return ELF64_ST_TYPE(symbol->st_info) == STT_GNU_IFUNC && symbol->st_shndx != SHN_UNDEF &&
	       symbol->st_shndx != SHN_ABS;
}

/* S + A as an address: a sum that leaves the address space is no address. */
static int add_addend(const struct link *link, const struct inj_elf_rela *rela,
		      const struct meaning *meaning, uint64_t *ret, struct inj_why *why)
{
	uint64_t sum = meaning->address + (uint64_t)rela->addend;
	bool wrapped = rela->addend < 0 ? sum > meaning->address : sum < meaning->address;

	/* Nothing plus an addend stays what the compiler wrote: a number. */
	if (meaning->address && wrapped)
		return inj_refuse(why, INJ_UNSUPPORTED_RELOCATION,
				  "%s: %s at 0x%" PRIx64 " against %s: the addend 0x%" PRIx64
				  " leads out of the address space; the file is damaged",
				  link->file->label, inj_reloc_rule(rela->type)->name, rela->offset,
				  meaning->name, (uint64_t)rela->addend);
	*ret = sum;
	return 0;
}

/* The place gets what the resolver answers, and the addend. */
static int remember_word(const struct link *link, const struct inj_elf_rela *rela,
			 inj_addr resolver, const char *name, struct inj_why *why)
{
	struct inj_late_words *late = link->late;
	bool adds = inj_reloc_rule(rela->type)->kind == INJ_RELOC_SYMBOL_ADDEND;

	if (!late)
		return inj_refuse(
			why, INJ_UNSUPPORTED_RELOCATION,
			"%s: %s at 0x%" PRIx64 " needs the resolver of the indirect function %s "
			"to run, which is not possible here; define an ordinary function",
			link->file->label, inj_reloc_rule(rela->type)->name, rela->offset, name);
	if ((late->n_items & (late->n_items - 1)) == 0) {
		struct inj_late_word *grown = reallocarray(
			late->items, late->n_items ? 2 * late->n_items : 1, sizeof(*grown));

		if (!grown)
			return inj_broke(why, -ENOMEM, "No memory for the words of %s",
					 link->file->label);
		late->items = grown;
	}
	late->items[late->n_items++] = (struct inj_late_word){
		.offset = rela->offset - link->image->vaddr_base,
		.resolver = resolver,
		.addend = adds ? rela->addend : 0,
	};
	return 0;
}

static int link_address(const struct link *link, const struct inj_elf_rela *rela,
			const struct meaning *meaning, struct inj_why *why)
{
	uint64_t value = meaning->address;

	if (meaning->binding && meaning->binding->is_tls)
		return inj_refuse(why, INJ_UNSUPPORTED_TLS,
				  "%s: %s at 0x%" PRIx64
				  " wants an ordinary %s, but in the target it is thread-local; "
				  "declare it with extern __thread",
				  link->file->label, inj_reloc_rule(rela->type)->name, rela->offset,
				  meaning->name);
	if (meaning->binding && meaning->binding->resolver)
		return remember_word(link, rela, meaning->binding->resolver, meaning->name, why);
	if (inj_reloc_rule(rela->type)->kind == INJ_RELOC_SYMBOL_ADDEND) {
		int r = add_addend(link, rela, meaning, &value, why);

		if (r)
			return r;
	}
	put_word(link, rela->offset, value);
	return 0;
}

static int link_tls(const struct link *link, const struct inj_elf_rela *rela,
		    const struct meaning *meaning, struct inj_why *why)
{
	const struct inj_binding *binding = meaning->binding;

	if (!binding || !binding->is_tls)
		return inj_refuse(why, INJ_UNSUPPORTED_TLS,
				  "%s: %s at 0x%" PRIx64
				  " wants a thread-local %s, but in the target it is %s; declare "
				  "it as the target does",
				  link->file->label, inj_reloc_rule(rela->type)->name, rela->offset,
				  meaning->name,
				  binding && binding->address ? "not thread-local" : "missing");

	uint64_t addend = (uint64_t)rela->addend;

	switch (inj_reloc_rule(rela->type)->kind) {
	case INJ_RELOC_TLS_MODULE:
		put_word(link, rela->offset, binding->tls_module_id);
		break;
	case INJ_RELOC_TLS_OFFSET:
		put_word(link, rela->offset, binding->tls_offset + addend);
		break;
	case INJ_RELOC_TLS_TP:
		put_word(link, rela->offset, (uint64_t)binding->tp_offset + addend);
		break;
	default:
		put_word(link, rela->offset,
			 link->base + link->image->private_offset + INJ_TAIL_TLSDESC);
		put_word(link, rela->offset + 8, (uint64_t)binding->tp_offset + addend);
	}
	return 0;
}

/* Everything but what needs a resolver's answer. */
static int link_one(const struct link *link, const struct inj_elf_rela *rela, struct inj_why *why)
{
	enum inj_reloc_kind kind = inj_reloc_rule(rela->type)->kind;

	if (kind == INJ_RELOC_NOTHING || is_late(link->file, rela))
		return 0;
	if (kind == INJ_RELOC_BASE_ADDEND) {
		put_word(link, rela->offset, (uint64_t)rela->addend + link->bias);
		return 0;
	}

	struct meaning meaning = find_meaning(link, rela);

	if (kind == INJ_RELOC_SYMBOL_ADDEND || kind == INJ_RELOC_SYMBOL)
		return link_address(link, rela, &meaning, why);
	return link_tls(link, rela, &meaning, why);
}

/* The second pass: these resolvers are the patch's own and may use everything that the first one
 * linked. */
static int link_late(const struct link *link, const struct inj_elf_rela *rela,
		     struct inj_why *why)
{
	struct meaning meaning = {.name = "without a name",
				  .address = (uint64_t)rela->addend + link->bias};

	if (!is_late(link->file, rela))
		return 0;
	if (inj_reloc_rule(rela->type)->kind != INJ_RELOC_RESOLVER)
		meaning = find_meaning(link, rela);
	return remember_word(link, rela, meaning.address, meaning.name, why);
}

static int fill_tail(const struct link *link, struct inj_why *why)
{
	const struct inj_image *image = link->image;
	uint8_t *tail = link->bytes + image->private_offset;
	struct inj_eh_frame eh_frame;

	if (image->private_offset == image->bytes)
		return 0;
	memcpy(tail + INJ_TAIL_TLSDESC, inj_tlsdesc_code, sizeof(inj_tlsdesc_code));
	if (!inj_image_moves_eh_frame(image))
		return 0;

	int r = inj_eh_frame_find(link->file, &eh_frame, why);

	if (r)
		return r;

	uint8_t *copy = link->bytes + image->eh_frame_offset;

	/* The linked bytes, not the file's: absolute pointers have their relocations applied. */
	memcpy(copy, link->bytes + (eh_frame.vaddr - image->vaddr_base), eh_frame.bytes);
	memset(copy + eh_frame.bytes, 0, 4);
	return inj_eh_frame_move(link->file, copy, eh_frame.bytes, eh_frame.vaddr,
				 image->vaddr_base + image->eh_frame_offset, why);
}

int inj_image_link(const struct inj_image *image, inj_addr base, const struct inj_binding *bindings,
		   uint8_t *bytes, struct inj_late_words *late, struct inj_why *why)
{
	const struct inj_elf *elf = image->patch->elf;
	struct link link = {.image = image,
			    .file = inj_patch_file(image->patch),
			    .bindings = bindings,
			    .base = base,
			    .bias = base - image->vaddr_base,
			    .bytes = bytes,
			    .late = late};

	if (base % INJ_PAGE_BYTES || base + image->bytes < base)
		return inj_broke(why, -EINVAL, "No image can lie at 0x%" PRIx64, base);
	copy_segments(&link);
	for (size_t i = 0; i < inj_elf_n_relocations(elf); i++) {
		int r = link_one(&link, inj_elf_relocation_at(elf, i), why);

		if (r)
			return r;
	}

	int r = fill_tail(&link, why);

	if (r)
		return r;
	for (size_t i = 0; i < inj_elf_n_relocations(elf); i++) {
		r = link_late(&link, inj_elf_relocation_at(elf, i), why);
		if (r)
			return r;
	}
	return 0;
}

void inj_late_words_deinit(struct inj_late_words *late)
{
	free(late->items);
	*late = (struct inj_late_words){0};
}
