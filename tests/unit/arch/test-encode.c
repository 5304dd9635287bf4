/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "injector/arch/x86_64/decode.h"
#include "injector/arch/x86_64/encode.h"

#define HERE 0x555555550000ull

static uint8_t buffer[64];

static struct inj_encoder start(void)
{
	return (struct inj_encoder){
		.bytes = buffer, .capacity = sizeof(buffer), .address = HERE };
}

#define expect(encoder, ...)                                                                 \
	do {                                                                                 \
		const uint8_t wanted_[] = { __VA_ARGS__ };                                   \
		cr_assert_eq((encoder).error, 0);                                            \
		cr_assert_eq((encoder).n, sizeof(wanted_));                                  \
		cr_assert_arr_eq(buffer, wanted_, sizeof(wanted_));                          \
	} while (0)

Test(encode, jmp32)
{
	struct inj_encoder encoder = start();

	inj_emit_jmp32(&encoder, HERE + 5 + 0x12345678);
	expect(encoder, 0xe9, 0x78, 0x56, 0x34, 0x12);
	inj_emit_jmp32(&encoder, HERE);
	expect(encoder, 0xe9, 0x78, 0x56, 0x34, 0x12, 0xe9, 0xf6, 0xff, 0xff, 0xff);
}

Test(encode, jmp8)
{
	struct inj_encoder encoder = start();

	inj_emit_jmp8(&encoder, HERE + 2 + 127);
	inj_emit_jmp8(&encoder, HERE + 4 - 128);
	expect(encoder, 0xeb, 0x7f, 0xeb, 0x80);
}

Test(encode, jcc32)
{
	struct inj_encoder encoder = start();

	inj_emit_jcc32(&encoder, INJ_IF_NOT_EQUAL, HERE + 6);
	inj_emit_jcc32(&encoder, INJ_IF_EQUAL, HERE);
	expect(encoder, 0x0f, 0x85, 0, 0, 0, 0, 0x0f, 0x84, 0xf4, 0xff, 0xff, 0xff);
}

Test(encode, call32)
{
	struct inj_encoder encoder = start();

	inj_emit_call32(&encoder, HERE + 0x105);
	expect(encoder, 0xe8, 0x00, 0x01, 0x00, 0x00);
}

Test(encode, jmp_far)
{
	struct inj_encoder encoder = start();

	inj_emit_jmp_far(&encoder, 0x7fff12345678ull);
	expect(encoder, 0xff, 0x25, 0, 0, 0, 0, 0x78, 0x56, 0x34, 0x12, 0xff, 0x7f, 0, 0);
}

Test(encode, cmpb)
{
	struct inj_encoder encoder = start();

	inj_emit_cmpb(&encoder, 0x10008, 0);
	expect(encoder, 0x80, 0x3c, 0x25, 0x08, 0x00, 0x01, 0x00, 0x00);
}

Test(encode, cmpb_gs)
{
	struct inj_encoder encoder = start();

	inj_emit_cmpb_gs(&encoder, 0x10008, 0);
	expect(encoder, 0x65, 0x80, 0x3c, 0x25, 0x08, 0x00, 0x01, 0x00, 0x00);
}

Test(encode, push)
{
	struct inj_encoder encoder = start();

	inj_emit_push(&encoder, -1);
	inj_emit_push(&encoder, 127);
	inj_emit_push(&encoder, 128);
	expect(encoder, 0x6a, 0xff, 0x6a, 0x7f, 0x68, 0x80, 0, 0, 0);
}

Test(encode, plain)
{
	struct inj_encoder encoder = start();

	inj_emit_endbr64(&encoder);
	inj_emit_ret(&encoder);
	inj_emit_int3(&encoder, 2);
	expect(encoder, 0xf3, 0x0f, 0x1e, 0xfa, 0xc3, 0xcc, 0xcc);
}

/* Every length decodes to nops, of at most nine bytes each. */
Test(encode, nops)
{
	for (size_t n = 1; n <= 40; n++) {
		struct inj_encoder encoder = start();
		size_t n_insns = 0;

		inj_emit_nop(&encoder, n);
		cr_assert_eq(encoder.error, 0);
		cr_assert_eq(encoder.n, n);
		for (size_t at = 0; at < n; n_insns++) {
			struct inj_insn insn;

			cr_assert_eq(inj_insn_decode(buffer + at, n - at, HERE, &insn), 0);
			cr_assert(insn.is_nop);
			at += insn.n_bytes;
		}
		cr_assert_eq(n_insns, (n + 8) / 9);
	}
}

Test(encode, reach)
{
	cr_assert(inj_reaches32(HERE, HERE + INT32_MAX));
	cr_assert_not(inj_reaches32(HERE, HERE + INT32_MAX + 1ull));
	cr_assert(inj_reaches32(HERE, HERE - 0x80000000ull));
	cr_assert_not(inj_reaches32(HERE, HERE - 0x80000001ull));
	cr_assert(inj_reaches8(HERE, HERE + 127));
	cr_assert_not(inj_reaches8(HERE, HERE + 128));
	cr_assert(inj_reaches8(HERE, HERE - 128));
	cr_assert_not(inj_reaches8(HERE, HERE - 129));
}

typedef void (*emit_fn)(struct inj_encoder *encoder, inj_addr target);

static void emit_jne(struct inj_encoder *encoder, inj_addr target)
{
	inj_emit_jcc32(encoder, INJ_IF_NOT_EQUAL, target);
}

static void emit_cmp(struct inj_encoder *encoder, inj_addr target)
{
	inj_emit_cmpb(encoder, target - HERE, 0);
}

Test(encode, out_of_reach)
{
	static const struct {
		emit_fn emit;
		uint64_t good, bad;
	} cases[] = {
		{ inj_emit_jmp32, 5 + 0x7fffffffull, 5 + 0x80000000ull },
		{ inj_emit_jmp32, 5 - 0x80000000ull, 5 - 0x80000001ull },
		{ inj_emit_jmp8, 2 + 127, 2 + 128 },
		{ inj_emit_jmp8, 2 - 128ull, 2 - 129ull },
		{ emit_jne, 6 + 0x7fffffffull, 6 + 0x80000000ull },
		{ inj_emit_call32, 5 + 0x7fffffffull, 5 + 0x80000000ull },
		{ emit_cmp, 0x7fffffffull, 0x80000000ull },
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++) {
		struct inj_encoder encoder = start();

		cases[i].emit(&encoder, HERE + cases[i].good);
		cr_assert_eq(encoder.error, 0, "case %zu", i);
		encoder = start();
		cases[i].emit(&encoder, HERE + cases[i].bad);
		cr_assert_eq(encoder.error, -ERANGE, "case %zu", i);
		inj_emit_ret(&encoder);
		cr_assert_eq(encoder.n, 0, "nothing follows an error");
	}
}

Test(encode, capacity)
{
	for (size_t room = 0; room < INJ_JMP_FAR_BYTES; room++) {
		struct inj_encoder encoder = start();

		encoder.capacity = room;
		buffer[room] = 0xa5;
		inj_emit_jmp_far(&encoder, HERE);
		cr_assert_eq(encoder.error, -ENOSPC);
		cr_assert_eq(buffer[room], 0xa5);
	}
}
