/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The sentences for names that mean nothing or too much: where was looked, what comes near, which
 * file would help, how to choose. Everything is bounded by the text of struct inj_why.
 */
#include <stdarg.h>
#include <string.h>

#include "injector/symbol/resolve-priv.h"

#define MAX_LISTED 8

/* A sentence that grows and stops growing when full. */
struct text {
	char bytes[640];
	size_t used;
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *text, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	int n = vsnprintf(text->bytes + text->used, sizeof(text->bytes) - text->used, format,
			  arguments);
	va_end(arguments);
	if (n > 0)
		text->used += (size_t)n;
	if (text->used >= sizeof(text->bytes))
		text->used = sizeof(text->bytes) - 1;
}

/* Where private names of a stripped module would be. */
static void add_debug_hint(struct text *text, const struct question *question,
			   const struct inj_module *module)
{
	if (module->kind == INJ_MODULE_VDSO || symtab_has_private(question->modules, module))
		return;
	bool libc = strcmp(module->name, "libc.so.6") == 0 ||
		    module->kind == INJ_MODULE_INTERPRETER;

	add(text, "; %.60s is stripped: its private names would be in its debug package (%s)",
	    module->name, libc ? "libc6-dbg on Debian" : "NAME-dbgsym on Debian");
	if (module->n_build_id >= 2)
		add(text, ", file /usr/lib/debug/.build-id/%.2s/%s.debug", module->build_id_hex,
		    module->build_id_hex + 2);
}

/* Names that come near, of the first module that has any. */
static const struct inj_module *propose(const struct question *question,
					const struct inj_module *module, char *buffer, size_t size)
{
	if (module) {
		propose_names(question->modules, module, question->name, buffer, size);
		return *buffer ? module : NULL;
	}
	for (size_t i = 0; i < question->modules->n_items; i++) {
		module = question->modules->items[i];
		if (module->kind == INJ_MODULE_VDSO)
			continue;
		propose_names(question->modules, module, question->name, buffer, size);
		if (*buffer)
			return module;
	}
	return NULL;
}

int refuse_missing(const struct question *question, struct inj_why *why)
{
	const struct inj_module *module = question->module;
	const char *what = question->function ? "function" : "symbol";
	struct text text = {.used = 0};
	char near[300];

	if (!why) /* looking for what comes near is dear */
		return INJ_NO_SUCH_SYMBOL;
	add(&text, "there is no %s %.100s", what, question->name);
	if (question->version)
		add(&text, "@%.40s", question->version);
	if (question->file)
		add(&text, " of file %.80s", question->file);
	if (module)
		add(&text, " in %.60s", module->name);
	else
		add(&text, " in %.60s nor in the other %zu modules of process %d",
		    inj_modules_main(question->modules)->name, question->modules->n_items - 1,
		    (int)question->modules->process->pid);
	if (question->function && question->saw_data)
		add(&text, "; what has this name there is not a function");
	if (question->saw_file)
		add(&text, "; other files have it, check the file name in DSU_SYMBOL");
	const struct inj_module *at = propose(question, module, near, sizeof(near));

	if (at)
		add(&text, "; did you mean %s of %.60s?", near, at->name);
	add_debug_hint(&text, question, module ? module : inj_modules_main(question->modules));
	return inj_refuse(why, INJ_NO_SUCH_SYMBOL, "%s", text.bytes);
}

int refuse_ambiguous(const struct question *question, const struct candidates *list,
		     struct inj_why *why)
{
	struct text text = {.used = 0};
	size_t n = list->n < MAX_LISTED ? list->n : MAX_LISTED;
	bool one_module = true, versions = true;

	add(&text, "%zu symbols are named %.100s:", list->n_all, question->name);
	for (size_t i = 0; i < n; i++) {
		const struct inj_symbol *symbol = &list->items[i];

		add(&text, " %.40s:%.40s:%.60s%s%.40s@%#llx", symbol->module->name,
		    symbol->file ? symbol->file : "?", symbol->name, symbol->version ? "@" : "",
		    symbol->version ? symbol->version : "", (unsigned long long)symbol->address);
		one_module &= symbol->module == list->items[0].module;
		versions &= symbol->version && !symbol->file;
	}
	if (n < list->n_all)
		add(&text, " and %zu more", list->n_all - n);
	if (!one_module)
		add(&text, "; choose the module by DSU_REPLACE_IN");
	else if (!versions)
		add(&text, "; choose one by DSU_SYMBOL(file, name)");
	else if (question->function)
		add(&text, "; choose the version by DSU_REPLACE_NAMED(\"%.60s\", \"\", "
			   "\"%.60s@VERSION\", new)",
		    list->items[0].module->name, question->name);
	else
		add(&text, "; choose the version by .symver, and link the patch with %.60s",
		    list->items[0].module->name);
	int r = inj_refuse(why, INJ_AMBIGUOUS_SYMBOL, "%s", text.bytes);

	if (why && list->n)
		why->address = list->items[0].address;
	return r;
}

int refuse_module(const struct inj_modules *modules, const char *name, struct inj_why *why)
{
	const struct inj_why *lost = module_lost_why(modules, name);
	struct text text = {.used = 0};

	if (lost)
		return inj_refuse(why, INJ_NO_SUCH_SYMBOL, "module %.80s cannot be read: %s", name,
				  lost->text);
	add(&text, "process %d has no module %.80s; it has", (int)modules->process->pid, name);
	for (size_t i = 0; i < modules->n_items && i < MAX_LISTED; i++)
		add(&text, "%s %.40s", i ? "," : "", modules->items[i]->name);
	if (modules->n_items > MAX_LISTED)
		add(&text, " and %zu more", modules->n_items - MAX_LISTED);
	return inj_refuse(why, INJ_NO_SUCH_SYMBOL, "%s", text.bytes);
}
