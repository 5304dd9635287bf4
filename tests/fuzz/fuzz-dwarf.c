/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Foreign debug information: inlined copies, parts and definitions of every function of a module
 * are looked for. The search ends, and what it finds is within bounds.
 */
#include <stdlib.h>

#include "injector/symbol/debug-info.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/symbol/wrap-elf.h"

enum { MAX_FUNCTIONS = 64, BUDGET_NS = 200000000 };

struct questions {
	struct inj_symbol symbols[MAX_FUNCTIONS];
	struct inj_debug_function functions[MAX_FUNCTIONS];
	struct inj_debug_twin names[MAX_FUNCTIONS];
	size_t n;
};

static bool collect(void *context, const struct inj_symbol *symbol)
{
	struct questions *questions = context;
	size_t i = questions->n++;

	questions->symbols[i] = *symbol;
	questions->functions[i].symbol = &questions->symbols[i];
	questions->names[i].name = symbol->name;
	questions->names[i].address = symbol->address;
	questions->names[i].exported = i & 1;
	return questions->n < MAX_FUNCTIONS;
}

static void search(const struct inj_modules *modules, struct questions *questions)
{
	enum inj_knowledge known;
	int r = inj_debug_search(modules, modules->items[0], questions->functions, questions->n,
				 questions->names, questions->n, BUDGET_NS, &known);

	if (r != 0 && r != -ENOMEM)
		abort();
	for (size_t i = 0; i < questions->n; i++) {
		const struct inj_debug_function *function = &questions->functions[i];

		if (function->n_hosts > INJ_HOSTS_MAX)
			abort();
		for (size_t j = 0; j < function->n_hosts; j++)
			if (function->hosts[j].address == function->symbol->address ||
			    function->hosts[j].n_copies == 0)
				abort();
		for (size_t j = 0; j < function->n_parts; j++)
			if (function->parts[j].start >= function->parts[j].end)
				abort();
	}
	inj_debug_functions_deinit(questions->functions, questions->n);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct questions questions = {.n = 0};
	struct inj_elf *elf = NULL;

	if (inj_elf_open_bytes(bytes, length, "input", &elf, NULL) != 0)
		return 0;
	INJ_CLEANUP(inj_modules_guard) struct inj_modules *modules = wrap_elf(elf);

	if (!modules)
		return 0;
	symtab_visit(modules, modules->items[0], SIZE_MAX, collect, &questions);
	search(modules, &questions);
	inj_module_may_be_folded(modules->items[0]);
	return 0;
}
