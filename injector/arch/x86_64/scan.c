/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A byte-wise search for jumps that lead into given ranges. It runs over the whole code of a
 * module, so it looks at sixteen positions at once: for one range at displacements first, because
 * hardly any fits, for many ranges at opcodes first. Nothing is assumed about instruction
 * boundaries, until a finding is to be confirmed.
 */
#include "injector/arch/x86_64/scan.h"

#include <emmintrin.h>
#include <string.h>

#include "injector/arch/x86_64/decode.h"

/* Decodings start at so many places, so far in front of what is to be confirmed. */
#define CONFIRM_STARTS 16u
#define CONFIRM_BYTES 64u

/* Does a rel32 branch's opcode end at the offset? */
static bool is_branch(const uint8_t *code, size_t offset)
{
	if ((code[offset] & 0xfe) == 0xe8)
		return true;
	return offset >= 1 && code[offset - 1] == 0x0f && (code[offset] & 0xf0) == 0x80;
}

static inj_addr target_of(const uint8_t *code, inj_addr address, size_t offset)
{
	int32_t displacement;

	memcpy(&displacement, code + offset + 1, sizeof(displacement));
	return address + offset + 5 + (uint64_t)(int64_t)displacement;
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

bool inj_scan_branch32(const uint8_t *code, size_t n, inj_addr address, size_t from,
		       struct inj_range into, size_t *ret_offset, inj_addr *ret_target)
{
	uint32_t size = (uint32_t)(into.end - into.start);
	size_t offset = from;

	while (offset + 5 <= n) {
		uint32_t wanted = (uint32_t)(into.start - (address + offset + 5));
		size_t end = offset + 1;

		if (offset + 20 <= n) { /* the last of the four loads ends there */
			end = offset + 16;
			if (!any_of_sixteen(code + offset + 1, wanted, size)) {
				offset = end;
				continue;
			}
		}
		for (; offset < end; offset++) {
			inj_addr target = target_of(code, address, offset);

			if (!inj_range_has(into, target) || !is_branch(code, offset))
				continue;
			*ret_offset = offset;
			*ret_target = target;
			return true;
		}
	}
	return false;
}

/* Bit n: the byte at n may be the last one of a rel32 branch's opcode. place[-1] is readable. */
static unsigned opcodes_of_sixteen(const uint8_t *place)
{
	const __m128i bytes = _mm_loadu_si128((const __m128i *)place);
	const __m128i before = _mm_loadu_si128((const __m128i *)(place - 1));
	const __m128i direct = _mm_cmpeq_epi8(_mm_and_si128(bytes, _mm_set1_epi8((char)0xfe)),
					      _mm_set1_epi8((char)0xe8));
	const __m128i conditional =
		_mm_and_si128(_mm_cmpeq_epi8(_mm_and_si128(bytes, _mm_set1_epi8((char)0xf0)),
					     _mm_set1_epi8((char)0x80)),
			      _mm_cmpeq_epi8(before, _mm_set1_epi8(0x0f)));

	return (unsigned)_mm_movemask_epi8(_mm_or_si128(direct, conditional));
}

static void report_marked(const uint8_t *code, inj_addr address, size_t offset,
			  const struct inj_scan_marks *marks, inj_scan_found_fn found,
			  void *context)
{
	const inj_addr target = target_of(code, address, offset);
	const uint64_t bit = (target - marks->start) / INJ_SCAN_GRANULE;

	if (bit < marks->n_bits && (marks->bits[bit / 64] >> (bit % 64) & 1))
		found(context, offset, target);
}

void inj_scan_marked32(const uint8_t *code, size_t n, inj_addr address,
		       const struct inj_scan_marks *marks, inj_scan_found_fn found, void *context)
{
	size_t offset = 0;

	while (offset + 5 <= n) {
		if (offset > 0 && offset + 20 <= n) {
			for (unsigned mask = opcodes_of_sixteen(code + offset); mask;
			     mask &= mask - 1)
				report_marked(code, address,
					      offset + (unsigned)__builtin_ctz(mask), marks, found,
					      context);
			offset += 16;
			continue;
		}
		if (is_branch(code, offset))
			report_marked(code, address, offset, marks, found, context);
		offset++;
	}
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
