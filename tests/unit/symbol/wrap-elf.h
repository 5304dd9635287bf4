/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_UNIT_SYMBOL_WRAP_ELF_H
#define TESTS_UNIT_SYMBOL_WRAP_ELF_H

#include "injector/symbol/symbol-priv.h"

/* Load address of the module, and the size of its span. */
#define MADE_BIAS 0x7f0000000000UL
#define MADE_SPAN 0x10000000UL

/*
 * A list of one module, the main program, for an object that never ran. elf: taken over. No process
 * belongs to it: nothing that reads memory may be asked. Free with inj_modules_free(). NULL when
 * memory is short.
 */
struct inj_modules *wrap_elf(struct inj_elf *elf);

#endif
