/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_REDIRECT_SAMPLE_H
#define TESTS_REDIRECT_SAMPLE_H

#include <string.h>

#include "injector/redirect/site.h"

#define SITE_ADDRESS 0x555555554000ull
#define STUB_ADDRESS 0x555555600000ull
#define GENERATION 0x10008ull
#define REPLACEMENT 0x555555700000ull

/* A function written byte by byte, between paddings. */
struct sample {
	uint8_t bytes[1024];
	struct inj_text text;
};

/* Put the function between n_before and n_after bytes of nop; both below 256 are all there is. */
static inline void sample_init(struct sample *sample, const uint8_t *code, size_t n,
			       size_t n_before, size_t n_after)
{
	memset(sample->bytes, 0x90, sizeof(sample->bytes));
	memcpy(sample->bytes + n_before, code, n);
	sample->text = (struct inj_text){
		.address = SITE_ADDRESS,
		.size = n,
		.bytes = sample->bytes,
		.before = n_before,
		.after = n_after,
		.name = "sample",
	};
}

#define SAMPLE(sample, n_before, n_after, ...)                                               \
	sample_init(&(sample), (const uint8_t[]){ __VA_ARGS__ },                             \
		    sizeof((const uint8_t[]){ __VA_ARGS__ }), n_before, n_after)

#endif
