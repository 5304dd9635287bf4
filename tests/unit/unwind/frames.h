/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_UNIT_UNWIND_FRAMES_H
#define TESTS_UNIT_UNWIND_FRAMES_H

#include <string.h>

#include "injector/unwind/cfi.h"

/*
 * An .eh_frame put together by hand at FRAMES: one CIE and entries that refer to it, pointers
 * absolute in eight bytes.
 */
#define FRAMES UINT64_C(0x10000000)

struct frames {
	uint8_t bytes[4096];
	size_t n;
	size_t cie;
};

static inline void frames_put(struct frames *frames, const void *bytes, size_t n)
{
	if (n)
		memcpy(frames->bytes + frames->n, bytes, n);
	frames->n += n;
}

static inline void frames_put_number(struct frames *frames, uint64_t value, size_t n)
{
	frames_put(frames, &value, n);
}

static inline void frames_close(struct frames *frames, size_t record)
{
	uint32_t length = (uint32_t)(frames->n - record - 4);

	memcpy(frames->bytes + record, &length, 4);
}

/* letters: "zR" or "zRS"; column: of the return address; program: initial instructions. */
static inline void frames_cie(struct frames *frames, const char *letters, uint8_t column,
			      const void *program, size_t n)
{
	static const uint8_t alignments[] = {1, 0x78}; /* code 1, data -8 */

	frames->cie = frames->n;
	frames_put_number(frames, 0, 4);
	frames_put_number(frames, 0, 4);
	frames_put_number(frames, 1, 1);
	frames_put(frames, letters, strlen(letters) + 1);
	frames_put(frames, alignments, sizeof(alignments));
	frames_put_number(frames, column, 1);
	frames_put_number(frames, 1, 1); /* bytes of augmentation data */
	frames_put_number(frames, 0, 1); /* absolute pointers */
	frames_put(frames, program, n);
	frames_close(frames, frames->cie);
}

/* Return: address of the entry. */
static inline inj_addr frames_fde(struct frames *frames, inj_addr code, uint64_t length,
				  const void *program, size_t n)
{
	size_t record = frames->n;

	frames_put_number(frames, 0, 4);
	frames_put_number(frames, frames->n - frames->cie, 4);
	frames_put_number(frames, code, 8);
	frames_put_number(frames, length, 8);
	frames_put_number(frames, 0, 1); /* no augmentation data */
	frames_put(frames, program, n);
	frames_close(frames, record);
	return FRAMES + record;
}

/* Valid until the next call. */
static inline const struct inj_constant *frames_table(const struct frames *frames)
{
	static struct inj_constant table;

	table = (struct inj_constant){.address = FRAMES, .n = frames->n, .data = frames->bytes};
	return &table;
}

/* def_cfa rsp+8; offset rip at cfa-8: the state after any call */
static const uint8_t after_call[] = {0x0c, 7, 8, 0x90, 1};

#endif
