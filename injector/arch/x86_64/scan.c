/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A byte-wise search for jumps that lead into a given range. It runs over the whole code of a
 * module, so it looks at sixteen positions at once, and at opcodes only where a displacement fits.
 * Nothing is assumed about instruction boundaries, until a finding is to be confirmed.
 */
#include "injector/arch/x86_64/scan.h"

#include <emmintrin.h>
#include <string.h>

#include "injector/arch/x86_64/decode.h"

/* Decodings start at so many places, so far in front of what is to be confirmed. */
#define CONFIRM_STARTS 16u
#define CONFIRM_BYTES 64u

static bool is_jump(const uint8_t *code, size_t displacement, bool calls)
{
	if (displacement >= 1 && (code[displacement - 1] == 0xe9 ||
				  (calls && code[displacement - 1] == 0xe8)))
		return true;
	return displacement >= 2 && code[displacement - 2] == 0x0f &&
	       (code[displacement - 1] & 0xf0) == 0x80;
}

static bool fits_at(const uint8_t *code, inj_addr address, size_t position, struct inj_range into,
		    bool calls, inj_addr *ret_target)
{
	int32_t displacement;

	memcpy(&displacement, code + position, sizeof(displacement));
	inj_addr target = address + position + 4 + (uint64_t)(int64_t)displacement;

	if (!inj_range_has(into, target) || !is_jump(code, position, calls))
		return false;
	*ret_target = target;
	return true;
}

/*
 * Does any of the sixteen positions from `position` on hold a displacement that leads, modulo
 * 2^32, into the range? `wanted` is the displacement at `position` that would lead to its start.
 * Position k wants k less, so displacement + k - wanted must be below the range's size.
 */
static bool any_of_sixteen(const uint8_t *place, uint32_t wanted, uint32_t size)
{
	const __m128i flip = _mm_set1_epi32(INT32_MIN); /* SSE2 compares signed numbers only */
	const __m128i limit = _mm_xor_si128(_mm_set1_epi32((int)size), flip);
	__m128i found = _mm_setzero_si128();

	for (int phase = 0; phase < 4; phase++) {
		__m128i words = _mm_loadu_si128((const __m128i *)(place + phase));
		__m128i steps = _mm_setr_epi32(phase, phase + 4, phase + 8, phase + 12);
		__m128i delta = _mm_sub_epi32(_mm_add_epi32(words, steps),
					      _mm_set1_epi32((int)wanted));

		found = _mm_or_si128(found, _mm_cmplt_epi32(_mm_xor_si128(delta, flip), limit));
	}
	return _mm_movemask_epi8(found) != 0;
}

static bool scan32(const uint8_t *code, size_t n, inj_addr address, size_t from,
		   struct inj_range into, bool calls, size_t *ret_offset, inj_addr *ret_target)
{
	uint32_t size = (uint32_t)(into.end - into.start);
	size_t position = from + 1; /* of the displacement */

	while (position + 4 <= n) {
		uint32_t wanted = (uint32_t)(into.start - (address + position + 4));
		size_t end = position + 1;

		if (position + 19 <= n) { /* the last of the four loads ends there */
			end = position + 16;
			if (!any_of_sixteen(code + position, wanted, size)) {
				position = end;
				continue;
			}
		}
		for (; position < end; position++) {
			if (!fits_at(code, address, position, into, calls, ret_target))
				continue;
			*ret_offset = position - 1;
			return true;
		}
	}
	return false;
}

bool inj_scan_jump32(const uint8_t *code, size_t n, inj_addr address, size_t from,
		     struct inj_range into, size_t *ret_offset, inj_addr *ret_target)
{
	return scan32(code, n, address, from, into, false, ret_offset, ret_target);
}

bool inj_scan_branch32(const uint8_t *code, size_t n, inj_addr address, size_t from,
		       struct inj_range into, size_t *ret_offset, inj_addr *ret_target)
{
	return scan32(code, n, address, from, into, true, ret_offset, ret_target);
}

static bool is_short_jump(uint8_t opcode)
{
	return (opcode & 0xf0) == 0x70 || (opcode & 0xfc) == 0xe0 || opcode == 0xeb;
}

bool inj_scan_jump8(const uint8_t *code, size_t n, inj_addr address, size_t from,
		    struct inj_range into, size_t *ret_offset, inj_addr *ret_target)
{
	for (size_t at = from; at + 2 <= n; at++) {
		inj_addr target = address + at + 2 + (uint64_t)(int64_t)(int8_t)code[at + 1];

		if (!inj_range_has(into, target) || !is_short_jump(code[at]))
			continue;
		*ret_offset = at;
		*ret_target = target;
		return true;
	}
	return false;
}

static bool arrives(const uint8_t *code, size_t n, inj_addr address, size_t start, size_t offset,
		    inj_addr target)
{
	for (size_t at = start; at <= offset;) {
		struct inj_insn insn;

		if (inj_insn_decode(code + at, n - at, address + at, &insn) < 0) {
			at++;
			continue;
		}
		if (offset - at < insn.n_bytes)
			return insn.has_target && insn.target == target;
		at += insn.n_bytes;
	}
	return false;
}

bool inj_scan_confirm(const uint8_t *code, size_t n, inj_addr address, size_t offset,
		      inj_addr target)
{
	size_t first = offset > CONFIRM_BYTES ? offset - CONFIRM_BYTES : 0;

	for (size_t i = 0; i < CONFIRM_STARTS && first + i <= offset; i++)
		if (arrives(code, n, address, first + i, offset, target))
			return true;
	return false;
}
