/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <errno.h>

#include "injector/arch/x86_64/encode.h"
#include "injector/redirect/promote.h"
#include "tests/unit/redirect/sample.h"

static struct sample sample;
static struct inj_site site;
static struct inj_stub stub;
static struct inj_why why;

static void emit(inj_addr replacement)
{
	cr_assert_eq(inj_site_examine(&sample.text, &site, &why), 0, "%s", why.text);
	cr_assert_eq(inj_stub_emit(&site, STUB_ADDRESS, GENERATION, replacement, &stub, &why), 0,
		     "%s", why.text);
}

/* cmpb $0, 0x10008; jne 0x555555700000 */
#define DISPATCH 0x80, 0x3c, 0x25, 0x08, 0x00, 0x01, 0x00, 0x00, 0x0f, 0x85, 0xf2, 0xff, 0x0f, 0x00

#define expect_code(...)                                                                     \
	do {                                                                                 \
		const uint8_t wanted_[] = { DISPATCH, __VA_ARGS__ };                         \
		cr_assert_eq(stub.n_bytes, sizeof(wanted_), "%zu bytes", stub.n_bytes);      \
		for (size_t i_ = 0; i_ < sizeof(wanted_); i_++)                              \
			cr_assert_eq(stub.bytes[i_], wanted_[i_], "byte %zu: %02x", i_,      \
				     stub.bytes[i_]);                                        \
		cr_assert_eq(stub.old_path, 14);                                             \
	} while (0)

#define expect_map(...)                                                                      \
	do {                                                                                 \
		const struct inj_relocated wanted_[] = { __VA_ARGS__ };                      \
		cr_assert_eq(stub.n_map, INJ_ARRAY_LENGTH(wanted_));                         \
		for (size_t i_ = 0; i_ < stub.n_map; i_++)                                   \
			cr_assert(stub.map[i_].from == wanted_[i_].from &&                   \
				  stub.map[i_].to == wanted_[i_].to, "entry %zu: %u %u", i_, \
				  stub.map[i_].from, stub.map[i_].to);                       \
	} while (0)

#define expect_cfi(...)                                                                      \
	do {                                                                                 \
		const uint8_t wanted_[] = { __VA_ARGS__ };                                   \
		cr_assert_eq(stub.n_cfi, sizeof(wanted_), "%zu bytes", stub.n_cfi);          \
		cr_assert_arr_eq(stub.cfi, wanted_, sizeof(wanted_));                        \
	} while (0)

Test(stub, ordinary_entry)
{
	SAMPLE(sample, 0, 0, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0xc9, 0xc3);
	emit(REPLACEMENT);
	expect_code(0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10,
		    /* jmp 0x555555554008 from 0x55555560001b */
		    0xe9, 0xed, 0x3f, 0xf5, 0xff);
	expect_map({ 0, 14 }, { 1, 15 }, { 4, 18 }, { 8, 22 });
	/* at 15: CFA rsp+16, rbp at -16; at 18: CFA rbp+16 */
	expect_cfi(0x4f, 0x0e, 0x10, 0x86, 0x02, 0x43, 0x0d, 0x06);
}

Test(stub, behind_endbr64)
{
	SAMPLE(sample, 0, 0, 0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x83, 0xec, 0x08, 0x31, 0xc0, 0x48, 0x83,
	       0xc4, 0x08, 0xc3);
	emit(REPLACEMENT);
	expect_code(0x48, 0x83, 0xec, 0x08, 0x31, 0xc0, 0xe9, 0xf1, 0x3f, 0xf5, 0xff);
	expect_map({ 4, 14 }, { 8, 18 }, { 10, 20 });
	expect_cfi(0x52, 0x0e, 0x10);
}

/* A return is covered: nothing behind it is copied, and nothing jumps back. */
Test(stub, whole_function)
{
	SAMPLE(sample, 0, 13, 0x31, 0xc0, 0xc3);
	emit(REPLACEMENT);
	expect_code(0x31, 0xc0, 0xc3);
	expect_map({ 0, 14 }, { 2, 16 });
	cr_assert_eq(stub.n_cfi, 0);
}

Test(stub, rip_relative)
{
	/* mov 0x1000(%rip),%rax; ret */
	SAMPLE(sample, 0, 0, 0x48, 0x8b, 0x05, 0x00, 0x10, 0x00, 0x00, 0xc3);
	emit(REPLACEMENT);
	/* 0x555555555007 - 0x555555600015 */
	expect_code(0x48, 0x8b, 0x05, 0xf2, 0x4f, 0xf5, 0xff, 0xe9, 0xed, 0x3f, 0xf5, 0xff);
}

Test(stub, call_first)
{
	SAMPLE(sample, 0, 0, 0xe8, 0x00, 0x10, 0x00, 0x00, 0xc3);
	emit(REPLACEMENT);
	/* call 0x555555555005 from 0x555555600013; jmp 0x555555554005 from 0x555555600018 */
	expect_code(0xe8, 0xf2, 0x4f, 0xf5, 0xff, 0xe9, 0xed, 0x3f, 0xf5, 0xff);
	expect_map({ 0, 14 }, { 5, 19 });
}

Test(stub, jrcxz)
{
	/* jrcxz 1f; dec %rcx; 1: ret */
	SAMPLE(sample, 0, 0, 0xe3, 0x03, 0x48, 0xff, 0xc9, 0xc3);
	emit(REPLACEMENT);
	/* jrcxz +2; jmp +5; jmp 0x555555554005 from 0x555555600017; dec %rcx; jmp back */
	expect_code(0xe3, 0x02, 0xeb, 0x05, 0xe9, 0xee, 0x3f, 0xf5, 0xff, 0x48, 0xff, 0xc9, 0xe9,
		    0xe6, 0x3f, 0xf5, 0xff);
	expect_map({ 0, 14 }, { 2, 23 }, { 5, 26 });
}

Test(stub, short_condition)
{
	/* test %edi,%edi; je 1f; nop; 1: ret */
	SAMPLE(sample, 0, 0, 0x85, 0xff, 0x74, 0x01, 0x90, 0xc3);
	emit(REPLACEMENT);
	/* je 0x555555554005 from 0x555555600016 */
	expect_code(0x85, 0xff, 0x0f, 0x84, 0xef, 0x3f, 0xf5, 0xff, 0x90, 0xe9, 0xe9, 0x3f, 0xf5,
		    0xff);
}

/* xor %eax,%eax; 2: dec %edi; jne 2b; ret: the branch leads to the copy */
Test(stub, covered_loop)
{
	SAMPLE(sample, 0, 0, 0x31, 0xc0, 0xff, 0xcf, 0x75, 0xfc, 0xc3);
	emit(REPLACEMENT);
	expect_code(0x31, 0xc0, 0xff, 0xcf, 0x0f, 0x85, 0xf8, 0xff, 0xff, 0xff, 0xe9, 0xe9, 0x3f,
		    0xf5, 0xff);
	expect_map({ 0, 14 }, { 2, 16 }, { 4, 18 }, { 6, 24 });
}

/* A covered branch to the entry stays in the old version: 0: dec %edi; jne 0b; nop; ret */
Test(stub, covered_loop_to_the_entry)
{
	SAMPLE(sample, 0, 0, 0xff, 0xcf, 0x75, 0xfc, 0x90, 0xc3);
	emit(REPLACEMENT);
	expect_code(0xff, 0xcf, 0x0f, 0x85, 0xf8, 0xff, 0xff, 0xff, 0x90, 0xe9, 0xe9, 0x3f, 0xf5,
		    0xff);
}

/* A covered call to the function itself is a call of whatever version is current. */
Test(stub, covered_recursion)
{
	SAMPLE(sample, 0, 0, 0xe8, 0xfb, 0xff, 0xff, 0xff, 0xc3);
	emit(REPLACEMENT);
	expect_code(0xe8, 0xed, 0x3f, 0xf5, 0xff, 0xe9, 0xed, 0x3f, 0xf5, 0xff);
}

/* Two paths with different frames: test; je 1f; ret; 1: push %rbx; ... */
Test(stub, frames_on_two_paths)
{
	/* push %rbx; test %edi,%edi; jne 2f; pop %rbx; ret */
	SAMPLE(sample, 0, 16, 0x53, 0x85, 0xff, 0x75, 0x02, 0x5b, 0xc3, 0x5b, 0xc3);
	emit(REPLACEMENT);
	expect_code(0x53, 0x85, 0xff, 0x0f, 0x85, 0xf0, 0x3f, 0xf5, 0xff, 0xe9, 0xe9, 0x3f, 0xf5,
		    0xff);
	expect_cfi(0x4f, 0x0e, 0x10, 0x83, 0x02);
	/* je 1f; pop %rbx... : the rule goes back where the paths part */
	SAMPLE(sample, 0, 16, 0x53, 0x74, 0x02, 0x5b, 0xc3, 0x58, 0x5b, 0xc3);
	emit(REPLACEMENT);
	/* 14 push; 15 je; 21 pop; 22 ret: four instructions in five bytes, nothing jumps back */
	expect_map({ 0, 14 }, { 1, 15 }, { 3, 21 }, { 4, 22 });
	expect_cfi(0x4f, 0x0e, 0x10, 0x83, 0x02, 0x47, 0x0e, 0x08, 0xc3);
}

Test(stub, far_replacement)
{
	SAMPLE(sample, 0, 0, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0xc9, 0xc3);
	emit(0x7fff12345678ull);
	static const uint8_t wanted[] = {
		0x80, 0x3c, 0x25, 0x08, 0x00, 0x01, 0x00, 0x00,
		0x0f, 0x85, 0x0d, 0x00, 0x00, 0x00, /* jne to the far jump at 27 */
		0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10,
		0xe9, 0xed, 0x3f, 0xf5, 0xff,
		0xff, 0x25, 0x00, 0x00, 0x00, 0x00,
		0x78, 0x56, 0x34, 0x12, 0xff, 0x7f, 0x00, 0x00,
	};
	cr_assert_eq(stub.n_bytes, sizeof(wanted));
	cr_assert_arr_eq(stub.bytes, wanted, sizeof(wanted));
	expect_map({ 0, 14 }, { 1, 15 }, { 4, 18 }, { 8, 22 }, { 0, 27 });
	expect_cfi(0x4f, 0x0e, 0x10, 0x86, 0x02, 0x43, 0x0d, 0x06, 0x49, 0x0c, 0x07, 0x08, 0xc6);
}

Test(stub, late)
{
	/* loop to entry + 2 and no padding */
	SAMPLE(sample, 0, 0, 0x31, 0xc0, 0xff, 0xc0, 0x39, 0xf8, 0x75, 0xfa, 0xc3);
	emit(REPLACEMENT);
	cr_assert_eq(site.kind, INJ_SITE_LATE);
	cr_assert_eq(stub.n_bytes, 5);
	cr_assert_arr_eq(stub.bytes, "\xe9\xfb\xff\x0f\x00", 5);
	cr_assert(stub.n_map == 0 && stub.n_cfi == 0 && stub.old_path == 0);
	emit(0x7fff12345678ull);
	cr_assert_eq(stub.n_bytes, 14);
	cr_assert_arr_eq(stub.bytes, "\xff\x25\0\0\0\0\x78\x56\x34\x12\xff\x7f\0\0", 14);
}

Test(stub, out_of_reach)
{
	SAMPLE(sample, 0, 0, 0x48, 0x8b, 0x05, 0x00, 0x10, 0x00, 0x00, 0xc3);
	emit(REPLACEMENT);
	cr_assert_eq(inj_stub_emit(&site, SITE_ADDRESS + (3ull << 30), GENERATION, REPLACEMENT,
				   &stub, &why),
		     -ERANGE);
	cr_assert_eq(why.code, INJ_INTERNAL);
	cr_assert_eq(inj_stub_emit(&site, STUB_ADDRESS, 0x80000000ull, REPLACEMENT, &stub, &why),
		     -ERANGE);
	/* rip-relative operand within reach of the stub, jump back not */
	site.covered[6] = 0x7f;
	cr_assert_eq(inj_stub_emit(&site, SITE_ADDRESS + 0x80000100ull, GENERATION, REPLACEMENT,
				   &stub, &why),
		     -ERANGE);
}

/* A site that nobody examined: garbage is refused, not copied. */
Test(stub, hostile_site)
{
	struct inj_site hostile = { .address = SITE_ADDRESS, .kind = INJ_SITE_NEAR };

	for (unsigned n = 0; n < 256; n++) {
		hostile.n_covered = (uint8_t)n;
		memset(hostile.covered, 0x06, sizeof(hostile.covered));
		cr_assert_eq(inj_stub_emit(&hostile, STUB_ADDRESS, GENERATION, REPLACEMENT, &stub,
					   &why), INJ_FUNCTION_TOO_SHORT);
	}
}

/* More instructions than a redirect ever covers, and the longest copies: nothing overflows. */
Test(stub, largest)
{
	struct inj_site dense = { .address = SITE_ADDRESS, .kind = INJ_SITE_NEAR, .n_covered = 20 };

	memset(dense.covered, 0x53, sizeof(dense.covered));
	cr_assert_eq(
		inj_stub_emit(&dense, STUB_ADDRESS, GENERATION, 0x7fff12345678ull, &stub, &why), 0);
	cr_assert_eq(stub.n_map, 22);
	cr_assert_leq(stub.n_cfi, sizeof(stub.cfi));
	dense.n_covered = 28;
	for (unsigned i = 0; i < 28; i += 2) {
		dense.covered[i] = 0xe3;
		dense.covered[i + 1] = 0x70;
	}
	cr_assert_eq(
		inj_stub_emit(&dense, STUB_ADDRESS, GENERATION, 0x7fff12345678ull, &stub, &why), 0);
	cr_assert_leq(stub.n_bytes, sizeof(stub.bytes));
}

/* Promoted: the test alone becomes a jump to where it led; demoted: the same bytes as before. */
Test(stub, promoted_and_demoted)
{
	static const uint8_t head[] = { 0xe9, 0xfb, 0xff, 0x0f, 0x00, 0x01, 0x00, 0x00 };
	struct inj_stub before;
	uint64_t test;

	SAMPLE(sample, 0, 0, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0xc9, 0xc3);
	emit(REPLACEMENT);
	before = stub;
	cr_assert(inj_stub_promote(stub.bytes, stub.n_bytes));
	cr_assert_arr_eq(stub.bytes, head, sizeof(head));
	cr_assert_arr_eq(stub.bytes + sizeof(head), before.bytes + sizeof(head),
			 stub.n_bytes - sizeof(head));
	cr_assert_not(inj_stub_promote(stub.bytes, stub.n_bytes), "it is promoted already");
	cr_assert_eq(inj_stub_test(GENERATION, false, &test), 0);
	memcpy(stub.bytes, &test, sizeof(test));
	cr_assert_arr_eq(stub.bytes, before.bytes, stub.n_bytes);
}

/* What the test led to by way of the far jump, the promoted head reaches the same way. */
Test(stub, promoted_far)
{
	int32_t distance;

	SAMPLE(sample, 0, 0, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0xc9, 0xc3);
	emit(0x10000000000);
	cr_assert(inj_stub_promote(stub.bytes, stub.n_bytes));
	memcpy(&distance, stub.bytes + 1, sizeof(distance));
	cr_assert_eq((size_t)(5 + distance), stub.n_bytes - INJ_JMP_FAR_BYTES);
}

Test(stub, promotes_nothing_else)
{
	uint8_t jump[16] = { 0xe9 }, before[16];

	memcpy(before, jump, sizeof(before));
	cr_assert_not(inj_stub_promote(jump, sizeof(jump)));
	cr_assert_arr_eq(jump, before, sizeof(before));
	SAMPLE(sample, 0, 0, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0xc9, 0xc3);
	emit(REPLACEMENT);
	cr_assert_not(inj_stub_promote(stub.bytes, 13), "it is cut off");
}

/* At the edge the test reaches, from its end, what a jump in its place does not. */
Test(stub, promotes_only_within_reach)
{
	uint8_t bytes[] = { 0x80, 0x3c, 0x25, 0, 0, 1, 0, 0, 0x0f, 0x85, 0xff, 0xff, 0xff, 0x7f };
	const uint8_t before = bytes[0];
	uint64_t test;

	cr_assert_not(inj_stub_promote(bytes, sizeof(bytes)));
	cr_assert_eq(bytes[0], before);
	cr_assert_eq(inj_stub_test(0x123456789abull, false, &test), -ERANGE);
}

/* A question to the thread is one byte longer, and everything behind it moves by that. */
Test(stub, per_thread)
{
	static const uint8_t head[] = { 0x65, 0x80, 0x3c, 0x25, 0x08, 0x00, 0x01, 0x00, 0x00,
					0x0f, 0x85, 0xf1, 0xff, 0x0f, 0x00, 0x55 };
	static const uint8_t promoted[] = { 0xe9, 0xfb, 0xff, 0x0f, 0x00 };
	struct inj_stub before;
	uint64_t test;

	SAMPLE(sample, 0, 0, 0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0xc9, 0xc3);
	cr_assert_eq(inj_site_examine(&sample.text, &site, &why), 0, "%s", why.text);
	site.per_thread = true;
	cr_assert_eq(inj_stub_emit(&site, STUB_ADDRESS, GENERATION, REPLACEMENT, &stub, &why), 0,
		     "%s", why.text);
	cr_assert_arr_eq(stub.bytes, head, sizeof(head));
	cr_assert_eq(stub.old_path, 15);
	expect_map({ 0, 15 }, { 1, 16 }, { 4, 19 }, { 8, 23 });
	before = stub;
	cr_assert(inj_stub_promote(stub.bytes, stub.n_bytes));
	cr_assert_arr_eq(stub.bytes, promoted, 5);
	cr_assert_arr_eq(stub.bytes + 5, before.bytes + 5, stub.n_bytes - 5);
	cr_assert_eq(inj_stub_test(GENERATION, true, &test), 0);
	memcpy(stub.bytes, &test, sizeof(test));
	cr_assert_arr_eq(stub.bytes, before.bytes, stub.n_bytes);
}
