/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Return pads at work: C++ code returns and throws through pads on its own stack, with the unwinder
 * of the compiler's own runtime. What pads do to a thread that waits is for the live tests.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "injector/abi/ledger.h"
#include "injector/base/types.h"
#include "injector/redirect/return-pad.h"
#include "injector/redirect/stub-frame.h"
#include "tests/support/victim.h"

#define N_ROUNDS 10000
#define AREA_BYTES (2 * INJ_PAGE_BYTES)
#define FRAMES_BYTES (2 * INJ_PAGE_BYTES)
#define PERSONALITY_AT (DSU_N_PADS * INJ_RETURN_PAD_BYTES)

static struct dsu_control_page *control;
static uint8_t *area;
static size_t n_planted;
static void *library;

static inj_addr find(const char *name)
{
	void *address = dlsym(library, name);

	cr_assert_not_null(address, "%s", name);
	return (uintptr_t)address;
}

static void setup(const char *path)
{
	static struct inj_stub code[DSU_N_PADS + 1];
	const struct inj_stub *list[DSU_N_PADS + 1];
	inj_addr addresses[DSU_N_PADS + 1];
	struct inj_pad_helpers helpers;
	size_t bytes;

	library = dlopen(path, RTLD_NOW);
	cr_assert_not_null(library, "%s", dlerror());
	control = mmap(NULL, INJ_PAGE_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	area = mmap(NULL, AREA_BYTES + FRAMES_BYTES, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert(control != MAP_FAILED && area != MAP_FAILED);
	helpers = (struct inj_pad_helpers){
		.get_ip = find("_Unwind_GetIP"), .set_ip = find("_Unwind_SetIP"),
		.set_gr = find("_Unwind_SetGR"), .resume = find("_Unwind_Resume"),
	};
	inj_pad_personality_emit(&helpers, &code[DSU_N_PADS]);
	for (size_t i = 0; i <= DSU_N_PADS; i++) {
		const size_t at = i * INJ_RETURN_PAD_BYTES;

		if (i < DSU_N_PADS)
			cr_assert_eq(inj_return_pad_emit((uintptr_t)&control->pads[i],
							 (int32_t)(PERSONALITY_AT - at), &code[i]),
				     0);
		list[i] = &code[i];
		addresses[i] = (uintptr_t)area + at;
		memcpy(area + at, code[i].bytes, code[i].n_bytes);
	}
	cr_assert_eq(inj_pad_frames(list, addresses, DSU_N_PADS + 1, addresses[DSU_N_PADS],
				    (uintptr_t)area + AREA_BYTES, area + AREA_BYTES, FRAMES_BYTES,
				    &bytes), 0);
	cr_assert_eq(mprotect(area, AREA_BYTES, PROT_READ | PROT_EXEC), 0);
	/* The unwinder keeps the object for ever. */
	((void (*)(const void *, void *))find("__register_frame_info"))(area + AREA_BYTES,
									calloc(1, 64));
}

/* As the protocol does it: the words first, the slot last. */
static void plant(void **slot)
{
	const size_t i = n_planted++ % DSU_N_PADS;

	control->pads[i] = (struct dsu_pad){
		.back = (uintptr_t)*slot, .slot = (uintptr_t)slot, .armed = 1, .spins = 3,
		.arrived = control->pads[i].arrived,
	};
	*slot = (void *)(uintptr_t)inj_return_pad_entry((uintptr_t)area + i * INJ_RETURN_PAD_BYTES);
}

static void withdraw(void **slot)
{
	for (size_t i = 0; i < DSU_N_PADS; i++)
		if (control->pads[i].slot == (uintptr_t)slot)
			*slot = (void *)(uintptr_t)control->pads[i].back;
}

static size_t count_arrivals(void)
{
	size_t n = 0;

	for (size_t i = 0; i < DSU_N_PADS; i++)
		n += control->pads[i].arrived;
	return n;
}

struct passage {
	char name[32];
	int n_arrivals; /* per round */
};

ParameterizedTestParameters(return_pad, is_passed)
{
	static struct passage passages[] = {
		{ "pass_returning", 1 },	 { "pass_caught_here", 1 },
		{ "pass_caught_beyond", 1 },	 { "pass_cleanup", 1 },
		{ "pass_rethrown", 2 },		 { "pass_planted_on_the_way", 1 },
		{ "pass_withdrawn_on_the_way", 0 }, { "pass_nested", 3 },
		{ "pass_many_arguments", 1 },	 { "pass_thread_exit", 1 },
		{ "pass_backtrace", 1 },
	};

	return cr_make_param_array(struct passage, passages, INJ_ARRAY_LENGTH(passages));
}

/* Every pad that somebody left through has counted him, once. */
static void pass_often(const char *path, const struct passage *passage)
{
	const struct {
		void (*plant)(void **slot);
		void (*withdraw)(void **slot);
	} hooks = { plant, withdraw };
	bool (*pass)(const void *hooks);

	setup(path);
	pass = (bool (*)(const void *))find(passage->name);
	for (int i = 0; i < N_ROUNDS; i++)
		cr_assert(pass(&hooks), "%s: round %d", path, i);
	cr_assert_eq(count_arrivals(), (size_t)passage->n_arrivals * N_ROUNDS, "%zu",
		     count_arrivals());
}

ParameterizedTest(struct passage *passage, return_pad, is_passed)
{
	static const char *const makings[] = { "g++-O0", "g++-O2", "clang++-O0", "clang++-O2" };
	char path[256];
	int n_made = 0;

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(makings); i++) {
		snprintf(path, sizeof(path), "%s/pad-passer-%s.so",
			 build_path("tests/unit/redirect"), makings[i]);
		if (access(path, R_OK) != 0)
			continue;
		pass_often(path, passage);
		n_made++;
	}
	cr_assert_gt(n_made, 0);
}

Test(return_pad, needs_words_that_it_reaches)
{
	struct inj_stub pad;

	cr_assert_eq(inj_return_pad_emit(0x80000000, 0, &pad), -ERANGE);
}
