/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <string.h>

#include "injector/arch/x86_64/scan.h"

#define HERE 0x7f0000000000ull
#define TARGET (HERE - 0x5000)

static uint8_t code[256];

static void plant32(size_t at, const uint8_t *opcode, size_t n, inj_addr target)
{
	uint32_t displacement = (uint32_t)(target - (HERE + at + n + 4));

	memcpy(code + at, opcode, n);
	memcpy(code + at + n, &displacement, 4);
}

static const struct inj_range into = { TARGET + 1, TARGET + 9 };

/* A jump at every position, with every target, is found; next to the range nothing is. */
Test(scan, every_position_and_target)
{
	for (size_t at = 0; at + 5 <= sizeof(code); at++) {
		for (unsigned k = 0; k < 10; k++) {
			size_t found = 0;
			inj_addr target = 0;

			memset(code, 0x90, sizeof(code));
			plant32(at, (const uint8_t[]){ 0xe9 }, 1, TARGET + k);
			bool hit = inj_scan_branch32(code, sizeof(code), HERE, 0, into, &found,
						     &target);

			cr_assert_eq(hit, k >= 1 && k <= 8, "at %zu + %u", at, k);
			cr_assert(!hit || (found == at && target == TARGET + k));
		}
	}
}

Test(scan, conditions_and_continuation)
{
	size_t found;
	inj_addr target;

	memset(code, 0x90, sizeof(code));
	plant32(20, (const uint8_t[]){ 0x0f, 0x84 }, 2, TARGET + 4);
	plant32(60, (const uint8_t[]){ 0x0f, 0x8f }, 2, TARGET + 5);
	plant32(100, (const uint8_t[]){ 0xe8 }, 1, TARGET + 5);
	plant32(140, (const uint8_t[]){ 0x0f, 0x9f }, 2, TARGET + 5);
	cr_assert(inj_scan_branch32(code, sizeof(code), HERE, 0, into, &found, &target));
	cr_assert_eq(found, 21);
	cr_assert(inj_scan_branch32(code, sizeof(code), HERE, found + 1, into, &found, &target));
	cr_assert_eq(found, 61);
	cr_assert(inj_scan_branch32(code, sizeof(code), HERE, found + 1, into, &found, &target));
	cr_assert_eq(found, 100);
	cr_assert_not(
		inj_scan_branch32(code, sizeof(code), HERE, found + 1, into, &found, &target));
}

struct seen {
	size_t n, offset;
	inj_addr target;
};

static void note(void *context, size_t offset, inj_addr target)
{
	struct seen *seen = context;

	*seen = (struct seen){ seen->n + 1, offset, target };
}

/* What the search for one range finds, the one for many finds: every position, every opcode. */
Test(scan, many_ranges)
{
	static const uint8_t opcodes[][2] = {
		{ 0x0f, 0x80 }, { 0x0f, 0x8f }, { 0x66, 0xe8 }, { 0x66, 0xe9 },
	};
	const uint64_t bits[] = { 1ull << 3 | 1ull << 40, 1 };
	const struct inj_scan_marks marks = { TARGET - 64, 65, bits };

	for (size_t at = 0; at + 6 <= sizeof(code); at++)
		for (unsigned i = 0; i < 4; i++)
			for (unsigned k = 0; k < 70; k++) {
				struct seen seen = {};

				memset(code, 0x90, sizeof(code));
				plant32(at, opcodes[i], 2, TARGET - 64 + 16 * k);
				inj_scan_marked32(code, sizeof(code), HERE, &marks, note, &seen);
				cr_assert_eq(seen.n, k == 3 || k == 40 || k == 64, "at %zu to %u",
					     at, k);
				cr_assert(seen.n == 0 || (seen.offset == at + 1 &&
							  seen.target == TARGET - 64 + 16 * k));
			}
}

Test(scan, short_jumps)
{
	static const uint8_t opcodes[] = { 0x70, 0x7f, 0xeb, 0xe0, 0xe3 };
	const struct inj_range near = { HERE + 101, HERE + 109 };
	size_t found;
	inj_addr target;

	for (size_t i = 0; i < sizeof(opcodes); i++) {
		memset(code, 0x90, sizeof(code));
		code[120] = opcodes[i];
		code[121] = (uint8_t)(104 - 122);
		cr_assert(inj_scan_jump8(code, sizeof(code), HERE, 0, near, &found, &target));
		cr_assert(found == 120 && target == HERE + 104);
	}
	code[120] = 0xe8;
	cr_assert_not(inj_scan_jump8(code, sizeof(code), HERE, 0, near, &found, &target));
}

/* The same bytes are a jump, or the immediate of another instruction. */
Test(scan, confirmation)
{
	memset(code, 0x90, sizeof(code));
	plant32(100, (const uint8_t[]){ 0xe9 }, 1, TARGET + 3);
	cr_assert(inj_scan_confirm(code, sizeof(code), HERE, 100, TARGET + 3));
	cr_assert_not(inj_scan_confirm(code, sizeof(code), HERE, 100, TARGET + 4));
	code[98] = 0x48; /* movabs $..., %rax: takes eight bytes from 100 on */
	code[99] = 0xb8;
	memset(code, 0x53, 98); /* push %rbx: no decoding can fall out of step */
	cr_assert_not(inj_scan_confirm(code, sizeof(code), HERE, 100, TARGET + 3));
}

Test(scan, nothing_to_scan)
{
	size_t found;
	inj_addr target;

	for (size_t n = 0; n < 4; n++) {
		cr_assert_not(inj_scan_branch32(code, n, HERE, 0, into, &found, &target));
		cr_assert_not(inj_scan_jump8(code, n < 2 ? n : 1, HERE, 0, into, &found, &target));
	}
}
