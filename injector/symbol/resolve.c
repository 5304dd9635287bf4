/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Decides which symbol a name means. Two askers: a replacement names a function of the target, and
 * a patch leaves symbols undefined. Always holds: exported names are answered first and without an
 * index; a choice among several places is never made silently, except where the dynamic linker
 * itself makes it. Refuses with the candidates, or with what comes near.
 */
#include <string.h>

#include "injector/symbol/resolve-priv.h"

/* Do two paths agree from their ends, as far as both go? Compilers note what they were given. */
static bool same_file(const char *a, const char *b)
{
	size_t n_a = strlen(a), n_b = strlen(b);

	while (n_a && n_b && a[n_a - 1] == b[n_b - 1]) {
		n_a--;
		n_b--;
	}
	if (n_a == 0)
		return n_b == 0 || b[n_b - 1] == '/' || a[0] == '/';
	return n_b == 0 && (a[n_a - 1] == '/' || b[0] == '/');
}

static bool in_code(const struct inj_symbol *symbol)
{
	size_t n;
	const Elf64_Phdr *segments = inj_elf_segments(symbol->module->elf, &n);
	uint64_t value = symbol->address - symbol->module->bias;

	for (size_t i = 0; i < n; i++)
		if (segments[i].p_type == PT_LOAD && segments[i].p_flags & PF_X &&
		    value >= segments[i].p_vaddr &&
		    value - segments[i].p_vaddr < segments[i].p_memsz)
			return true;
	return false;
}

/* Hand-written assembly often forgets to say that a label is a function. */
static bool is_function(const struct inj_symbol *symbol)
{
	return symbol->type == STT_FUNC || symbol->type == STT_GNU_IFUNC ||
	       (symbol->type == STT_NOTYPE && in_code(symbol));
}

static bool version_suits(const struct question *question, const struct inj_symbol *symbol)
{
	return !question->version || !symbol->version ||
	       strcmp(question->version, symbol->version) == 0;
}

typedef bool (*keep_fn)(const struct question *question, const struct inj_symbol *symbol);

static bool keep_kind(const struct question *question, const struct inj_symbol *symbol)
{
	return version_suits(question, symbol) && (!question->function || is_function(symbol));
}

static bool keep_typed(const struct question *question, const struct inj_symbol *symbol)
{
	return symbol->type != STT_NOTYPE;
}

static bool keep_file(const struct question *question, const struct inj_symbol *symbol)
{
	return symbol->file && same_file(symbol->file, question->file);
}

static bool keep_fileless(const struct question *question, const struct inj_symbol *symbol)
{
	return !symbol->file;
}

static size_t count(const struct question *question, const struct candidates *list, keep_fn keep)
{
	size_t n = 0;

	for (size_t i = 0; i < list->n; i++)
		n += keep(question, &list->items[i]);
	return n;
}

static void filter(const struct question *question, struct candidates *list, keep_fn keep)
{
	size_t n = 0;

	for (size_t i = 0; i < list->n; i++)
		if (keep(question, &list->items[i]))
			list->items[n++] = list->items[i];
	list->n_all -= list->n - n;
	list->n = n;
}

/* Leave in the list what answers the question. */
static void narrow(struct question *question, struct candidates *list)
{
	size_t n = list->n;

	filter(question, list, keep_kind);
	question->saw_data |= list->n < n;
	if (question->function && count(question, list, keep_typed))
		filter(question, list, keep_typed);
	if (!question->file)
		return;
	n = list->n;
	if (count(question, list, keep_file) || count(question, list, keep_fileless) != 1)
		filter(question, list, keep_file);
	else
		filter(question, list, keep_fileless);
	question->saw_file |= n && !list->n;
}

static bool find_exported(const struct question *question, const struct inj_module *module,
			  struct inj_symbol *ret)
{
	struct inj_symbol symbol;

	if (question->file ||
	    !symtab_find_exported(module, question->name, question->version, &symbol) ||
	    (question->function && !is_function(&symbol)))
		return false;
	*ret = symbol;
	return true;
}

static void append(struct candidates *list, const struct inj_symbol *items, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		list->n_all++;
		if (list->n < CANDIDATES_MAX)
			list->items[list->n++] = items[i];
	}
}

/* Add what a module has, private names included. Return: 0 or -ENOMEM. */
static int find_any(struct question *question, const struct inj_module *module,
		    struct candidates *list)
{
	struct candidates found;
	int r = symtab_find(question->modules, module, question->name, &found);

	if (r < 0)
		return r;
	narrow(question, &found);
	append(list, found.items, found.n);
	list->n_all += found.n_all - found.n;
	return 0;
}

/* Other modules: exported symbols first, private ones only when nobody exports the name. */
static int find_elsewhere(struct question *question, const struct inj_module *except,
			  struct candidates *list)
{
	const struct inj_modules *modules = question->modules;
	struct inj_symbol symbol;
	int r = 0;

	for (size_t i = 0; i < modules->n_items; i++) {
		const struct inj_module *module = modules->items[i];

		if (module != except && module->kind != INJ_MODULE_VDSO &&
		    find_exported(question, module, &symbol))
			append(list, &symbol, 1);
	}
	if (list->n)
		return 0;
	for (size_t i = 0; i < modules->n_items && r == 0; i++) {
		const struct inj_module *module = modules->items[i];

		if (module != except && module->kind != INJ_MODULE_VDSO)
			r = find_any(question, module, list);
	}
	return r;
}

static int memory_short(const struct question *question, int r, struct inj_why *why)
{
	return inj_broke(why, r, "cannot look for %s", question->name);
}

/* Exactly one candidate, or a refusal. */
static int take_only(const struct question *question, const struct candidates *list,
		     struct inj_symbol *ret, struct inj_why *why)
{
	if (list->n_all == 0)
		return refuse_missing(question, why);
	if (list->n_all > 1)
		return refuse_ambiguous(question, list, why);
	*ret = list->items[0];
	return 0;
}

static int find_function(struct question *question, struct inj_symbol *ret, struct inj_why *why)
{
	const struct inj_module *module =
		question->module ? question->module : inj_modules_main(question->modules);
	struct candidates list = {.n = 0};
	int r;

	if (find_exported(question, module, ret))
		return 0;
	r = find_any(question, module, &list);
	if (r == 0 && list.n_all == 0 && !question->module)
		r = find_elsewhere(question, module, &list);
	return r < 0 ? memory_short(question, r, why) : take_only(question, &list, ret, why);
}

/* NAME@VERSION and NAME@@VERSION name one version; ret_name is owned by the caller. */
static int split_version(const char *name, char **ret_name, const char **ret_version)
{
	const char *at = *name ? strchr(name + 1, '@') : NULL;
	const char *version = at ? at + strspn(at, "@") : "";
	char *base = *version ? strndup(name, (size_t)(at - name)) : strdup(name);

	if (!base)
		return -ENOMEM;
	*ret_name = base;
	*ret_version = *version ? version : NULL;
	return 0;
}

int inj_resolve_function(const struct inj_modules *modules, const char *module_name,
			 const char *file, const char *name, struct inj_symbol *ret,
			 struct inj_why *why)
{
	INJ_FREE char *base = NULL;
	struct question question = {.modules = modules, .file = file, .function = true};
	int r = split_version(name, &base, &question.version);

	question.name = r == 0 ? base : name;
	if (r < 0)
		return memory_short(&question, r, why);
	if (module_name) {
		question.module = inj_modules_named(modules, module_name);
		if (!question.module)
			return refuse_module(modules, module_name, why);
	}
	return find_function(&question, ret, why);
}

/* Has the main program a copy of a library's variable, which then is the one in use? */
static bool is_copied(const struct inj_module *main, const struct inj_symbol *symbol)
{
	for (size_t i = 0; i < inj_elf_n_rela(main->elf); i++) {
		const struct inj_elf_rela *rela = inj_elf_relocation_at(main->elf, i);

		if (rela && rela->type == R_X86_64_COPY &&
		    main->bias + rela->offset == symbol->address)
			return true;
	}
	return false;
}

/* The first of all modules that exports the name. */
static bool find_global(const struct question *question, struct inj_symbol *ret)
{
	for (size_t i = 0; i < question->modules->n_items; i++) {
		const struct inj_module *module = question->modules->items[i];

		/* The loader knows the vDSO but does not search it. */
		if (module->kind != INJ_MODULE_VDSO && find_exported(question, module, ret))
			return true;
	}
	return false;
}

/* The first module that exports several versions of the name and none as the default: all of
 * them. */
static int find_undecided(struct question *question, struct candidates *list)
{
	int r = 0;

	for (size_t i = 0; i < question->modules->n_items && r == 0 && list->n_all == 0; i++) {
		const struct inj_module *module = question->modules->items[i];
		size_t ignored;

		if (!question->file && !question->version && module->kind != INJ_MODULE_VDSO &&
		    inj_elf_dynamic_lookup(module->elf, question->name, NULL,
					   &ignored) == -ENOTUNIQ)
			r = find_any(question, module, list);
	}
	return r;
}

/* What the preferred module exports, unless that is not what the module itself uses. */
static bool find_preferred(const struct question *question, const struct inj_module *prefer,
			   struct inj_symbol *ret)
{
	const struct inj_module *main = inj_modules_main(question->modules);
	struct inj_symbol in_main;

	if (!prefer || !find_exported(question, prefer, ret))
		return false;
	if (ret->binding == STB_GNU_UNIQUE)
		find_global(question, ret);
	else if (ret->type == STT_OBJECT && prefer != main &&
		 find_exported(question, main, &in_main) && is_copied(main, &in_main))
		*ret = in_main;
	return true;
}

int inj_resolve_external(const struct inj_modules *modules, const struct inj_module *prefer,
			 const char *file, const char *name, const char *version,
			 struct inj_symbol *ret, struct inj_why *why)
{
	struct question question = {
		.modules = modules, .file = file, .name = name, .version = version};
	const struct inj_module *main = inj_modules_main(modules);
	struct candidates list = {.n = 0};
	int r = 0;

	if (find_preferred(&question, prefer, ret))
		return 0;
	if (prefer)
		r = find_any(&question, prefer, &list);
	if (r == 0 && list.n_all == 0 && find_global(&question, ret))
		return 0;
	if (r == 0 && list.n_all == 0 && prefer != main)
		r = find_any(&question, main, &list);
	/* Only who names a file can mean a private symbol of a third module. */
	if (file && r == 0 && list.n_all == 0)
		r = find_elsewhere(&question, main, &list);
	if (r == 0 && list.n_all == 0)
		r = find_undecided(&question, &list);
	return r < 0 ? memory_short(&question, r, why) : take_only(&question, &list, ret, why);
}
