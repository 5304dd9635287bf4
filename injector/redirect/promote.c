/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Turns the generation test of a stub into a straight jump and back. Always holds: both forms are
 * eight bytes long and only those eight bytes differ. Refuses what does not start as inj_stub_emit()
 * makes stubs with an old path.
 */
#include "injector/redirect/promote.h"

#include <string.h>

#include "injector/arch/x86_64/encode.h"

_Static_assert(INJ_STUB_HEAD_BYTES == INJ_CMPB_BYTES, "the jump takes the place of the test");

#define CMPB_OPCODE "\x80\x3c\x25"
#define JNE_OPCODE "\x0f\x85"
#define OPCODE_BYTES 2
#define JUMP (INJ_CMPB_BYTES + INJ_JCC32_BYTES)

bool inj_stub_promote(uint8_t *bytes, size_t n)
{
	struct inj_encoder encoder = { .bytes = bytes, .capacity = INJ_JMP32_BYTES };
	int32_t distance;

	if (n < JUMP || memcmp(bytes, CMPB_OPCODE, sizeof(CMPB_OPCODE) - 1) != 0 ||
	    memcmp(bytes + INJ_CMPB_BYTES, JNE_OPCODE, OPCODE_BYTES) != 0)
		return false;
	memcpy(&distance, bytes + INJ_CMPB_BYTES + OPCODE_BYTES, sizeof(distance));
	/* Distances alone count, so the stub may as well stand at 0, or below. */
	if (!inj_reaches32(INJ_JMP32_BYTES, (inj_addr)(JUMP + (int64_t)distance)))
		return false;
	inj_emit_jmp32(&encoder, (inj_addr)(JUMP + (int64_t)distance));
	return encoder.error == 0;
}

int inj_stub_test(inj_addr generation, uint64_t *ret)
{
	uint8_t bytes[INJ_STUB_HEAD_BYTES];
	struct inj_encoder encoder = { .bytes = bytes, .capacity = sizeof(bytes) };

	inj_emit_cmpb(&encoder, generation, 0);
	if (encoder.error)
		return encoder.error;
	memcpy(ret, bytes, sizeof(bytes));
	return 0;
}
