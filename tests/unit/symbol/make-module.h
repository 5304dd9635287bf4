/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_UNIT_SYMBOL_MAKE_MODULE_H
#define TESTS_UNIT_SYMBOL_MAKE_MODULE_H

#include "tests/unit/symbol/wrap-elf.h"

/* One symbol of a module that never ran. */
struct made_symbol {
	const char *name;
	uint64_t value, size;
	unsigned type, binding; /* STT_, STB_; STT_FILE starts a source file */
	bool undefined;
};

/*
 * A list of one module whose .symtab has these symbols, in this order; a name that ends the one
 * before it shares its string. Needs no process; nothing that reads memory may be asked. Free with
 * inj_modules_free().
 */
struct inj_modules *make_module(const struct made_symbol *symbols, size_t n);
/* The same in a file, and as if its table were too large to be indexed for a few questions. */
struct inj_modules *make_large_module(const struct made_symbol *symbols, size_t n);

#endif
