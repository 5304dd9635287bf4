/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Unwind tables, a stack and registers of a hostile target: 16 bytes of registers, 512 bytes of
 * stack, the rest an .eh_frame for the code range that both speak of. Everything the tables can
 * make libunwind do happens here. Walks must end, and never elsewhere than they should.
 */
#include <string.h>

#include "injector/unwind/unwind.h"
#include "tests/fuzz/fuzz.h"

#define CODE   UINT64_C(0x400000)
#define FRAMES UINT64_C(0x10000000)
#define STACK  UINT64_C(0x7ffe0000)

enum { REGISTER_BYTES = 16, STACK_BYTES = 512 };

static bool window(void *context, inj_addr address, struct inj_bytes *ret)
{
	*ret = (struct inj_bytes){STACK, context, STACK_BYTES};
	return address >= STACK && address - STACK <= STACK_BYTES - 8;
}

static void walk(struct inj_unwinder *unwinder, const uint8_t *data, uint8_t *stack)
{
	struct user_regs_struct regs = {.rsp = STACK};
	uint16_t numbers[REGISTER_BYTES / 2];

	memcpy(numbers, data, sizeof(numbers));
	regs.rip = CODE + numbers[0] % 0x1000;
	regs.rsp += numbers[1] % STACK_BYTES;
	regs.rbp = STACK + numbers[2] % STACK_BYTES;
	regs.rdx = CODE + numbers[3] % 0x1000;
	regs.r8 = STACK + numbers[4] % STACK_BYTES;
	regs.rbx = numbers[5];
	const struct inj_frame_state *frame = inj_unwinder_start(unwinder, &regs, window, stack);
	unsigned before = 0;

	if (!frame)
		return;
	while (inj_unwinder_step(unwinder) == INJ_STEP_MORE) {
		if (frame->number != ++before || !frame->pc)
			__builtin_trap();
		inj_unwinder_slot(unwinder);
		inj_unwinder_is_odd(unwinder, frame->pc);
	}
}

/* The stack holds offsets into the code as often as anything else. */
static void make_stack(const uint8_t *data, uint8_t *stack)
{
	for (size_t i = 0; i < STACK_BYTES; i += 8) {
		uint64_t word;

		memcpy(&word, data + i, sizeof(word));
		if (word % 2)
			word = CODE + (word >> 1) % 0x1000;
		memcpy(stack + i, &word, sizeof(word));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct inj_maps maps;
	uint8_t stack[STACK_BYTES];
	struct inj_unwind_tables tables;
	struct inj_unwinder *unwinder;

	if (size < REGISTER_BYTES + STACK_BYTES)
		return 0;
	struct inj_walker_table own = {
		.code = {CODE, CODE + 0x1000},
		.eh_frame = FRAMES,
		.bytes = data + REGISTER_BYTES + STACK_BYTES,
		.n_bytes = size - REGISTER_BYTES - STACK_BYTES,
	};

	make_stack(data + REGISTER_BYTES, stack);
	if (!inj_unwind_tables_init(&tables, &maps, NULL, &own, 1) &&
	    !inj_unwinder_new(&tables, NULL, NULL, &unwinder)) {
		walk(unwinder, data, stack);
		inj_unwinder_free(unwinder);
	}
	inj_unwind_tables_deinit(&tables);
	return 0;
}
