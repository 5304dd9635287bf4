/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the unwind tables of a target are. Owns the sorted lists that lead from a pc to its frame
 * description entry and to the unchanging bytes of the module files. Nothing of the target is read
 * and no file is opened: the modules' ELF views hold the bytes. An .eh_frame_hdr with the search
 * table every linker writes is used as it stands (a hostile one can only lead to an entry that does
 * not cover the pc, which is noticed); for anything else an index is built.
 */
#include <string.h>
#include <sys/mman.h>

#include "injector/unwind/unwind-tables.h"

enum {
	MAX_SEGMENTS = 256, /* of one module that we look at */
	MAX_TRAMPOLINES = 64,
	MAX_INDEX = 4 * 1024 * 1024,
	SEARCH_ENTRY_BYTES = 8,
};

static int grow(void **items, size_t n, size_t size)
{
	/* Doubling at powers of two needs no capacity to be kept. */
	if (n & (n - 1))
		return 0;
	void *larger = reallocarray(*items, n ? 2 * n : 1, size);

	if (!larger)
		return -ENOMEM;
	*items = larger;
	return 0;
}

static int add_area(struct inj_unwind_tables *tables, struct inj_bytes area)
{
	if (grow((void **)&tables->areas, tables->n_areas, sizeof(*tables->areas)))
		return -ENOMEM;
	tables->areas[tables->n_areas++] = area;
	return 0;
}

static int add_trampoline(struct inj_unwind_tables *tables, struct inj_range code)
{
	if (tables->n_trampolines == MAX_TRAMPOLINES)
		return 0;
	if (grow((void **)&tables->trampolines, tables->n_trampolines,
		 sizeof(*tables->trampolines)))
		return -ENOMEM;
	tables->trampolines[tables->n_trampolines++] = code;
	return 0;
}

static int compare_entries(const void *a, const void *b)
{
	const struct inj_fde_entry *x = a, *y = b;

	return x->code < y->code ? -1 : x->code > y->code;
}

static int build_index(struct inj_unwind_table *table)
{
	inj_addr position = table->frames.address;
	struct inj_cfi cfi;

	while (inj_cfi_next(table->frames, &position, &cfi) && table->n_index < MAX_INDEX) {
		if (cfi.code.start == cfi.code.end)
			continue;
		if (grow((void **)&table->index, table->n_index, sizeof(*table->index)))
			return -ENOMEM;
		table->index[table->n_index++] = (struct inj_fde_entry){cfi.code.start, cfi.fde};
	}
	if (table->n_index)
		qsort(table->index, table->n_index, sizeof(*table->index), compare_entries);
	return 0;
}

/* Trampolines by their unwind tables: the entries marked as signal frames. */
static int collect_marked_trampolines(struct inj_unwind_tables *tables,
				      const struct inj_unwind_table *table)
{
	inj_addr position = table->frames.address;
	struct inj_cfi cfi;

	if (!inj_cfi_has_signal_frames(table->frames))
		return 0;
	while (inj_cfi_next(table->frames, &position, &cfi))
		if (cfi.code.start != cfi.code.end && (cfi.flags & INJ_CFI_SIGNAL) &&
		    add_trampoline(tables, cfi.code))
			return -ENOMEM;
	return 0;
}

static const Elf64_Phdr *segment_of(const struct inj_elf *elf, uint64_t vaddr)
{
	size_t n;
	const Elf64_Phdr *segments = inj_elf_segments(elf, &n);

	for (size_t i = 0; i < n; i++)
		if (segments[i].p_type == PT_LOAD && vaddr >= segments[i].p_vaddr &&
		    vaddr - segments[i].p_vaddr < segments[i].p_filesz)
			return &segments[i];
	return NULL;
}

/* All file-backed bytes from a link-time address to the end of its segment. */
static struct inj_bytes bytes_from(const struct inj_module *module, uint64_t vaddr)
{
	const Elf64_Phdr *segment = segment_of(module->elf, vaddr);

	if (!segment)
		return (struct inj_bytes){0};
	size_t n = segment->p_filesz - (vaddr - segment->p_vaddr);
	const uint8_t *data = inj_elf_bytes_at(module->elf, vaddr, n);

	return (struct inj_bytes){vaddr + module->bias, data, data ? n : 0};
}

static int64_t read_s32(const uint8_t *at)
{
	int32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* The header as linkers write it: version 1, pcrel sdata4, udata4, datarel sdata4. */
static bool use_header(const struct inj_module *module, uint64_t vaddr,
		       struct inj_unwind_table *table)
{
	struct inj_bytes header = bytes_from(module, vaddr);

	if (header.n < 12 || header.data[0] != 1 || header.data[1] != 0x1b)
		return false;
	uint64_t frames = vaddr + 4 + (uint64_t)read_s32(header.data + 4);

	table->frames = bytes_from(module, frames);
	if (!table->frames.n || header.data[2] != 0x03 || header.data[3] != 0x3b)
		return false;
	uint32_t n;

	memcpy(&n, header.data + 8, sizeof(n));
	if (!n || n > (header.n - 12) / SEARCH_ENTRY_BYTES)
		return false;
	table->header = header.address;
	table->search = (struct inj_bytes){header.address + 12, header.data + 12,
					   (size_t)n * SEARCH_ENTRY_BYTES};
	return true;
}

static bool use_section(const struct inj_module *module, struct inj_unwind_table *table)
{
	const struct inj_elf_section *section = inj_elf_section_named(module->elf, ".eh_frame");

	if (!section || !section->bytes || !(section->flags & SHF_ALLOC))
		return false;
	table->frames =
		(struct inj_bytes){section->address + module->bias, section->bytes, section->size};
	return true;
}

static int add_table(struct inj_unwind_tables *tables, struct inj_unwind_table *table)
{
	if ((!table->search.n && build_index(table)) ||
	    grow((void **)&tables->items, tables->n_items, sizeof(*tables->items))) {
		free(table->index);
		return -ENOMEM;
	}
	tables->items[tables->n_items++] = *table;
	return 0;
}

/* mov $15,%eax or %rax; syscall: a trampoline that no table marks. */
static int search_trampolines(struct inj_unwind_tables *tables, struct inj_bytes code)
{
	static const uint8_t forms[2][9] = {
		{0xb8, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05},
		{0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05},
	};
	static const size_t lengths[2] = {7, 9};

	for (size_t form = 0; form < 2; form++) {
		const uint8_t *at = code.data, *end = code.data + code.n;

		while ((at = memmem(at, (size_t)(end - at), forms[form], lengths[form]))) {
			inj_addr start = code.address + (inj_addr)(at - code.data);

			if (!inj_unwind_tables_trampoline(tables, start) &&
			    add_trampoline(tables,
					   (struct inj_range){start, start + lengths[form]}))
				return -ENOMEM;
			at += lengths[form];
		}
	}
	return 0;
}

/* C libraries without unwind tables and programs that bring a runtime of their own (static ones).
 */
static bool may_hide_trampoline(const struct inj_module *module)
{
	return module->kind == INJ_MODULE_MAIN || module->kind == INJ_MODULE_INTERPRETER ||
	       !strncmp(module->name, "libc.", 5) || !strncmp(module->name, "ld-musl", 7);
}

static int add_segments(struct inj_unwind_tables *tables, const struct inj_module *module,
			bool search, struct inj_range *ret_code)
{
	size_t n;
	const Elf64_Phdr *segments = inj_elf_segments(module->elf, &n);

	*ret_code = (struct inj_range){UINT64_MAX, 0};
	for (size_t i = 0; i < n && i < MAX_SEGMENTS; i++) {
		const Elf64_Phdr *segment = &segments[i];

		if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W) || !segment->p_filesz)
			continue;
		struct inj_bytes area = bytes_from(module, segment->p_vaddr);

		if (!area.n)
			continue;
		if (add_area(tables, area))
			return -ENOMEM;
		if (!(segment->p_flags & PF_X))
			continue;
		if (search && search_trampolines(tables, area))
			return -ENOMEM;
		if (area.address < ret_code->start)
			ret_code->start = area.address;
		if (area.address + area.n > ret_code->end)
			ret_code->end = area.address + area.n;
	}
	return 0;
}

static int add_module(struct inj_unwind_tables *tables, const struct inj_module *module)
{
	struct inj_unwind_table table = {.code = {0, 0}};
	size_t n;
	const Elf64_Phdr *segments = inj_elf_segments(module->elf, &n);
	bool found = false;
	size_t n_trampolines = tables->n_trampolines;

	for (size_t i = 0; i < n && !found; i++)
		if (segments[i].p_type == PT_GNU_EH_FRAME)
			found = use_header(module, segments[i].p_vaddr, &table) || table.frames.n;
	if (!found)
		found = use_section(module, &table);
	if (found && collect_marked_trampolines(tables, &table))
		return -ENOMEM;
	bool search = tables->n_trampolines == n_trampolines && may_hide_trampoline(module);

	if (add_segments(tables, module, search, &table.code))
		return -ENOMEM;
	return found && table.code.end ? add_table(tables, &table) : 0;
}

static int add_own(struct inj_unwind_tables *tables, const struct inj_walker_table *own)
{
	struct inj_unwind_table table = {
		.code = own->code,
		.frames = {own->eh_frame, own->bytes, own->n_bytes},
	};

	if (!own->bytes || !own->n_bytes)
		return 0;
	return add_area(tables, table.frames) ? -ENOMEM : add_table(tables, &table);
}

static int compare_tables(const void *a, const void *b)
{
	const struct inj_unwind_table *x = a, *y = b;

	return x->code.start < y->code.start ? -1 : x->code.start > y->code.start;
}

static int compare_areas(const void *a, const void *b)
{
	const struct inj_bytes *x = a, *y = b;

	return x->address < y->address ? -1 : x->address > y->address;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct inj_range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static void sort(void *items, size_t n, size_t size, int (*compare)(const void *, const void *))
{
	if (n > 1)
		qsort(items, n, size, compare);
}

static int add_code(struct inj_unwind_tables *tables, const struct inj_maps *maps)
{
	for (size_t i = 0; i < maps->n_items; i++) {
		if (!(maps->items[i].prot & PROT_EXEC))
			continue;
		if (grow((void **)&tables->code, tables->n_code, sizeof(*tables->code)))
			return -ENOMEM;
		tables->code[tables->n_code++] = maps->items[i].range;
	}
	return 0;
}

int inj_unwind_tables_init(struct inj_unwind_tables *ret, const struct inj_maps *maps,
			   const struct inj_modules *modules, const struct inj_walker_table *own,
			   size_t n_own)
{
	*ret = (struct inj_unwind_tables){0};
	if (add_code(ret, maps))
		return -ENOMEM;
	for (size_t i = 0; modules && i < modules->n_items; i++)
		if (modules->items[i]->elf && add_module(ret, modules->items[i]))
			return -ENOMEM;
	for (size_t i = 0; i < n_own; i++)
		if (add_own(ret, &own[i]))
			return -ENOMEM;
	sort(ret->items, ret->n_items, sizeof(*ret->items), compare_tables);
	sort(ret->areas, ret->n_areas, sizeof(*ret->areas), compare_areas);
	sort(ret->code, ret->n_code, sizeof(*ret->code), compare_ranges);
	sort(ret->trampolines, ret->n_trampolines, sizeof(*ret->trampolines), compare_ranges);
	return 0;
}

void inj_unwind_tables_deinit(struct inj_unwind_tables *tables)
{
	for (size_t i = 0; i < tables->n_items; i++)
		free(tables->items[i].index);
	free(tables->items);
	free(tables->areas);
	free(tables->code);
	free(tables->trampolines);
	*tables = (struct inj_unwind_tables){0};
}

static inj_addr search_code(const struct inj_unwind_table *table, size_t i)
{
	if (!table->search.n)
		return table->index[i].code;
	return table->header + (inj_addr)read_s32(table->search.data + i * SEARCH_ENTRY_BYTES);
}

static inj_addr search_fde(const struct inj_unwind_table *table, size_t i)
{
	if (!table->search.n)
		return table->index[i].fde;
	return table->header + (inj_addr)read_s32(table->search.data + i * SEARCH_ENTRY_BYTES + 4);
}

static int find_in(const struct inj_unwind_table *table, inj_addr pc, struct inj_cfi *ret)
{
	size_t low = 0,
	       high = table->search.n ? table->search.n / SEARCH_ENTRY_BYTES : table->n_index;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (pc < search_code(table, middle))
			high = middle;
		else
			low = middle + 1;
	}
	if (!high)
		return -ENOENT;
	int r = inj_cfi_read(table->frames, search_fde(table, high - 1), ret);

	if (r < 0)
		return -EBADMSG;
	return inj_range_has(ret->code, pc) ? 0 : -ENOENT;
}

int inj_unwind_tables_find(const struct inj_unwind_tables *tables, inj_addr pc, struct inj_cfi *ret,
			   struct inj_bytes *ret_frames)
{
	size_t low = 0, high = tables->n_items;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (pc < tables->items[middle].code.start)
			high = middle;
		else
			low = middle + 1;
	}
	if (!high || !inj_range_has(tables->items[high - 1].code, pc))
		return -ENOENT;
	*ret_frames = tables->items[high - 1].frames;
	return find_in(&tables->items[high - 1], pc, ret);
}

const uint8_t *inj_unwind_tables_bytes(const struct inj_unwind_tables *tables, inj_addr address,
				       size_t *ret_n)
{
	size_t low = 0, high = tables->n_areas;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (address < tables->areas[middle].address)
			high = middle;
		else
			low = middle + 1;
	}
	if (!high || address - tables->areas[high - 1].address >= tables->areas[high - 1].n)
		return NULL;
	*ret_n = tables->areas[high - 1].n - (address - tables->areas[high - 1].address);
	return tables->areas[high - 1].data + (address - tables->areas[high - 1].address);
}

bool inj_unwind_tables_trampoline(const struct inj_unwind_tables *tables, inj_addr address)
{
	for (size_t i = 0; i < tables->n_trampolines; i++)
		if (inj_range_has(tables->trampolines[i], address))
			return true;
	return false;
}

bool inj_unwind_tables_code(const struct inj_unwind_tables *tables, inj_addr address)
{
	size_t low = 0, high = tables->n_code;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (address < tables->code[middle].start)
			high = middle;
		else
			low = middle + 1;
	}
	return high && inj_range_has(tables->code[high - 1], address);
}

bool inj_unwind_tables_follows_call(const struct inj_unwind_tables *tables, inj_addr address)
{
	uint8_t before[7];

	for (size_t i = 0; i < sizeof(before); i++) {
		size_t n;
		const uint8_t *byte =
			inj_unwind_tables_bytes(tables, address - sizeof(before) + i, &n);

		if (!byte)
			return true;
		before[i] = *byte;
	}
	if (before[2] == 0xe8)
		return true;
	/* ff /2 with 0, 1 or 4 bytes of displacement, with or without SIB */
	for (size_t i = 0; i < 6; i++)
		if (before[i] == 0xff && (before[i + 1] & 0x38) == 0x10)
			return true;
	return false;
}
