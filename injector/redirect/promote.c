/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Turns the generation test of a stub into a straight jump and back. Always holds: the two forms
 * differ in the first eight bytes alone, which are one instruction, or begin one. Refuses what does
 * not start as inj_stub_emit() makes stubs with an old path.
 */
#include "injector/redirect/promote.h"

#include <string.h>

#include "injector/arch/x86_64/encode.h"

#define CMPB_OPCODE "\x80\x3c\x25"
#define CMPB_OPCODE_BYTES 3
#define GS_PREFIX 0x65
#define JNE_OPCODE "\x0f\x85"
#define JNE_OPCODE_BYTES 2

_Static_assert(INJ_STUB_HEAD_BYTES >= INJ_JMP32_BYTES, "the jump takes the place of the test");
_Static_assert(INJ_STUB_HEAD_BYTES <= INJ_CMPB_BYTES, "and of nothing else");

/* Bytes of the test at the start, 0 when there is none. */
static size_t test_bytes(const uint8_t *bytes, size_t n)
{
	const size_t prefix = n > 0 && bytes[0] == GS_PREFIX;

	if (n < prefix + INJ_CMPB_BYTES + INJ_JCC32_BYTES ||
	    memcmp(bytes + prefix, CMPB_OPCODE, CMPB_OPCODE_BYTES) != 0)
		return 0;
	return prefix + INJ_CMPB_BYTES;
}

bool inj_stub_promote(uint8_t *bytes, size_t n)
{
	struct inj_encoder encoder = { .bytes = bytes, .capacity = INJ_JMP32_BYTES };
	const size_t test = test_bytes(bytes, n);
	int32_t distance;
	inj_addr target;

	if (test == 0 || memcmp(bytes + test, JNE_OPCODE, JNE_OPCODE_BYTES) != 0)
		return false;
	memcpy(&distance, bytes + test + JNE_OPCODE_BYTES, sizeof(distance));
	/* Distances alone count, so the stub may as well stand at 0, or below. */
	target = (inj_addr)((int64_t)(test + INJ_JCC32_BYTES) + distance);
	if (!inj_reaches32(INJ_JMP32_BYTES, target))
		return false;
	inj_emit_jmp32(&encoder, target);
	return encoder.error == 0;
}

int inj_stub_test(inj_addr generation, bool per_thread, uint64_t *ret)
{
	uint8_t bytes[INJ_CMPB_GS_BYTES];
	struct inj_encoder encoder = { .bytes = bytes, .capacity = sizeof(bytes) };

	if (per_thread)
		inj_emit_cmpb_gs(&encoder, generation, 0);
	else
		inj_emit_cmpb(&encoder, generation, 0);
	if (encoder.error)
		return encoder.error;
	memcpy(ret, bytes, INJ_STUB_HEAD_BYTES);
	return 0;
}
