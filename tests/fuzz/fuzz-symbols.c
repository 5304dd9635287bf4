/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Foreign symbol tables: the names and addresses of a module are indexed and asked for, and names
 * that are not there are looked for and proposed. What is found must be what was asked for.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/symbol/wrap-elf.h"

#define MAX_QUESTIONS 64

struct questions {
	const struct inj_modules *modules;
	struct inj_symbol items[MAX_QUESTIONS];
	size_t n;
};

static bool collect(void *context, const struct inj_symbol *symbol)
{
	struct questions *questions = context;

	questions->items[questions->n++] = *symbol;
	return questions->n < MAX_QUESTIONS;
}

static void ask(const struct inj_modules *modules, const struct inj_symbol *symbol)
{
	struct inj_symbol found, *siblings = NULL;
	struct inj_why why;
	size_t n;
	int r = inj_resolve_function(modules, NULL, symbol->file, symbol->name, &found, &why);

	if (r != 0 && why.text[0] == '\0')
		abort();
	/* What follows an @ is a version in one table and part of the name in the other. */
	if (r == 0 && strncmp(found.name, symbol->name, strcspn(symbol->name, "@")) != 0)
		abort();
	if (r == 0 && inj_symbol_siblings(modules, &found, &siblings, &n) == 0)
		free(siblings);
	inj_resolve_external(modules, modules->items[0], NULL, symbol->name, symbol->version,
			     &found, &why);
	if (inj_symbol_at(modules, symbol->address, &found) && found.module != modules->items[0])
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct inj_elf *elf = NULL;

	if (inj_elf_open_bytes(bytes, length, "input", &elf, NULL) != 0)
		return 0;
	INJ_CLEANUP(inj_modules_guard) struct inj_modules *modules = wrap_elf(elf);
	struct questions questions = {.modules = modules};
	const struct inj_symbol unknown = {.name = "unknwon", .address = MADE_BIAS + 0x104};

	if (!modules)
		return 0;
	/* Half of all inputs are taken for tables that are too large to index. */
	own_modules(modules)->large_table = bytes[length - 1] & 1 ? 2 : LARGE_TABLE;
	symtab_visit(modules, modules->items[0], SIZE_MAX, collect, &questions);
	for (size_t i = 0; i < questions.n; i++)
		ask(modules, &questions.items[i]);
	ask(modules, &unknown);
	return 0;
}
