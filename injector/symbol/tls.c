/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the thread-local block of a module lies. The loader keeps module id and offset in its
 * private link_map; libc publishes where, for thread debuggers, as triples of bits, count and
 * offset. Where it does not, the ABI still places the main program's block. Always holds: a static
 * offset that is handed out is one that every thread's block has room for, present and future
 * threads alike. Refuses blocks that each thread allocates on first use, unless only the id is
 * wanted.
 */
#include <string.h>

#include "injector/process/mem.h"
#include "injector/symbol/symbol-priv.h"

/* Sane bounds of what the target claims. */
#define MAX_FIELD_OFFSET 16384
#define MAX_STATIC_BYTES (1U << 30)

/* Values of l_tls_offset that are no offset: not decided yet, and never static. */
#define NO_TLS_OFFSET         UINT64_C(0)
#define FORCED_DYNAMIC_OFFSET UINT64_MAX

struct field {
	uint32_t bits, count, offset;
};

static const Elf64_Phdr *tls_segment(const struct inj_module *module)
{
	size_t n;
	const Elf64_Phdr *segments = inj_elf_segments(module->elf, &n);

	for (size_t i = 0; i < n; i++)
		if (segments[i].p_type == PT_TLS)
			return &segments[i];
	return NULL;
}

/* A description among the exported symbols of whichever module is the C library. */
static bool find_field(const struct inj_modules *modules, const char *name, struct field *ret)
{
	for (size_t i = 0; i < modules->n_items; i++) {
		const struct inj_module *module = modules->items[i];
		struct inj_symbol symbol;
		struct field field;

		if (!symtab_find_exported(module, name, NULL, &symbol))
			continue;
		const uint8_t *bytes = inj_elf_bytes_at(
			module->elf, symbol.address - module->bias, sizeof(field));

		if (!bytes)
			return false;
		memcpy(&field, bytes, sizeof(field));
		if (field.bits != 64 || field.offset > MAX_FIELD_OFFSET)
			return false;
		*ret = field;
		return true;
	}
	return false;
}

static bool read_field(const struct inj_modules *modules, inj_addr link_map, const char *name,
		       uint64_t *ret)
{
	struct field field;

	return find_field(modules, name, &field) &&
	       inj_mem_read(modules->process, link_map + field.offset, ret, sizeof(*ret)) == 0;
}

/* Variant II: the first block ends at the thread pointer, at a distance that is a multiple of its
 * alignment. */
static bool first_block(const Elf64_Phdr *segment, uint64_t *ret_offset)
{
	uint64_t align = segment->p_align ? segment->p_align : 1;

	if (segment->p_memsz > MAX_STATIC_BYTES || align > MAX_STATIC_BYTES ||
	    segment->p_vaddr % align)
		return false;
	*ret_offset = (segment->p_memsz + align - 1) / align * align;
	return true;
}

static bool find_block(const struct inj_modules *modules, const struct inj_module *module,
		       const Elf64_Phdr *segment, uint64_t *ret_id, uint64_t *ret_offset)
{
	inj_addr link_map = own_module(module)->link_map;

	if (link_map &&
	    read_field(modules, link_map, "_thread_db_link_map_l_tls_modid", ret_id) &&
	    read_field(modules, link_map, "_thread_db_link_map_l_tls_offset", ret_offset))
		return *ret_id != 0;
	if (module->kind != INJ_MODULE_MAIN)
		return false;
	*ret_id = 1;
	return first_block(segment, ret_offset);
}

int inj_module_tls(const struct inj_modules *modules, const struct inj_module *module,
		   uint64_t *ret_module_id, int64_t *ret_tp_offset, struct inj_why *why)
{
	const Elf64_Phdr *segment = tls_segment(module);
	uint64_t id, offset;

	if (!segment)
		return inj_refuse(
			why, INJ_UNSUPPORTED_TLS,
			"%s has no thread-local variables; check the declaration in the patch",
			module->name);
	if (!find_block(modules, module, segment, &id, &offset))
		return inj_refuse(
			why, INJ_UNSUPPORTED_TLS,
			"cannot tell where thread-local variables of %s lie: its loader is not "
			"one that describes itself; avoid them in the patch",
			module->name);
	if (ret_tp_offset) {
		if (offset == NO_TLS_OFFSET || offset == FORCED_DYNAMIC_OFFSET ||
		    offset < segment->p_memsz || offset > MAX_STATIC_BYTES)
			return inj_refuse(
				why, INJ_UNSUPPORTED_TLS,
				"thread-local variables of %s are allocated thread by thread, "
				"at no fixed offset; build the patch with "
				"-ftls-model=global-dynamic -mtls-dialect=gnu",
				module->name);
		*ret_tp_offset = -(int64_t)offset;
	}
	*ret_module_id = id;
	return 0;
}
