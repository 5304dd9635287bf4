/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Journals that a dead worker left: the first byte says whether the checksums are made right, the
 * rest is the file. What is believed names real processes and known steps, and no more of them than
 * the file has room for.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "injector/txn/journal.h"
#include "tests/fuzz/fuzz.h"

enum { HEADER_BYTES = 64, HEADER_SUMMED = 36, RECORD_BYTES = 32, RECORD_SUMMED = 28 };

static void make_right(uint8_t *file, size_t length)
{
	uint32_t sum;

	if (length < HEADER_BYTES)
		return;
	memcpy(file, "DSUJRNL1", 8);
	sum = (uint32_t)crc32(0, file, HEADER_SUMMED);
	memcpy(file + HEADER_SUMMED, &sum, sizeof(sum));
	for (size_t at = HEADER_BYTES; at + RECORD_BYTES <= length; at += RECORD_BYTES) {
		sum = (uint32_t)crc32(0, file + at, RECORD_SUMMED);
		memcpy(file + at + RECORD_SUMMED, &sum, sizeof(sum));
	}
}

static void check(const struct inj_journal_view *view, size_t length)
{
	if (INJ_JOURNAL_BYTES(view->n_targets) > length)
		abort();
	for (size_t i = 0; i < view->n_targets; i++)
		if (view->targets[i].pid <= 0 || view->targets[i].step < INJ_JOURNAL_READING ||
		    view->targets[i].step > INJ_JOURNAL_DONE)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	INJ_CLOSE int fd = memfd_create("journal", MFD_CLOEXEC);
	INJ_FREE uint8_t *file = length > 0 ? malloc(length) : NULL;
	struct inj_journal_view view = {0};

	if (!file || fd < 0)
		return 0;
	length--;
	memcpy(file, bytes + 1, length);
	if (bytes[0] & 1)
		make_right(file, length);
	if (write(fd, file, length) != (ssize_t)length)
		return 0;
	if (inj_journal_read(fd, &view) == 0)
		check(&view, length);
	inj_journal_view_deinit(&view);
	return 0;
}
