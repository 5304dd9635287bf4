/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The auxiliary vector that the kernel gave the target at exec. /proc shows the kernel's copy, not
 * the one on the target's stack, so the loader's edits do not show here. What is absent is 0.
 */
#include <string.h>
#include <sys/auxv.h>

#include "injector/symbol/symbol-priv.h"

#define AUXV_MAX_BYTES 8192

int auxv_read(const struct inj_process *process, struct auxv *ret)
{
	INJ_FREE char *text = NULL;
	size_t length;
	int r = inj_process_read_file(process, "auxv", AUXV_MAX_BYTES, &text, &length);

	if (r < 0)
		return r;
	*ret = (struct auxv){0};
	for (size_t at = 0; at + sizeof(Elf64_auxv_t) <= length; at += sizeof(Elf64_auxv_t)) {
		Elf64_auxv_t entry;

		memcpy(&entry, text + at, sizeof(entry));
		switch (entry.a_type) {
		case AT_PHDR:
			ret->program_headers = entry.a_un.a_val;
			break;
		case AT_BASE:
			ret->base = entry.a_un.a_val;
			break;
		case AT_ENTRY:
			ret->entry = entry.a_un.a_val;
			break;
		case AT_SYSINFO_EHDR:
			ret->vdso = entry.a_un.a_val;
			break;
		}
	}
	return 0;
}
