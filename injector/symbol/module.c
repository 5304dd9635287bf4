/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the list of modules of one target: which of them is the main program, their order, and
 * finding them by address and name. Always holds: there is a main program and it comes first;
 * by_address is sorted and its spans do not overlap. Refuses a target whose main program cannot be
 * read.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "injector/base/bisect.h"
#include "injector/symbol/scan-priv.h"

static int load_gone(const struct inj_process *process, int r, struct inj_why *why)
{
	if (r == -ESRCH)
		return inj_refuse(why, INJ_PROCESS_GONE,
				  "process %d went away while its modules were read",
				  (int)process->pid);
	return inj_broke(why, r, "cannot read the modules of process %d", (int)process->pid);
}

static const struct lost_module *find_lost(const struct own_modules *modules, const char *name)
{
	for (size_t i = 0; i < modules->n_lost; i++)
		if (strcmp(modules->lost[i].name, name) == 0)
			return &modules->lost[i];
	return NULL;
}

static struct own_module *module_at(const struct own_modules *modules, inj_addr address)
{
	struct own_module *const *sorted = modules->by_address;
	size_t low = INJ_COUNT_WHILE(modules->public.n_items, i,
				     sorted[i]->public.span.start <= address);

	if (low == 0 || !inj_range_has(modules->by_address[low - 1]->public.span, address))
		return NULL;
	return modules->by_address[low - 1];
}

/* The program that the kernel was asked to run, by what it told it about itself. */
static struct own_module *find_by_auxv(const struct own_modules *modules, const struct auxv *auxv)
{
	struct own_module *module = module_at(modules, auxv->program_headers);

	if (!module || module->public.bias + inj_elf_header(module->elf)->e_entry != auxv->entry)
		return NULL;
	return module;
}

/* A restored checkpoint may come with another auxiliary vector: the mapping of /proc/PID/exe. */
static struct own_module *find_by_exe(const struct own_modules *modules,
				      const struct inj_maps *maps)
{
	INJ_CLOSE int fd = inj_process_openat(modules->public.process, "exe", O_PATH);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		return NULL;
	for (size_t i = 0; i < maps->n_items; i++) {
		const struct inj_map *map = &maps->items[i];

		if (map->inode != status.st_ino || map->dev_major != major(status.st_dev) ||
		    map->dev_minor != minor(status.st_dev))
			continue;
		struct own_module *module = module_at(modules, map->range.start);

		if (module)
			return module;
	}
	return NULL;
}

static int refuse_main(const struct own_modules *modules, struct inj_why *why)
{
	const struct inj_process *process = modules->public.process;
	char exe[sizeof(process->exe)];

	clean_path(process->exe, exe, sizeof(exe));
	const struct lost_module *lost = find_lost(modules, path_base(exe));

	return inj_refuse(
		why, INJ_UNSUPPORTED_PROCESS, "the program of process %d (%s) cannot be read: %s",
		(int)process->pid, process->exe,
		lost ? lost->why.text
		     : "no mapping of it looks like a loaded program; restart the process");
}

static int compare_order(const void *left, const void *right)
{
	const struct own_module *a = *(struct own_module *const *)left;
	const struct own_module *b = *(struct own_module *const *)right;

	bool a_main = a->public.kind == INJ_MODULE_MAIN;
	bool b_main = b->public.kind == INJ_MODULE_MAIN;

	if (a_main != b_main)
		return a_main ? -1 : 1;
	if (a->order != b->order)
		return a->order < b->order ? -1 : 1;
	if (a->public.span.start == b->public.span.start)
		return 0;
	return a->public.span.start < b->public.span.start ? -1 : 1;
}

/*
 * Started as `ld.so program`, the kernel knows the loader as the program; the loader knows better,
 * and its list begins with the real one.
 */
static struct own_module *real_main(struct own_modules *modules, struct own_module *kernels)
{
	size_t ignored;

	if (inj_elf_dynamic_lookup(kernels->elf, "_r_debug", NULL, &ignored) < 0)
		return kernels;
	link_map_order(modules, kernels->public.span.start);
	for (size_t i = 0; i < modules->public.n_items; i++)
		if (modules->by_address[i]->order == 0)
			return modules->by_address[i];
	return kernels;
}

/* Say who is who and put them in order. */
static int order_modules(struct own_modules *modules, const struct inj_maps *maps,
			 const struct auxv *auxv, struct inj_why *why)
{
	size_t n = modules->public.n_items;
	struct own_module *kernels = find_by_auxv(modules, auxv);

	if (!kernels)
		kernels = find_by_exe(modules, maps);
	if (!kernels)
		return refuse_main(modules, why);
	modules->public.items = calloc(n, sizeof(*modules->public.items));
	if (!modules->public.items)
		return load_gone(modules->public.process, -ENOMEM, why);
	struct own_module *interpreter = auxv->base ? module_at(modules, auxv->base) : NULL;
	struct own_module *main = real_main(modules, kernels);

	if (main != kernels)
		interpreter = kernels;
	else if (interpreter)
		link_map_order(modules, interpreter->public.span.start);
	if (interpreter && interpreter != main)
		interpreter->public.kind = INJ_MODULE_INTERPRETER;
	main->public.kind = INJ_MODULE_MAIN;
	memcpy(modules->public.items, modules->by_address, n * sizeof(*modules->public.items));
	qsort(modules->public.items, n, sizeof(*modules->public.items), compare_order);
	return 0;
}

/* The main program goes by the name of its file, even if it has a SONAME. */
static void name_main(const struct own_modules *modules)
{
	struct inj_module *main = modules->public.items[0];
	char path[sizeof(main->path)];

	clean_path(main->path, path, sizeof(path));
	snprintf(main->name, sizeof(main->name), "%s", path_base(path));
}

int inj_modules_load(const struct inj_process *process, const struct inj_maps *maps,
		     struct inj_modules **ret, struct inj_why *why)
{
	struct own_modules *own = calloc(1, sizeof(*own));
	INJ_CLEANUP(inj_modules_guard) struct inj_modules *modules = own ? &own->public : NULL;
	struct auxv auxv;

	if (!modules)
		return load_gone(process, -ENOMEM, why);
	modules->process = process;
	own->large_table = LARGE_TABLE;
	int r = auxv_read(process, &auxv);

	if (r == 0)
		r = module_scan(own, maps, &auxv);
	if (r < 0)
		return load_gone(process, r, why);
	r = order_modules(own, maps, &auxv, why);
	if (r)
		return r;
	name_main(own);
	*ret = INJ_TAKE(modules);
	return 0;
}

void inj_modules_free(struct inj_modules *modules)
{
	if (!modules)
		return;
	struct own_modules *own = own_modules(modules);

	for (size_t i = 0; i < modules->n_items; i++)
		module_free(own->by_address[i]);
	free(own->by_address);
	free(own->lost);
	free(modules->items);
	free(own);
}

const struct inj_module *inj_modules_main(const struct inj_modules *modules)
{
	return modules->items[0];
}

const struct inj_module *inj_modules_at(const struct inj_modules *modules, inj_addr address)
{
	const struct own_module *module = module_at(own_modules(modules), address);

	return module ? &module->public : NULL;
}

static bool has_name(const struct inj_module *module, const char *name)
{
	char path[sizeof(module->path)];

	if (strcmp(module->name, name) == 0)
		return true;
	clean_path(module->path, path, sizeof(path));
	return strcmp(name[0] == '/' ? path : path_base(path), name) == 0;
}

const struct inj_module *inj_modules_named(const struct inj_modules *modules, const char *name)
{
	for (size_t i = 0; i < modules->n_items; i++)
		if (has_name(modules->items[i], name))
			return modules->items[i];
	return NULL;
}

/* Why a module of that name is not among the items; NULL when there is none. */
const struct inj_why *module_lost_why(const struct inj_modules *modules, const char *name)
{
	const struct lost_module *lost = find_lost(own_modules(modules), path_base(name));

	return lost ? &lost->why : NULL;
}
