/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The search for instructions, and the choice of stacks. */
#include <criterion/criterion.h>
#include <string.h>

#include "injector/stop/borrow-priv.h"

#define BASE 0x400000u

struct scan {
	struct inj_gadget gadget;
	inj_addr pop_ret;
	bool complete;
};

static struct scan scan(const char *bytes, size_t length)
{
	struct scan found = {0};

	found.complete = inj_gadget_scan((const uint8_t *)bytes, length, BASE, &found.gadget,
					 &found.pop_ret);
	return found;
}

#define SCAN(bytes) scan(bytes, sizeof(bytes) - 1)

Test(gadget, long_form)
{
	struct scan found = SCAN("\x90\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05\x90");

	cr_assert(found.complete);
	cr_expect_eq(found.gadget.start, BASE + 1);
	cr_expect_eq(found.gadget.syscall, BASE + 8);
	cr_expect_not(found.gadget.in_two_pieces);
}

Test(gadget, short_form)
{
	struct scan found = SCAN("\xb8\x0f\x00\x00\x00\x0f\x05");

	cr_assert(found.complete);
	cr_expect_eq(found.gadget.start, BASE);
	cr_expect_eq(found.gadget.syscall, BASE + 5);
}

Test(gadget, other_calls_do_not_count)
{
	cr_expect_not(SCAN("\x48\xc7\xc0\x0e\x00\x00\x00\x0f\x05").complete);
	cr_expect_not(SCAN("\xb8\x0f\x01\x00\x00\x0f\x05").complete);
	cr_expect_not(SCAN("\xb8\x0f\x00\x00\x00\x0f\x34").complete);
	cr_expect_not(SCAN("\xb8\x0f\x00\x00\x00\x0f").complete);
	cr_expect_not(SCAN("").complete);
}

Test(gadget, pieces)
{
	struct scan found = SCAN("\x0f\x05\x90\x58\xc3");

	cr_expect_not(found.complete);
	cr_expect_eq(found.gadget.syscall, BASE);
	cr_expect_eq(found.pop_ret, BASE + 3);
}

static struct inj_maps *maps_of(const char *text)
{
	struct inj_maps *maps = NULL;

	cr_assert_eq(inj_maps_parse(strdup(text), strlen(text), &maps), 0, "%s", text);
	return maps;
}

#define MAPS                                                                                       \
	"400000-402000 r-xp 0 fe:1 10 /bin/a\n"                                                    \
	"402000-404000 rw-p 2000 fe:1 10 /bin/a\n"                                                 \
	"500000-600000 rw-p 0 0:0 0 [heap]\n"                                                      \
	"c000000000-c000400000 rw-p 0 0:0 0 \n"                                                    \
	"7f0000000000-7f0000001000 ---p 0 0:0 0 \n"                                                \
	"7f0000001000-7f0000801000 rw-p 0 0:0 0 \n"                                                \
	"7f0001000000-7f0001010000 rw-p 0 0:0 0 \n"                                                \
	"7f0001010000-7f0001020000 r--p 0 0:0 0 \n"                                                \
	"7f0001020000-7f0001030000 rw-p 0 0:0 0 \n"                                                \
	"7f0002000000-7f0002010000 rw-s 0 0:5 7 /memfd:x\n"                                        \
	"7f1000000000-7f1040000000 rw-p 0 0:0 0 \n"                                                \
	"7ffc00000000-7ffc00021000 rw-p 0 0:0 0 [stack]\n"

static bool has_room(inj_addr sp, inj_addr thread_block, inj_addr bytes)
{
	struct inj_maps *maps = maps_of(MAPS);
	struct user_regs_struct regs = {.rsp = sp, .fs_base = thread_block};
	bool room = inj_stack_has_room(maps, &regs, sp - bytes);

	inj_maps_free(maps);
	return room;
}

Test(stack, main_thread)
{
	cr_expect(has_room(0x7ffc00020000, 0x7f0000700000, 5000));
	cr_expect(has_room(0x7ffc00021000, 0, 5000));
	cr_expect_not(has_room(0x7ffc00001000, 0, 5000), "too close to the end");
}

Test(stack, threads_of_the_c_library)
{
	/* The control block lies above the stack pointer, or the mapping has a guard. */
	cr_expect(has_room(0x7f0000700000, 0x7f00008006c0, 5000));
	cr_expect(has_room(0x7f0000700000, 0, 5000));
	cr_expect_not(has_room(0x7f0000002000, 0x7f00008006c0, 5000), "runs into the guard");
	cr_expect(has_room(0x7f0001008000, 0, 5000));
}

Test(stack, foreign_memory)
{
	cr_expect_not(has_room(0x580000, 0x590000, 5000), "heap");
	cr_expect_not(has_room(0x403800, 0, 5000), "data of a program");
	cr_expect_not(has_room(0xc000100000, 0, 5000), "goroutine");
	cr_expect_not(has_room(0xc000100000, 0xc000200000, 5000), "goroutine");
	cr_expect_not(has_room(0x7f0001028000, 0, 5000), "no guard below");
	cr_expect_not(has_room(0x7f0002008000, 0, 5000), "shared");
	cr_expect_not(has_room(0x7f1020000000, 0, 5000), "too large for one stack");
	cr_expect_not(has_room(0x401800, 0, 5000), "not writable");
	cr_expect_not(has_room(0x900000, 0, 5000), "not mapped");
	cr_expect_not(has_room(0x7ffc00020000, 0, (inj_addr)-16), "wraps around");
}
