/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Foreign ELF files: whatever opens is walked completely. Half of the inputs by descriptor, so that
 * reading piece by piece is watched too; its answer must be that of the whole buffer.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/elf/walk-elf.h"

static void check_descriptor(const uint8_t *bytes, size_t length, uint64_t expected)
{
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *elf = NULL;
	INJ_CLOSE int fd = memfd_create("input", MFD_CLOEXEC);

	if (fd < 0 || pwrite(fd, bytes, length, 0) != (ssize_t)length)
		return;
	if (inj_elf_open_fd(fd, "input", length, &elf, NULL) != 0 || walk_elf(elf) != expected)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	INJ_CLEANUP(inj_elf_guard) struct inj_elf *elf = NULL;
	struct inj_why why;
	int r = inj_elf_open_bytes(bytes, length, "input", &elf, &why);

	/* A refusal names its cause. */
	if (r != 0 && (why.code == 0 || why.text[0] == '\0'))
		abort();
	if (r == 0) {
		uint64_t sum = walk_elf(elf);

		if (length & 1)
			check_descriptor(bytes, length, sum);
	}
	return 0;
}
