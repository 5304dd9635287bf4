/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the unwind tables of a target are. Owns the sorted lists that lead from a pc to its frame
 * description entry and to the unchanging bytes of the module files. Nothing of the target is read
 * and no file is opened: the modules' ELF views hold the bytes, and of a view only what is looked
 * at is read. An .eh_frame_hdr with the search table every linker writes is used as it stands (a
 * hostile one can only lead to an entry that does not cover the pc, which is noticed); for anything
 * else an index is built.
 */
#include <string.h>
#include <sys/mman.h>

#include "injector/base/bisect.h"
#include "injector/unwind/trampoline.h"

enum {
	MAX_INDEX = 4 * 1024 * 1024,
	HEADER_BYTES = 12,
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

static int add_area(struct inj_unwind_tables *tables, struct inj_constant area)
{
	if (grow((void **)&tables->areas, tables->n_areas, sizeof(*tables->areas)))
		return -ENOMEM;
	tables->areas[tables->n_areas++] = area;
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

	while (inj_cfi_next(&table->frames, &position, &cfi) && table->n_index < MAX_INDEX) {
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

/* What is in the file from a link-time address to the end of its segment; n 0 if nothing is. */
static struct inj_constant constant_from(const struct inj_module *module, uint64_t vaddr)
{
	size_t n;
	const Elf64_Phdr *segments = inj_elf_segments(module->elf, &n);

	for (size_t i = 0; i < n; i++) {
		const Elf64_Phdr *segment = &segments[i];

		if (segment->p_type == PT_LOAD && vaddr >= segment->p_vaddr &&
		    vaddr - segment->p_vaddr < segment->p_filesz)
			return (struct inj_constant){
				.address = vaddr + module->bias,
				.n = segment->p_filesz - (vaddr - segment->p_vaddr),
				.elf = module->elf,
				.bias = module->bias,
			};
	}
	return (struct inj_constant){.n = 0};
}

static int64_t read_s32(const uint8_t *at)
{
	int32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* The header as linkers write it: version 1, pcrel sdata4, udata4, datarel sdata4. */
static void use_header(const struct inj_module *module, uint64_t vaddr,
		       struct inj_unwind_table *table)
{
	struct inj_constant header = constant_from(module, vaddr);
	const uint8_t *bytes = inj_constant_bytes(&header, header.address, HEADER_BYTES);

	if (!header.n || !bytes || bytes[0] != 1 || bytes[1] != 0x1b)
		return;
	table->frames = constant_from(module, vaddr + 4 + (uint64_t)read_s32(bytes + 4));
	if (bytes[2] != 0x03 || bytes[3] != 0x3b)
		return;
	uint32_t n;

	memcpy(&n, bytes + 8, sizeof(n));
	if (!table->frames.n || n > (header.n - HEADER_BYTES) / SEARCH_ENTRY_BYTES)
		return;
	table->search = header;
	table->n_search = n;
}

static void use_section(const struct inj_module *module, struct inj_unwind_table *table)
{
	const struct inj_elf_section *section = inj_elf_section_named(module->elf, ".eh_frame");

	if (!section || section->type == SHT_NOBITS || !(section->flags & SHF_ALLOC))
		return;
	table->frames = constant_from(module, section->address);
	if (table->frames.n > section->size)
		table->frames.n = section->size;
}

static int add_table(struct inj_unwind_tables *tables, struct inj_unwind_table *table)
{
	if ((!table->n_search && build_index(table)) ||
	    grow((void **)&tables->items, tables->n_items, sizeof(*tables->items))) {
		free(table->index);
		return -ENOMEM;
	}
	tables->items[tables->n_items++] = *table;
	return 0;
}

static int add_segments(struct inj_unwind_tables *tables, const struct inj_module *module,
			struct inj_range *ret_code)
{
	size_t n;
	const Elf64_Phdr *segments = inj_elf_segments(module->elf, &n);

	*ret_code = (struct inj_range){UINT64_MAX, 0};
	for (size_t i = 0; i < n; i++) {
		if (segments[i].p_type != PT_LOAD || (segments[i].p_flags & PF_W))
			continue;
		struct inj_constant area = constant_from(module, segments[i].p_vaddr);

		if (!area.n)
			continue;
		if (add_area(tables, area))
			return -ENOMEM;
		if (!(segments[i].p_flags & PF_X))
			continue;
		if (area.address < ret_code->start)
			ret_code->start = area.address;
		if (area.address + area.n > ret_code->end)
			ret_code->end = area.address + area.n;
	}
	return 0;
}

static int add_module(struct inj_unwind_tables *tables, const struct inj_module *module)
{
	struct inj_unwind_table table = {.n_index = 0};
	size_t n;
	const Elf64_Phdr *segments = inj_elf_segments(module->elf, &n);

	for (size_t i = 0; i < n && !table.frames.n; i++)
		if (segments[i].p_type == PT_GNU_EH_FRAME)
			use_header(module, segments[i].p_vaddr, &table);
	if (!table.frames.n)
		use_section(module, &table);
	if (inj_trampolines_add(tables, module, &table.frames) ||
	    add_segments(tables, module, &table.code))
		return -ENOMEM;
	return table.frames.n && table.code.end ? add_table(tables, &table) : 0;
}

static int add_own(struct inj_unwind_tables *tables, const struct inj_walker_table *own)
{
	struct inj_unwind_table table = {
		.code = own->code,
		.frames = {.address = own->eh_frame, .n = own->n_bytes, .data = own->bytes},
	};

	if (!own->bytes || !own->n_bytes)
		return 0;
	return add_area(tables, table.frames) ? -ENOMEM : add_table(tables, &table);
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

static int compare_tables(const void *a, const void *b)
{
	const struct inj_unwind_table *x = a, *y = b;

	return x->code.start < y->code.start ? -1 : x->code.start > y->code.start;
}

static int compare_areas(const void *a, const void *b)
{
	const struct inj_constant *x = a, *y = b;

	return x->address < y->address ? -1 : x->address > y->address;
}

static void sort(void *items, size_t n, size_t size, int (*compare)(const void *, const void *))
{
	if (n > 1)
		qsort(items, n, size, compare);
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

/* Entry i of the search table. A place that cannot be read sorts before all code. */
static struct inj_fde_entry entry_at(const struct inj_unwind_table *table, size_t i)
{
	if (!table->n_search)
		return table->index[i];
	inj_addr header = table->search.address;
	const uint8_t *bytes = inj_constant_bytes(
		&table->search, header + HEADER_BYTES + i * SEARCH_ENTRY_BYTES, SEARCH_ENTRY_BYTES);

	if (!bytes)
		return (struct inj_fde_entry){0, 0};
	return (struct inj_fde_entry){
		.code = header + (inj_addr)read_s32(bytes),
		.fde = header + (inj_addr)read_s32(bytes + 4),
	};
}

static int find_in(const struct inj_unwind_table *table, inj_addr pc, struct inj_cfi *ret)
{
	const size_t n = table->n_search ? table->n_search : table->n_index;
	const size_t low = INJ_COUNT_WHILE(n, i, entry_at(table, i).code <= pc);

	if (!low)
		return -ENOENT;
	if (inj_cfi_read(&table->frames, entry_at(table, low - 1).fde, ret))
		return -EBADMSG;
	return inj_range_has(ret->code, pc) ? 0 : -ENOENT;
}

int inj_unwind_tables_find(const struct inj_unwind_tables *tables, inj_addr pc, struct inj_cfi *ret,
			   const struct inj_constant **ret_frames)
{
	const size_t low = INJ_COUNT_WHILE(tables->n_items, i, tables->items[i].code.start <= pc);

	if (!low || !inj_range_has(tables->items[low - 1].code, pc))
		return -ENOENT;
	*ret_frames = &tables->items[low - 1].frames;
	return find_in(&tables->items[low - 1], pc, ret);
}

struct inj_bytes inj_unwind_tables_bytes(const struct inj_unwind_tables *tables, inj_addr address)
{
	const size_t low = INJ_COUNT_WHILE(tables->n_areas, i, tables->areas[i].address <= address);

	const struct inj_constant *area = low ? &tables->areas[low - 1] : NULL;

	if (!area || address - area->address >= area->n)
		return (struct inj_bytes){.n = 0};
	size_t n = area->n - (address - area->address);
	/* A page and the rest of the word that begins in it. */
	size_t most = INJ_PAGE_BYTES - address % INJ_PAGE_BYTES + 8;

	n = n < most ? n : most;
	const uint8_t *data = inj_constant_bytes(area, address, n);

	return (struct inj_bytes){address, data, data ? n : 0};
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
	const size_t low = INJ_COUNT_WHILE(tables->n_code, i, tables->code[i].start <= address);

	return low && inj_range_has(tables->code[low - 1], address);
}

bool inj_unwind_tables_follows_call(const struct inj_unwind_tables *tables, inj_addr address)
{
	enum { LONGEST = 7 };
	struct inj_bytes before = inj_unwind_tables_bytes(tables, address - LONGEST);

	if (before.n < LONGEST)
		return true;
	if (before.data[LONGEST - 5] == 0xe8)
		return true;
	/* ff /2 with 0, 1 or 4 bytes of displacement, with or without SIB */
	for (size_t i = 0; i + 1 < LONGEST; i++)
		if (before.data[i] == 0xff && (before.data[i + 1] & 0x38) == 0x10)
			return true;
	return false;
}
