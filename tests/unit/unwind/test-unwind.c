/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Walks over made-up stacks with made-up tables, among them all that is meant to mislead.
 */
#include <criterion/criterion.h>

#include "injector/base/clock.h"
#include "injector/unwind/unwind.h"
#include "tests/unit/unwind/frames.h"

#define CODE  UINT64_C(0x400000)
#define STACK UINT64_C(0x7ffe0000)

struct world {
	struct frames frames;
	struct inj_unwind_tables tables;
	struct inj_unwinder *unwinder;
	uint64_t stack[64];
	struct user_regs_struct regs;
	struct inj_range code;
};

static bool window(void *context, inj_addr address, struct inj_bytes *ret)
{
	struct world *world = context;

	*ret = (struct inj_bytes){STACK, (uint8_t *)world->stack, sizeof(world->stack)};
	return address >= STACK && address - STACK <= sizeof(world->stack) - 8;
}

/* Stub 0x500000 + n stands for CODE + n. */
static inj_addr translate(void *context, inj_addr pc)
{
	(void)context;
	return pc >= 0x500000 && pc < 0x500100 ? pc - 0x500000 + CODE : pc;
}

static void finish(struct world *world)
{
	static const struct inj_maps maps;
	struct inj_walker_table own = {
		.code = {CODE, CODE + 0x1000},
		.eh_frame = FRAMES,
		.bytes = world->frames.bytes,
		.n_bytes = world->frames.n,
	};

	world->code = own.code;
	cr_assert_eq(inj_unwind_tables_init(&world->tables, &maps, NULL, &own, 1), 0);
	cr_assert_eq(inj_unwinder_new(&world->tables, translate, NULL, &world->unwinder), 0);
	world->regs.rsp = STACK;
	world->regs.rip = CODE + 8;
}

static void end(struct world *world)
{
	inj_unwinder_free(world->unwinder);
	inj_unwind_tables_deinit(&world->tables);
}

/* Functions of 64 bytes: 0 has the state after a call, 1 is the outermost, 2 runs a program. */
static void make(struct world *world, const void *program, size_t n)
{
	static const uint8_t outermost[] = {0x07, 16};

	frames_cie(&world->frames, "zR", 16, after_call, sizeof(after_call));
	frames_fde(&world->frames, CODE, 64, NULL, 0);
	frames_fde(&world->frames, CODE + 64, 64, outermost, sizeof(outermost));
	frames_fde(&world->frames, CODE + 128, 64, program, n);
	finish(world);
}

static size_t walk(struct world *world, enum inj_step *ret_step)
{
	const struct inj_frame_state *frame =
		inj_unwinder_start(world->unwinder, &world->regs, window, world);

	cr_assert_not_null(frame);
	do
		*ret_step = inj_unwinder_step(world->unwinder);
	while (*ret_step == INJ_STEP_MORE);
	return frame->number + 1u;
}

Test(unwind, ends_where_a_rule_says_so)
{
	struct world world = {.stack = {CODE + 9, CODE + 10, CODE + 70}};
	enum inj_step step;

	make(&world, NULL, 0);
	cr_expect_eq(walk(&world, &step), 4);
	cr_expect_eq(step, INJ_STEP_END);
	end(&world);
}

Test(unwind, ends_at_a_null_return_address)
{
	struct world world = {.stack = {CODE + 9, 0}};
	enum inj_step step;

	make(&world, NULL, 0);
	cr_expect_eq(walk(&world, &step), 2);
	cr_expect_eq(step, INJ_STEP_END);
	end(&world);
}

Test(unwind, is_lost_where_nothing_is_known)
{
	struct world world = {.stack = {CODE + 9, CODE + 0x900}};
	enum inj_step step;

	/* rbp would lead on, if one guessed. */
	world.regs.rbp = STACK + 64;
	world.stack[9] = CODE + 70;
	make(&world, NULL, 0);
	cr_expect_eq(walk(&world, &step), 3);
	cr_expect_eq(step, INJ_STEP_LOST);
	end(&world);
}

Test(unwind, is_lost_outside_the_stack)
{
	struct world world = {.stack = {0}};
	enum inj_step step;

	make(&world, NULL, 0);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(world.stack); i++)
		world.stack[i] = CODE + 9;
	cr_expect_eq(walk(&world, &step), 65);
	cr_expect_eq(step, INJ_STEP_LOST);
	world.regs.rsp = UINT64_MAX - 3;
	cr_expect_eq(walk(&world, &step), 1);
	cr_expect_eq(step, INJ_STEP_LOST);
	end(&world);
}

Test(unwind, looks_up_the_call_and_not_what_follows)
{
	/* The call is the last instruction of function 0; function 1 begins behind it. */
	struct world world = {.stack = {CODE + 64, CODE + 70}};
	enum inj_step step;

	make(&world, NULL, 0);
	cr_expect_eq(walk(&world, &step), 3);
	cr_expect_eq(step, INJ_STEP_END);
	end(&world);
}

Test(unwind, translates_pcs_and_return_addresses)
{
	struct world world = {.stack = {0x500009, CODE + 70}};

	make(&world, NULL, 0);
	world.regs.rip = 0x500008;
	const struct inj_frame_state *frame =
		inj_unwinder_start(world.unwinder, &world.regs, window, &world);

	cr_expect_eq(frame->pc, CODE + 8);
	cr_expect_not(frame->is_call);
	cr_assert_eq(inj_unwinder_step(world.unwinder), INJ_STEP_MORE);
	cr_expect_eq(frame->pc, CODE + 9);
	cr_expect(frame->is_call);
	cr_expect_eq(inj_unwinder_slot(world.unwinder), STACK);
	cr_assert_eq(inj_unwinder_step(world.unwinder), INJ_STEP_MORE);
	cr_expect_eq(frame->cfa, STACK + 16);
	cr_expect_eq(inj_unwinder_step(world.unwinder), INJ_STEP_END);
	end(&world);
}

Test(unwind, follows_a_return_address_in_a_register_to_another_stack)
{
	/* longjmp once it has read the buffer: rip in rdx, rsp in r8 */
	static const uint8_t program[] = {0x09, 16, 1, 0x09, 7, 8};
	struct world world = {.stack = {[40] = CODE + 70}};

	make(&world, program, sizeof(program));
	world.regs.rip = CODE + 128;
	world.regs.rdx = CODE + 9;
	world.regs.r8 = STACK + 8 * 40;
	cr_expect(inj_unwinder_is_odd(world.unwinder, CODE + 128));
	cr_expect_not(inj_unwinder_is_odd(world.unwinder, CODE + 8));
	cr_expect_not(inj_unwinder_is_odd(world.unwinder, CODE + 0x900));
	const struct inj_frame_state *frame =
		inj_unwinder_start(world.unwinder, &world.regs, window, &world);

	cr_assert_eq(inj_unwinder_step(world.unwinder), INJ_STEP_MORE);
	cr_expect_eq(frame->pc, CODE + 9);
	cr_expect_eq(frame->cfa, STACK + 8 * 40);
	cr_expect_eq(inj_unwinder_slot(world.unwinder), 0);
	cr_assert_eq(inj_unwinder_step(world.unwinder), INJ_STEP_MORE);
	cr_expect_eq(frame->pc, CODE + 70);
	cr_expect_eq(inj_unwinder_step(world.unwinder), INJ_STEP_END);
	end(&world);
}

struct trap {
	const char *what;
	uint8_t program[16];
	size_t n;
};

static const struct trap traps[] = {
	{"CFA below the stack pointer", {0x13, 1}, 2},
	{"CFA at the stack pointer", {0x0e, 0, 0x90, 0}, 4},
	{"an expression that jumps to itself", {0x0f, 3, 0x2f, 0xfd, 0xff}, 5},
	{"an expression that only pushes", {0x0f, 4, 0x30, 0x2f, 0xfc, 0xff}, 6},
	{"an expression that pops nothing", {0x0f, 3, 0x13, 0x13, 0x13}, 5},
	{"an expression that reads nowhere", {0x0f, 2, 0x31, 0x06}, 4},
	{"a CFA of zero", {0x0f, 1, 0x30}, 3},
	{"the stack pointer moved round and round",
	 {0x16, 7, 2, 0x77, 0, 0x16, 16, 2, 0x80, 0},
	 10},
	{"an operand as big as can be",
	 {0x0e, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
	 11},
};

Test(unwind, is_lost_in_traps_and_soon)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(traps); i++) {
		struct world world = {.stack = {0}};
		enum inj_step step;

		make(&world, traps[i].program, traps[i].n);
		world.regs.rip = CODE + 129;
		for (size_t k = 0; k < INJ_ARRAY_LENGTH(world.stack); k++)
			world.stack[k] = CODE + 130;
		uint64_t before = inj_now_ns();

		walk(&world, &step);
		cr_expect_eq(step, INJ_STEP_LOST, "%s", traps[i].what);
		cr_expect_lt(inj_now_ns() - before, UINT64_C(1000000000), "%s", traps[i].what);
		end(&world);
	}
}

Test(unwind, takes_a_hand_made_bottom_for_the_end)
{
	/* The return address is the entry of function 0 and no call stands before it; what that
	 * would return to is data. */
	struct world world = {.stack = {CODE, STACK + 80}};
	static uint8_t text[0x1000];
	enum inj_step step;

	make(&world, NULL, 0);
	struct inj_constant areas[] = {{.address = CODE - 0x100, .n = sizeof(text), .data = text},
				       world.tables.areas[0]};
	struct inj_constant *kept = world.tables.areas;

	memset(text, 0x90, sizeof(text));
	world.tables.areas = areas;
	world.tables.n_areas = 2;
	cr_expect_eq(walk(&world, &step), 2);
	cr_expect_eq(step, INJ_STEP_END);
	text[0x100 - 5] = 0xe8;
	inj_unwinder_free(world.unwinder);
	cr_assert_eq(inj_unwinder_new(&world.tables, translate, NULL, &world.unwinder), 0);
	walk(&world, &step);
	cr_expect_eq(step, INJ_STEP_LOST, "called from the function before");
	world.tables.areas = kept;
	end(&world);
}

/* Tables of this very program, damaged at random: the walk may be lost, nothing else. */
Test(unwind, survives_damaged_tables, .timeout = 120)
{
	static struct world world;
	struct frames good = {.n = 0};
	static const uint8_t busy[] = {0x41, 0x0e, 16,	 0x86, 2,    0x43, 0x0d, 6,  0x0a,
				       0x0f, 2,	   0x77, 8,    0x0b, 0x10, 3,	 2,  0x77,
				       16,   0x16, 6,	 2,    0x77, 24,   0x09, 12, 13};
	uint64_t seed = 42;
	size_t n_steps = 0;

	frames_cie(&good, "zR", 16, after_call, sizeof(after_call));
	frames_fde(&good, CODE, 64, busy, sizeof(busy));
	frames_fde(&good, CODE + 64, 64, busy, sizeof(busy));
	frames_cie(&good, "zRS", 16, after_call, sizeof(after_call));
	frames_fde(&good, CODE + 128, 64, busy, sizeof(busy));
	for (unsigned round = 0; round < 20000; round++) {
		enum inj_step step;

		world.frames = good;
		for (unsigned i = 0; i < 1 + round % 4; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			world.frames.bytes[(seed >> 33) % good.n] = (uint8_t)(seed >> 20);
		}
		for (size_t i = 0; i < INJ_ARRAY_LENGTH(world.stack); i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			world.stack[i] = seed >> 63 ? CODE + (seed >> 40) % 192 : seed >> 20;
		}
		finish(&world);
		world.regs.rip = CODE + seed % 192;
		world.regs.rbp = STACK + seed % 512;
		n_steps += walk(&world, &step) - 1;
		end(&world);
	}
	cr_expect_gt(n_steps, 2000, "the damage must leave something to walk");
}
