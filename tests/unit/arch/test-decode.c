/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "injector/arch/x86_64/decode.h"
#include "injector/arch/x86_64/encode.h"

#define HERE 0x400000ull
#define THERE 0x500000ull

struct shape {
	const char *name;
	uint8_t bytes[15];
	uint8_t n;
	enum inj_flow flow;
	bool has_target;
	inj_addr target;
	bool rip_relative;
	inj_addr operand;
	bool movable;
	bool runs_on;
};

#define NEXT(name, n, ...)                                                                         \
	{                                                                                          \
		name, {__VA_ARGS__}, n, INJ_FLOW_NEXT, .movable = true, .runs_on = true            \
	}
#define FLOW(name, n, flow, on, ...)                                                               \
	{                                                                                          \
		name, {__VA_ARGS__}, n, flow, .movable = true, .runs_on = on                       \
	}
#define DIRECT(name, n, flow, target, on, ...) \
	{ name, { __VA_ARGS__ }, n, flow, true, target, .movable = true, .runs_on = on }
#define MEMORY(name, n, flow, operand, on, ...) \
	{ name, { __VA_ARGS__ }, n, flow, false, 0, true, operand, true, on }

static const struct shape shapes[] = {
	NEXT("push %rbp", 1, 0x55),
	NEXT("endbr64", 4, 0xf3, 0x0f, 0x1e, 0xfa),
	NEXT("mov %rsp,%rbp", 3, 0x48, 0x89, 0xe5),
	NEXT("fifteen bytes", 15, 0x67, 0x66, 0xf0, 0x48, 0x81, 0x84, 0x80, 1, 0, 0, 0, 1, 0, 0, 0),
	DIRECT("jmp rel8", 2, INJ_FLOW_JUMP, HERE + 2 + 0x10, false, 0xeb, 0x10),
	DIRECT("jmp rel8 back", 2, INJ_FLOW_JUMP, HERE, false, 0xeb, 0xfe),
	DIRECT("jmp rel32", 5, INJ_FLOW_JUMP, HERE + 5 - 0x100, false, 0xe9, 0x00, 0xff, 0xff,
	       0xff),
	DIRECT("bnd jmp rel32", 6, INJ_FLOW_JUMP, HERE + 6 + 1, false, 0xf2, 0xe9, 1, 0, 0, 0),
	DIRECT("je rel8", 2, INJ_FLOW_BRANCH, HERE + 2 + 5, true, 0x74, 0x05),
	DIRECT("jne rel32", 6, INJ_FLOW_BRANCH, HERE + 6 + 0x100, true, 0x0f, 0x85, 0, 1, 0, 0),
	DIRECT("jrcxz", 2, INJ_FLOW_LOOP, HERE + 2 + 3, true, 0xe3, 0x03),
	DIRECT("jecxz", 3, INJ_FLOW_LOOP, HERE + 3 + 3, true, 0x67, 0xe3, 0x03),
	DIRECT("loop", 2, INJ_FLOW_LOOP, HERE + 2 - 4, true, 0xe2, 0xfc),
	DIRECT("loope", 2, INJ_FLOW_LOOP, HERE, true, 0xe1, 0xfe),
	DIRECT("call rel32", 5, INJ_FLOW_CALL, HERE + 5 + 0x10, true, 0xe8, 0x10, 0, 0, 0),
	DIRECT("data16 rex.W call", 8, INJ_FLOW_CALL, HERE + 8 + 1, true, 0x66, 0x66, 0x48, 0xe8, 1,
	       0, 0, 0),
	FLOW("call *%rax", 2, INJ_FLOW_CALL_INDIRECT, true, 0xff, 0xd0),
	FLOW("jmp *%rax", 2, INJ_FLOW_JUMP_INDIRECT, false, 0xff, 0xe0),
	FLOW("notrack jmp *%rax", 3, INJ_FLOW_JUMP_INDIRECT, false, 0x3e, 0xff, 0xe0),
	FLOW("jmp *table(,%rax,8)", 7, INJ_FLOW_JUMP_INDIRECT, false, 0xff, 0x24, 0xc5, 0x00, 0x10,
	     0x40, 0x00),
	FLOW("ret", 1, INJ_FLOW_RETURN, false, 0xc3),
	FLOW("bnd ret", 2, INJ_FLOW_RETURN, false, 0xf2, 0xc3),
	FLOW("ret $8", 3, INJ_FLOW_RETURN, false, 0xc2, 0x08, 0x00),
	FLOW("ud2", 2, INJ_FLOW_STOP, false, 0x0f, 0x0b),
	FLOW("int3", 1, INJ_FLOW_STOP, false, 0xcc),
	FLOW("hlt", 1, INJ_FLOW_STOP, false, 0xf4),
	FLOW("syscall", 2, INJ_FLOW_KERNEL, true, 0x0f, 0x05),
	FLOW("int $0x80", 2, INJ_FLOW_KERNEL, true, 0xcd, 0x80),
	MEMORY("mov 0x10(%rip),%rax", 7, INJ_FLOW_NEXT, HERE + 7 + 0x10, true, 0x48, 0x8b, 0x05,
	       0x10, 0, 0, 0),
	MEMORY("cmpl $1,0x10(%rip)", 7, INJ_FLOW_NEXT, HERE + 7 + 0x10, true, 0x83, 0x3d, 0x10, 0,
	       0, 0, 1),
	MEMORY("movl $1,-8(%rip)", 10, INJ_FLOW_NEXT, HERE + 10 - 8, true, 0xc7, 0x05, 0xf8, 0xff,
	       0xff, 0xff, 1, 0, 0, 0),
	MEMORY("vmovaps 0x20(%rip),%ymm0", 8, INJ_FLOW_NEXT, HERE + 8 + 0x20, true, 0xc5, 0xfc,
	       0x28, 0x05, 0x20, 0, 0, 0),
	MEMORY("jmp *0x10(%rip)", 6, INJ_FLOW_JUMP_SLOT, HERE + 6 + 0x10, false, 0xff, 0x25, 0x10,
	       0, 0, 0),
	MEMORY("call *0x10(%rip)", 6, INJ_FLOW_CALL_INDIRECT, HERE + 6 + 0x10, true, 0xff, 0x15,
	       0x10, 0, 0, 0),
	{"xbegin",
	 {0xc7, 0xf8, 4, 0, 0, 0},
	 6,
	 INJ_FLOW_TRANSACTION,
	 true,
	 HERE + 6 + 4,
	 .movable = false,
	 .runs_on = true},
	{"data16 jmp",
	 {0x66, 0xe9, 4, 0, 0, 0},
	 6,
	 INJ_FLOW_JUMP,
	 true,
	 HERE + 6 + 4,
	 .movable = false,
	 .runs_on = false},
	{"mov 0x10(%eip),%eax",
	 {0x67, 0x8b, 0x05, 0x10, 0, 0, 0},
	 7,
	 INJ_FLOW_NEXT,
	 false,
	 0,
	 true,
	 HERE + 7 + 0x10,
	 .movable = false,
	 .runs_on = true},
};

Test(decode, shapes)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(shapes); i++) {
		const struct shape *shape = &shapes[i];
		struct inj_insn insn;

		cr_assert_eq(inj_insn_decode(shape->bytes, shape->n, HERE, &insn), 0, "%s",
			     shape->name);
		cr_expect_eq(insn.n_bytes, shape->n, "%s", shape->name);
		cr_expect_eq(insn.flow, shape->flow, "%s: %d", shape->name, insn.flow);
		cr_expect_eq(insn.has_target, shape->has_target, "%s", shape->name);
		cr_expect(!insn.has_target || insn.target == shape->target, "%s", shape->name);
		cr_expect_eq(insn.rip_relative, shape->rip_relative, "%s", shape->name);
		cr_expect(!insn.rip_relative || insn.operand == shape->operand, "%s", shape->name);
		cr_expect_eq(insn.movable, shape->movable, "%s", shape->name);
		cr_expect_eq(inj_insn_runs_on(&insn), shape->runs_on, "%s", shape->name);
	}
}

/* Every proper prefix of an instruction is refused, never read beyond. */
Test(decode, truncated)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(shapes); i++) {
		for (size_t n = 0; n < shapes[i].n; n++) {
			struct inj_insn insn;

			cr_assert_eq(inj_insn_decode(shapes[i].bytes, n, HERE, &insn), -EILSEQ,
				     "%s, %zu", shapes[i].name, n);
		}
	}
}

Test(decode, not_an_instruction)
{
	static const uint8_t bytes[][4] = { { 0x06 }, { 0x0f, 0xff }, { 0x62, 0x00 }, { 0xd6 } };

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(bytes); i++) {
		struct inj_insn insn;

		if (i == 1) /* ud0 needs a ModRM byte and is valid with one */
			continue;
		cr_assert_eq(inj_insn_decode(bytes[i], 1, HERE, &insn), -EILSEQ, "%zu", i);
	}
}

Test(decode, kinds_of_nop)
{
	static const struct {
		uint8_t bytes[10];
		uint8_t n;
		bool is_nop;
	} cases[] = {
		{ { 0x90 }, 1, true },
		{ { 0x66, 0x90 }, 2, true },
		{ { 0x0f, 0x1f, 0x00 }, 3, true },
		{ { 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0, 0, 0, 0 }, 10, true },
		{ { 0xf3, 0x90 }, 2, false },             /* pause */
		{ { 0xf3, 0x0f, 0x1e, 0xfa }, 4, false }, /* endbr64 */
		{ { 0x48, 0x87, 0xc0 }, 3, false },       /* xchg %rax,%rax */
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++) {
		struct inj_insn insn;

		cr_assert_eq(inj_insn_decode(cases[i].bytes, cases[i].n, HERE, &insn), 0);
		cr_assert_eq(insn.n_bytes, cases[i].n);
		cr_assert_eq(insn.is_nop, cases[i].is_nop, "case %zu", i);
	}
}

Test(decode, addresses_formed)
{
	static const struct {
		uint8_t bytes[10];
		uint8_t n;
		inj_addr formed;
	} cases[] = {
		{{0x48, 0x8d, 0x05, 0x10, 0, 0, 0}, 7, HERE + 7 + 0x10}, /* lea 0x10(%rip),%rax */
		{{0xff, 0x24, 0xc5, 0x00, 0x10, 0x40, 0x00},
		 7,
		 0x401000},				       /* jmp *0x401000(,%rax,8) */
		{{0xbf, 0x00, 0x20, 0x40, 0x00}, 5, 0x402000}, /* mov $0x402000,%edi */
		{{0x48, 0xb8, 1, 2, 3, 4, 5, 6, 0, 0}, 10, 0x060504030201}, /* movabs */
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++) {
		struct inj_insn insn;

		cr_assert_eq(inj_insn_decode(cases[i].bytes, cases[i].n, HERE, &insn), 0);
		cr_assert_eq(insn.n_refers, 1, "case %zu", i);
		cr_assert_eq(insn.refers[0], cases[i].formed, "case %zu", i);
	}
}

struct move {
	const char *name;
	uint8_t bytes[15];
	uint8_t n;
	uint8_t moved[15];
	uint8_t n_moved;
};

/* Moved from HERE to THERE, 1 MiB further on. */
static const struct move moves[] = {
	{"push %rbp", {0x55}, 1, {0x55}, 1},
	{"jmp rel8", {0xeb, 0x10}, 2, {0xe9, 0x0d, 0x00, 0xf0, 0xff}, 5},
	{"jmp rel32", {0xe9, 0, 1, 0, 0}, 5, {0xe9, 0x00, 0x01, 0xf0, 0xff}, 5},
	{"bnd jmp", {0xf2, 0xe9, 0, 1, 0, 0}, 6, {0xe9, 0x01, 0x01, 0xf0, 0xff}, 5},
	{"jle rel8", {0x7e, 0x10}, 2, {0x0f, 0x8e, 0x0c, 0x00, 0xf0, 0xff}, 6},
	{"jle rel32", {0x0f, 0x8e, 0, 1, 0, 0}, 6, {0x0f, 0x8e, 0x00, 0x01, 0xf0, 0xff}, 6},
	{"jrcxz", {0xe3, 0x03}, 2, {0xe3, 0x02, 0xeb, 0x05, 0xe9, 0xfc, 0xff, 0xef, 0xff}, 9},
	{"jecxz",
	 {0x67, 0xe3, 0x03},
	 3,
	 {0x67, 0xe3, 0x02, 0xeb, 0x05, 0xe9, 0xfc, 0xff, 0xef, 0xff},
	 10},
	{"loopne", {0xe0, 0xf0}, 2, {0xe0, 0x02, 0xeb, 0x05, 0xe9, 0xe9, 0xff, 0xef, 0xff}, 9},
	{"call", {0xe8, 0, 1, 0, 0}, 5, {0xe8, 0x00, 0x01, 0xf0, 0xff}, 5},
	{"data16 call", {0x66, 0x66, 0x48, 0xe8, 0, 1, 0, 0}, 8, {0xe8, 0x03, 0x01, 0xf0, 0xff}, 5},
	{"mov (%rip)",
	 {0x48, 0x8b, 0x05, 0x10, 0, 0, 0},
	 7,
	 {0x48, 0x8b, 0x05, 0x10, 0x00, 0xf0, 0xff},
	 7},
	{"cmpl $1,(%rip)",
	 {0x83, 0x3d, 0x10, 0, 0, 0, 1},
	 7,
	 {0x83, 0x3d, 0x10, 0x00, 0xf0, 0xff, 1},
	 7},
	{"call *(%rip)", {0xff, 0x15, 0x10, 0, 0, 0}, 6, {0xff, 0x15, 0x10, 0x00, 0xf0, 0xff}, 6},
	{"vmovaps",
	 {0xc5, 0xfc, 0x28, 0x05, 0x20, 0, 0, 0},
	 8,
	 {0xc5, 0xfc, 0x28, 0x05, 0x20, 0x00, 0xf0, 0xff},
	 8},
};

Test(decode, moves)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(moves); i++) {
		const struct move *move = &moves[i];
		uint8_t buffer[32];
		struct inj_encoder encoder = {
			.bytes = buffer, .capacity = sizeof(buffer), .address = THERE };
		struct inj_insn insn;

		cr_assert_eq(inj_insn_decode(move->bytes, move->n, HERE, &insn), 0, "%s",
			     move->name);
		cr_assert_eq(inj_insn_moved_bytes(&insn), move->n_moved, "%s", move->name);
		cr_assert_eq(inj_insn_move(&encoder, &insn, move->bytes, insn.target), 0);
		cr_assert_eq(encoder.error, 0, "%s", move->name);
		cr_assert_eq(encoder.n, move->n_moved, "%s", move->name);
		cr_assert_arr_eq(buffer, move->moved, move->n_moved, "%s", move->name);
	}
}

Test(decode, moves_out_of_reach)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(moves); i++) {
		uint8_t buffer[32];
		struct inj_encoder encoder = {.bytes = buffer,
					      .capacity = sizeof(buffer),
					      .address = HERE + (3ull << 30)};
		struct inj_insn insn;

		cr_assert_eq(inj_insn_decode(moves[i].bytes, moves[i].n, HERE, &insn), 0);
		cr_assert_eq(inj_insn_move(&encoder, &insn, moves[i].bytes, insn.target), 0);
		cr_assert_eq(encoder.error, insn.has_target || insn.rip_relative ? -ERANGE : 0,
			     "%s", moves[i].name);
	}
}

Test(decode, immovable)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(shapes); i++) {
		uint8_t buffer[32];
		struct inj_encoder encoder = {
			.bytes = buffer, .capacity = sizeof(buffer), .address = THERE };
		struct inj_insn insn;

		cr_assert_eq(inj_insn_decode(shapes[i].bytes, shapes[i].n, HERE, &insn), 0);
		cr_assert_eq(inj_insn_move(&encoder, &insn, shapes[i].bytes, insn.target),
			     shapes[i].movable ? 0 : -EOPNOTSUPP, "%s", shapes[i].name);
	}
}
