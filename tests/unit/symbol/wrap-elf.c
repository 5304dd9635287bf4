/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Makes the lists that module.c would make, without a process. */
#include "tests/unit/symbol/wrap-elf.h"

struct inj_modules *wrap_elf(struct inj_elf *elf)
{
	static const struct inj_process nobody = {.pid = 1, .pidfd = -1, .proc_fd = -1};
	struct own_modules *modules = calloc(1, sizeof(*modules));
	struct own_module *module = calloc(1, sizeof(*module));
	struct own_module **by_address = calloc(1, sizeof(*by_address));
	struct inj_module **items = calloc(1, sizeof(*items));

	if (!modules || !module || !by_address || !items) {
		inj_elf_close(elf);
		free(modules);
		free(module);
		free(by_address);
		free(items);
		return NULL;
	}
	*module = (struct own_module){
		.public = {.name = "made",
			   .path = "/made",
			   .elf = elf,
			   .bias = MADE_BIAS,
			   .span = {MADE_BIAS, MADE_BIAS + MADE_SPAN}},
		.elf = elf,
		.debug_searched = true,
	};
	by_address[0] = module;
	items[0] = &module->public;
	*modules = (struct own_modules){
		.public = {.items = items, .n_items = 1, .process = &nobody},
		.by_address = by_address,
		.large_table = LARGE_TABLE,
	};
	return &modules->public;
}
