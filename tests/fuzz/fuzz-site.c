/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Machine code between paddings, redirected: four bytes of options, then the code. Whatever is
 * decided must be carried out, must cover what it overwrites, and must leave no branch of the
 * function with a target that is gone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "injector/arch/x86_64/decode.h"
#include "injector/redirect/stub-frame.h"
#include "injector/redirect/translate.h"
#include "tests/fuzz/fuzz.h"

enum {
	WITH_HANDLERS = 1,
	WITH_CODE = 2,
	WITH_DATA = 4,
	FAR_REPLACEMENT = 8,
	RAW_SITE = 16,
	AT_PAGE_END = 32,
};

#define CODE_ADDRESS 0x555555554000ull
#define DATA_ADDRESS 0x555555560000ull
#define STUB_ADDRESS 0x555555700000ull

struct input {
	uint8_t options;
	uint8_t *bytes;
	size_t n;
};

static void require(bool truth)
{
	if (!truth)
		__builtin_trap();
}

static int read_data(void *context, inj_addr address, void *buffer, size_t n)
{
	const struct input *input = context;

	if (address < DATA_ADDRESS || address - DATA_ADDRESS > 65536)
		return -1;
	for (size_t i = 0; i < n; i++)
		((uint8_t *)buffer)[i] = input->bytes[(address - DATA_ADDRESS + i) % input->n];
	return 0;
}

static struct inj_text make_text(struct input *input, uint8_t before, uint8_t after)
{
	inj_addr address = CODE_ADDRESS + before;
	struct inj_text text = { .bytes = input->bytes, .name = "fuzzed" };

	text.before = before % (input->n + 1);
	text.after = after % (input->n - text.before + 1);
	text.size = input->n - text.before - text.after;
	if (input->options & AT_PAGE_END)
		address = CODE_ADDRESS + INJ_PAGE_BYTES - after % 16;
	text.address = address;
	text.has_handlers = input->options & WITH_HANDLERS;
	if (input->options & WITH_CODE) {
		text.code = input->bytes;
		text.code_address = address - text.before;
		text.n_code = input->n;
	}
	if (input->options & WITH_DATA) {
		text.read = read_data;
		text.context = input;
	}
	return text;
}

/* No instruction that stays may branch into bytes that go. */
static void check_branches(const struct inj_text *text, const struct inj_site *site)
{
	inj_addr start = site->address + site->n_kept;
	inj_addr end = start + (site->kind == INJ_SITE_NEAR ? 5 : 2);
	const uint8_t *code = text->bytes + text->before;
	struct inj_insn insn;

	for (uint64_t at = 0; at < text->size; at += insn.n_bytes) {
		if (inj_insn_decode(code + at, text->size - at, text->address + at, &insn) < 0)
			return;
		if (at >= site->n_kept && at < site->n_covered)
			continue;
		require(!insn.has_target || insn.target <= start || insn.target >= end);
	}
}

static void check_writes(const struct inj_text *text, const struct inj_site *site)
{
	struct inj_site_write writes[2];
	inj_addr low = text->address - text->before;
	size_t n;

	require(inj_site_writes(site, STUB_ADDRESS, writes, &n) == 0);
	require(n == (site->kind == INJ_SITE_SHORT ? 2u : 1u));
	for (size_t i = 0; i < n; i++) {
		const uint8_t *now = text->bytes + (writes[i].address - low);

		require(writes[i].address >= low);
		require(writes[i].address + writes[i].n <=
			text->address + text->size + text->after);
		require(memcmp(now, writes[i].old, writes[i].n) == 0);
	}
	require(writes[n - 1].address == site->address + site->n_kept);
}

/* The stub is complete instructions, its map leads there and back, its frames can be built. */
static void check_stub(const struct inj_site *site, const struct inj_stub *stub)
{
	struct inj_detour detour = inj_site_detour(site, stub, STUB_ADDRESS);
	const struct inj_stub *stubs[] = { stub };
	const inj_addr address = STUB_ADDRESS;
	uint8_t frames[256];
	size_t n;

	require(stub->n_bytes > 0 && stub->n_bytes <= sizeof(stub->bytes));
	require(stub->n_map <= INJ_ARRAY_LENGTH(stub->map));
	require(stub->n_cfi <= sizeof(stub->cfi));
	for (size_t i = 0; i < stub->n_map; i++) {
		struct inj_insn insn;
		size_t at = stub->map[i].to;

		require(at >= stub->old_path && at < stub->n_bytes);
		require(i == 0 || at > stub->map[i - 1].to);
		require(inj_insn_decode(stub->bytes + at, stub->n_bytes - at, STUB_ADDRESS + at,
					&insn) == 0);
		require(inj_site_translate(&detour, STUB_ADDRESS + at) ==
			site->address + stub->map[i].from);
	}
	for (inj_addr pc = site->address; pc < site->address + INJ_SITE_MAX_COVERED; pc++) {
		inj_addr copy = inj_site_translate_into_stub(&detour, pc);

		if (copy != 0 && copy != pc)
			require(inj_site_translate(&detour, copy) == pc);
	}
	require(inj_stub_frames(stubs, &address, 1, STUB_ADDRESS + 4096, frames, sizeof(frames),
				&n) == 0);
}

static void try_text(struct input *input, uint8_t before, uint8_t after)
{
	struct inj_text text = make_text(input, before, after);
	inj_addr replacement = input->options & FAR_REPLACEMENT ? 0x1234 : STUB_ADDRESS + 8192;
	struct inj_site site;
	struct inj_stub stub;
	struct inj_why why;

	if (inj_site_examine(&text, &site, &why) != 0)
		return;
	if (site.kind != INJ_SITE_LATE) {
		unsigned n = site.n_kept + (site.kind == INJ_SITE_NEAR ? 5 : 2);

		require(site.n_covered >= n && site.n_covered <= text.size + text.after);
		check_branches(&text, &site);
	}
	check_writes(&text, &site);
	int r = inj_stub_emit(&site, STUB_ADDRESS, 0x10008, replacement, &stub, &why);

	/* operands at the edge of what the original place reaches may be out of reach here */
	require(r == 0 || r == -ERANGE);
	if (r == 0)
		check_stub(&site, &stub);
}

/* A site as a damaged record might have it. */
static void try_raw(const struct input *input, uint8_t kind, uint8_t n_covered)
{
	struct inj_site site = {
		.address = CODE_ADDRESS,
		.kind = kind % 4,
		.n_kept = n_covered & 0x80 ? 4 : 0,
		.n_covered = n_covered & 0x7f,
		.pad = CODE_ADDRESS - 8,
		.n_pad = 5,
	};
	struct inj_stub stub;
	struct inj_why why;

	memcpy(site.covered, input->bytes, input->n < 32 ? input->n : 32);
	if (inj_stub_emit(&site, STUB_ADDRESS, 0x10008, 0x1234, &stub, &why) == 0)
		require(stub.n_bytes <= sizeof(stub.bytes) && stub.n_map <= 32 &&
			stub.n_cfi <= sizeof(stub.cfi));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	if (length < 5 || length > 4096)
		return 0;
	/* exactly as large as the code, so that a sanitizer sees every byte read beyond it */
	struct input input = { .options = bytes[0], .n = length - 4 };

	input.bytes = malloc(input.n);
	if (!input.bytes)
		return 0;
	memcpy(input.bytes, bytes + 4, input.n);
	if (input.options & RAW_SITE)
		try_raw(&input, bytes[1], bytes[2]);
	else
		try_text(&input, bytes[1], bytes[2]);
	free(input.bytes);
	return 0;
}
