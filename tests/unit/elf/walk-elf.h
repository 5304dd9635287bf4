/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_UNIT_ELF_WALK_ELF_H
#define TESTS_UNIT_ELF_WALK_ELF_H

#include "injector/elf/elf.h"

/* Call every accessor with every index and read every byte and string they return. The result
 * depends on all of them, so that nothing is optimized away. */
uint64_t walk_elf(const struct inj_elf *elf);

#endif
