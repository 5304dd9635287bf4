/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The few instructions we write into a target. Pure byte functions: no address is ever
 * dereferenced. A displacement that does not fit is an error, never a truncated number.
 */
#include "injector/arch/x86_64/encode.h"

#include <errno.h>
#include <string.h>

bool inj_reaches32(inj_addr end, inj_addr target)
{
	int64_t distance = (int64_t)(target - end);

	return distance == (int32_t)distance;
}

bool inj_reaches8(inj_addr end, inj_addr target)
{
	int64_t distance = (int64_t)(target - end);

	return distance == (int8_t)distance;
}

/* Room for n bytes, or NULL with the error recorded. */
static uint8_t *reserve(struct inj_encoder *encoder, size_t n)
{
	if (encoder->error)
		return NULL;
	if (n > encoder->capacity - encoder->n) {
		encoder->error = -ENOSPC;
		return NULL;
	}
	uint8_t *place = encoder->bytes + encoder->n;

	encoder->n += n;
	return place;
}

static void put32(uint8_t *place, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		place[i] = (uint8_t)(value >> (8 * i));
}

static void emit_relative32(struct inj_encoder *encoder, const uint8_t *opcode, size_t n_opcode,
			    inj_addr target)
{
	inj_addr end = encoder->address + encoder->n + n_opcode + 4;

	if (!encoder->error && !inj_reaches32(end, target))
		encoder->error = -ERANGE;
	uint8_t *place = reserve(encoder, n_opcode + 4);

	if (!place)
		return;
	memcpy(place, opcode, n_opcode);
	put32(place + n_opcode, (uint32_t)(target - end));
}

void inj_emit_bytes(struct inj_encoder *encoder, const uint8_t *bytes, size_t n)
{
	uint8_t *place = reserve(encoder, n);

	if (place)
		memcpy(place, bytes, n);
}

void inj_emit_jmp32(struct inj_encoder *encoder, inj_addr target)
{
	emit_relative32(encoder, (const uint8_t[]){ 0xe9 }, 1, target);
}

void inj_emit_jmp8(struct inj_encoder *encoder, inj_addr target)
{
	inj_addr end = encoder->address + encoder->n + INJ_JMP8_BYTES;

	if (!encoder->error && !inj_reaches8(end, target))
		encoder->error = -ERANGE;
	inj_emit_bytes(encoder, (const uint8_t[]){ 0xeb, (uint8_t)(target - end) }, 2);
}

void inj_emit_jcc32(struct inj_encoder *encoder, unsigned condition, inj_addr target)
{
	emit_relative32(encoder, (const uint8_t[]){ 0x0f, (uint8_t)(0x80 | (condition & 15)) }, 2,
			target);
}

void inj_emit_call32(struct inj_encoder *encoder, inj_addr target)
{
	emit_relative32(encoder, (const uint8_t[]){ 0xe8 }, 1, target);
}

void inj_emit_jmp_far(struct inj_encoder *encoder, inj_addr target)
{
	uint8_t *place = reserve(encoder, INJ_JMP_FAR_BYTES);

	if (!place)
		return;
	memcpy(place, (const uint8_t[]){ 0xff, 0x25, 0, 0, 0, 0 }, 6); /* jmp *0(%rip) */
	put32(place + 6, (uint32_t)target);
	put32(place + 10, (uint32_t)(target >> 32));
}

void inj_emit_cmpb(struct inj_encoder *encoder, inj_addr address, uint8_t value)
{
	if (!encoder->error && address > INT32_MAX)
		encoder->error = -ERANGE;
	uint8_t *place = reserve(encoder, INJ_CMPB_BYTES);

	if (!place)
		return;
	/* 80 /7 ib; ModRM 3c: SIB follows; SIB 25: no base, no index, disp32 */
	memcpy(place, (const uint8_t[]){ 0x80, 0x3c, 0x25 }, 3);
	put32(place + 3, (uint32_t)address);
	place[7] = value;
}

void inj_emit_cmpb_gs(struct inj_encoder *encoder, inj_addr address, uint8_t value)
{
	inj_emit_bytes(encoder, (const uint8_t[]){ 0x65 }, 1); /* segment override */
	inj_emit_cmpb(encoder, address, value);
}

void inj_emit_push(struct inj_encoder *encoder, int32_t value)
{
	if (value == (int8_t)value) {
		inj_emit_bytes(encoder, (const uint8_t[]){ 0x6a, (uint8_t)value }, 2);
		return;
	}
	uint8_t *place = reserve(encoder, 5);

	if (!place)
		return;
	place[0] = 0x68;
	put32(place + 1, (uint32_t)value);
}

void inj_emit_ret(struct inj_encoder *encoder)
{
	inj_emit_bytes(encoder, (const uint8_t[]){ 0xc3 }, 1);
}

void inj_emit_nop(struct inj_encoder *encoder, size_t n)
{
	static const uint8_t forms[9][9] = {
		{ 0x90 },
		{ 0x66, 0x90 },
		{ 0x0f, 0x1f, 0x00 },
		{ 0x0f, 0x1f, 0x40, 0x00 },
		{ 0x0f, 0x1f, 0x44, 0x00, 0x00 },
		{ 0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00 },
		{ 0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00 },
		{ 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00 },
		{ 0x66, 0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00 },
	};

	while (n > 0 && !encoder->error) {
		size_t part = n < 9 ? n : 9;

		inj_emit_bytes(encoder, forms[part - 1], part);
		n -= part;
	}
}

void inj_emit_int3(struct inj_encoder *encoder, size_t n)
{
	uint8_t *place = reserve(encoder, n);

	if (place)
		memset(place, 0xcc, n);
}

void inj_emit_endbr64(struct inj_encoder *encoder)
{
	inj_emit_bytes(encoder, (const uint8_t[]){ 0xf3, 0x0f, 0x1e, 0xfa }, INJ_ENDBR64_BYTES);
}
