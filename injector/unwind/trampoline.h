/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_UNWIND_TRAMPOLINE_H
#define INJ_UNWIND_TRAMPOLINE_H

#include "injector/unwind/unwind-tables.h"

/*
 * Add a module's signal trampolines to the tables: code marked as such by its unwind table; where
 * nothing is marked, code that makes the system call rt_sigreturn. Looked for where C libraries
 * and runtimes of their own keep it, not in every library.
 * frames: the module's .eh_frame, n 0 if none.
 * State: running or held; nothing of the target is read.
 * Return: 0.
 * Errors: -ENOMEM.
 * Source: sigreturn(2); gcc's augmentation letter S.
 */
int inj_trampolines_add(struct inj_unwind_tables *tables, const struct inj_module *module,
			const struct inj_constant *frames);

#endif
