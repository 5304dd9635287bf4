/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Turns the mappings of a target into modules. A mapping starts a module when its file is ELF, its
 * offset is that of the file's first PT_LOAD, and executable memory lies where the program headers
 * put the code; that tells modules from files that are merely mapped for reading. Everything up to
 * the end of the layout then belongs to it. Always holds: spans do not overlap, of each module the
 * file is open and agrees with memory. What cannot be read is remembered with the reason.
 */
#include <string.h>
#include <sys/mman.h>

#include "injector/process/mem.h"
#include "injector/symbol/scan-priv.h"

#define VDSO_MAX_BYTES (256 * 1024)

static bool is_ours(const struct inj_map *map)
{
	return strncmp(map->name, "/memfd:dsu:", strlen("/memfd:dsu:")) == 0;
}

/* Cheap tests first: a database maps thousands of data files. */
static bool may_start_module(const struct inj_process *process, const struct inj_map *map)
{
	char magic[SELFMAG];

	if (map->inode == 0 || map->name[0] != '/' || is_ours(map))
		return false;
	if (map->offset != 0)
		return map->prot & PROT_EXEC;
	return inj_mem_read(process, map->range.start, magic, sizeof(magic)) == 0 &&
	       memcmp(magic, ELFMAG, sizeof(magic)) == 0;
}

static const Elf64_Phdr *first_load(const struct inj_elf *elf)
{
	size_t n;
	const Elf64_Phdr *segments = inj_elf_segments(elf, &n);

	for (size_t i = 0; i < n; i++)
		if (segments[i].p_type == PT_LOAD)
			return &segments[i];
	return NULL;
}

/* Is executable memory where the code of the file should be? At least one segment must have some.
 */
static bool code_is_mapped(const struct inj_elf *elf, inj_addr bias, const struct inj_maps *maps)
{
	size_t n;
	const Elf64_Phdr *segments = inj_elf_segments(elf, &n);
	bool any = false;

	for (size_t i = 0; i < n; i++) {
		if (segments[i].p_type != PT_LOAD || !(segments[i].p_flags & PF_X) ||
		    !segments[i].p_filesz)
			continue;
		const struct inj_map *map = inj_maps_find(maps, bias + segments[i].p_vaddr);

		if (!map || !(map->prot & PROT_EXEC))
			return false;
		any = true;
	}
	return any;
}

static bool find_layout(const struct inj_elf *elf, inj_addr start, uint64_t offset,
			inj_addr *ret_bias, struct inj_range *ret_span)
{
	const Elf64_Phdr *first = first_load(elf);
	size_t n;
	const Elf64_Phdr *segments = inj_elf_segments(elf, &n);
	uint64_t end = 0;

	if (!first || INJ_PAGE_DOWN(first->p_offset) != offset)
		return false;
	/* Checked at open: PT_LOADs ascend and end below the last page of the address space. */
	for (size_t i = 0; i < n; i++)
		if (segments[i].p_type == PT_LOAD)
			end = segments[i].p_vaddr + segments[i].p_memsz;
	uint64_t bytes = INJ_PAGE_UP(end) - INJ_PAGE_DOWN(first->p_vaddr);

	if (bytes == 0 || start > UINT64_MAX - bytes)
		return false;
	*ret_bias = start - INJ_PAGE_DOWN(first->p_vaddr);
	*ret_span = (struct inj_range){start, start + bytes};
	return inj_elf_header(elf)->e_type != ET_EXEC || *ret_bias == 0;
}

static void set_names(struct own_module *module, const char *raw_path)
{
	struct inj_module *public = &module->public;
	const char *soname = inj_elf_soname(module->elf);
	char path[4096];

	clean_path(raw_path, path, sizeof(path));
	snprintf(public->path, sizeof(public->path), "%s", raw_path);
	snprintf(public->name, sizeof(public->name), "%s",
		 soname && *soname ? soname : path_base(path));
	inj_printable(public->path);
	inj_printable(public->name);
}

static void set_build_id(struct inj_module *module)
{
	size_t n;
	const uint8_t *id = inj_elf_build_id(module->elf, &n);

	if (n > INJ_BUILD_ID_MAX)
		n = INJ_BUILD_ID_MAX;
	module->n_build_id = n;
	for (size_t i = 0; i < n; i++) {
		module->build_id[i] = id[i];
		snprintf(module->build_id_hex + 2 * i, 3, "%02x", id[i]);
	}
}

/* elf: taken over. */
static struct own_module *module_new(struct inj_elf *elf, const char *raw_path, inj_addr bias,
				     struct inj_range span)
{
	struct own_module *module = calloc(1, sizeof(*module));

	if (!module) {
		inj_elf_close(elf);
		return NULL;
	}
	module->elf = elf;
	module->order = SIZE_MAX;
	module->public.kind = INJ_MODULE_LIBRARY;
	module->public.elf = elf;
	module->public.bias = bias;
	module->public.span = span;
	set_names(module, raw_path);
	set_build_id(&module->public);
	return module;
}

static int add_module(struct own_modules *modules, struct own_module *module)
{
	if (modules->public.n_items == modules->n_allocated) {
		size_t n = modules->n_allocated ? 2 * modules->n_allocated : 32;
		void *items = reallocarray(modules->by_address, n, sizeof(*modules->by_address));

		if (!items)
			return -ENOMEM;
		modules->by_address = items;
		modules->n_allocated = n;
	}
	modules->by_address[modules->public.n_items++] = module;
	return 0;
}

static int add_lost(struct own_modules *modules, const char *raw_path, const struct inj_why *why)
{
	struct lost_module *lost =
		reallocarray(modules->lost, modules->n_lost + 1, sizeof(*modules->lost));
	char path[4096];

	if (!lost)
		return -ENOMEM;
	modules->lost = lost;
	clean_path(raw_path, path, sizeof(path));
	lost += modules->n_lost++;
	lost->why = *why;
	snprintf(lost->name, sizeof(lost->name), "%s", path_base(path));
	inj_printable(lost->name);
	return 0;
}

/* Start a module at this mapping if one starts there. *ret_end: where the scan goes on. */
static int scan_map(struct own_modules *modules, const struct inj_maps *maps,
		    const struct inj_map *map, inj_addr *ret_end)
{
	const struct inj_process *process = modules->public.process;
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *elf = NULL;
	struct inj_why why = {0};
	struct inj_range span;
	inj_addr bias;

	if (!may_start_module(process, map))
		return 0;
	int r = module_file_open(process, map, &elf, &why);

	if (r)
		return r == -ESRCH || r == -ENOMEM ? r : add_lost(modules, map->name, &why);
	if (!find_layout(elf, map->range.start, map->offset, &bias, &span) ||
	    !code_is_mapped(elf, bias, maps))
		return 0;
	struct own_module *module = module_new(INJ_TAKE(elf), map->name, bias, span);

	if (!module)
		return -ENOMEM;
	r = add_module(modules, module);
	if (r < 0)
		module_free(module);
	else
		*ret_end = span.end;
	return r;
}

/* The kernel's own library has no file; its memory is a whole one. */
static int scan_vdso(struct own_modules *modules, const struct inj_map *map)
{
	size_t bytes = map->range.end - map->range.start;
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *elf = NULL;
	struct inj_range span;
	inj_addr bias;

	if (bytes > VDSO_MAX_BYTES)
		return 0;
	INJ_FREE void *copy = malloc(bytes);

	if (!copy)
		return -ENOMEM;
	/* Nobody patches the vDSO: one that cannot be read is just not there. */
	if (inj_mem_read(modules->public.process, map->range.start, copy, bytes) < 0 ||
	    inj_elf_open_owned(INJ_TAKE(copy), bytes, "[vdso]", &elf, NULL) != 0 ||
	    !find_layout(elf, map->range.start, 0, &bias, &span))
		return 0;
	struct own_module *module = module_new(INJ_TAKE(elf), "[vdso]", bias, span);

	if (!module)
		return -ENOMEM;
	module->public.kind = INJ_MODULE_VDSO;
	int r = add_module(modules, module);

	if (r < 0)
		module_free(module);
	return r;
}

/* Fill by_address and lost. Return: 0 or negative errno. */
int module_scan(struct own_modules *modules, const struct inj_maps *maps, const struct auxv *auxv)
{
	inj_addr end = 0;

	for (size_t i = 0; i < maps->n_items; i++) {
		const struct inj_map *map = &maps->items[i];
		int r;

		if (map->range.start < end || modules->public.n_items >= MODULES_MAX)
			continue;
		if (map->inode == 0 && auxv->vdso == map->range.start)
			r = scan_vdso(modules, map);
		else
			r = scan_map(modules, maps, map, &end);
		if (r < 0)
			return r;
	}
	return 0;
}

void module_free(struct own_module *module)
{
	if (!module)
		return;
	symtab_free(module->public.index);
	inj_elf_close(module->debug);
	inj_elf_close(module->elf);
	free(module);
}
