/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes that turn an examined entry into a redirected one, and who else writes them. Nothing
 * is written here: the transaction does that.
 */
#include "injector/redirect/site.h"

#include <string.h>

#include "injector/arch/x86_64/encode.h"

static struct inj_range entry_range(const struct inj_site *site)
{
	inj_addr start = site->address + site->n_kept;

	return (struct inj_range){
		start,
		start + (site->kind == INJ_SITE_SHORT ? INJ_JMP8_BYTES : INJ_JMP32_BYTES),
	};
}

static bool overlap(struct inj_range a, struct inj_range b)
{
	return a.start < b.end && b.start < a.end;
}

bool inj_site_clashes(const struct inj_site *a, const struct inj_site *b)
{
	struct inj_range ranges[2][2] = {
		{ entry_range(a), { a->pad, a->pad + a->n_pad } },
		{ entry_range(b), { b->pad, b->pad + b->n_pad } },
	};

	for (int i = 0; i < 2; i++)
		for (int j = 0; j < 2; j++)
			if (overlap(ranges[0][i], ranges[1][j]))
				return true;
	return false;
}

static void start_write(struct inj_site_write *write, inj_addr address, const uint8_t *old,
			unsigned n)
{
	*write = (struct inj_site_write){ .address = address, .n = (uint8_t)n };
	memcpy(write->old, old, n);
}

int inj_site_writes(const struct inj_site *site, inj_addr target,
		    struct inj_site_write ret_writes[2], size_t *ret_n)
{
	struct inj_site_write writes[2];
	inj_addr long_jump = site->kind == INJ_SITE_SHORT ? site->pad :
							    site->address + site->n_kept;
	const uint8_t *original = site->covered + site->n_kept;
	size_t n = 1;

	start_write(&writes[0], long_jump,
		    site->kind == INJ_SITE_SHORT ? site->pad_bytes : original, INJ_JMP32_BYTES);
	struct inj_encoder encoder = {
		.bytes = writes[0].new,
		.capacity = sizeof(writes[0].new),
		.address = long_jump,
	};

	inj_emit_jmp32(&encoder, target);
	if (encoder.error)
		return encoder.error;
	if (site->kind == INJ_SITE_SHORT) {
		start_write(&writes[1], site->address + site->n_kept, original, INJ_JMP8_BYTES);
		encoder = (struct inj_encoder){
			.bytes = writes[1].new,
			.capacity = sizeof(writes[1].new),
			.address = writes[1].address,
		};
		inj_emit_jmp8(&encoder, site->pad);
		if (encoder.error)
			return encoder.error;
		n = 2;
	}
	memcpy(ret_writes, writes, n * sizeof(writes[0]));
	*ret_n = n;
	return 0;
}
