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
 * A list of one module whose .symtab has these symbols, in this order. Needs no process; nothing
 * that reads memory may be asked. Free with inj_modules_free().
 */
struct inj_modules *make_module(const struct made_symbol *symbols, size_t n);

#endif
