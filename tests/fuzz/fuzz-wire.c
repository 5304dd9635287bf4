/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a worker says: records, each behind two bytes with its length. The reader stops at the first
 * unlawful one, as the daemon does.
 */
#include <stdlib.h>
#include <string.h>

#include "dsud/worker/wire.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct dsud_wire_reader reader = {0};
	int r = 0;

	while (r == 0 && length >= 2) {
		size_t n = (size_t)bytes[0] | (size_t)bytes[1] << 8;
		enum dsud_wire_event event;

		bytes += 2;
		length -= 2;
		if (n > length)
			n = length;

		/* Of exact size, so that a sanitizer sees the first byte beyond. */
		void *record = malloc(n ? n : 1);

		memcpy(record, bytes, n);
		r = dsud_wire_read(&reader, record, n, &event);
		free(record);
		if (r == 0 && event == DSUD_WIRE_DONE && !reader.done)
			abort();
		if (strlen(reader.progress.text) >= sizeof(reader.progress.text))
			abort();
		bytes += n;
		length -= n;
	}
	dsud_wire_reader_deinit(&reader);
	return 0;
}
