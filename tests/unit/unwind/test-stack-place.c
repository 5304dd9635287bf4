/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>

#include "injector/unwind/stack-place.h"

/*
 *	heap         0x500000 - 0x600000
 *	guard        0x7f0000 - 0x7f1000
 *	thread       0x7f1000 - 0x800000, control block at 0x7ff000
 *	loader       0x900000 - 0x910000, the main thread's control block at 0x908000
 *	[stack]      0xa00000 - 0xb00000, the first frame at 0xaff000; may have grown down to
 *0x910000
 */
static struct inj_range mappings[] = {
	{0x500000, 0x600000}, {0x7f0000, 0x7f1000}, {0x7f1000, 0x800000},
	{0x900000, 0x910000}, {0xa00000, 0xb00000},
};
static const struct inj_stack_map map = {
	.mappings = mappings,
	.n_mappings = INJ_ARRAY_LENGTH(mappings),
	.main = {0xa00000, 0xaff000},
	.main_floor = 0x910000,
};

static const struct {
	const char *what;
	bool is_main;
	inj_addr rsp, fs_base;
	bool known, home;
	struct inj_range live, whole;
} cases[] = {
	{"main at home",
	 true,
	 0xa10000,
	 0x908000,
	 true,
	 true,
	 {0xa10000, 0xaff000},
	 {0xa00000, 0xaff000}},
	{"main, stack grown since",
	 true,
	 0x980000,
	 0x908000,
	 true,
	 true,
	 {0x980000, 0xaff000},
	 {0xa00000, 0xaff000}},
	{"main on the heap",
	 true,
	 0x510000,
	 0x908000,
	 true,
	 false,
	 {0x510000, 0x600000},
	 {0xa00000, 0xaff000}},
	{"main below its own control block",
	 true,
	 0x901000,
	 0x908000,
	 true,
	 false,
	 {0x901000, 0x908000},
	 {0xa00000, 0xaff000}},
	{"thread at home",
	 false,
	 0x7f8000,
	 0x7ff000,
	 true,
	 true,
	 {0x7f8000, 0x7ff000},
	 {0x7f1000, 0x7ff000}},
	{"thread at the very bottom",
	 false,
	 0x7f1000,
	 0x7ff000,
	 true,
	 true,
	 {0x7f1000, 0x7ff000},
	 {0x7f1000, 0x7ff000}},
	{"thread above its control block",
	 false,
	 0x7ff800,
	 0x7ff000,
	 true,
	 false,
	 {0x7ff800, 0x800000},
	 {0x7f1000, 0x7ff000}},
	{"thread on the heap",
	 false,
	 0x510000,
	 0x7ff000,
	 true,
	 false,
	 {0x510000, 0x600000},
	 {0x7f1000, 0x7ff000}},
	{"thread on [stack]",
	 false,
	 0xa10000,
	 0x7ff000,
	 true,
	 false,
	 {0xa10000, 0xaff000},
	 {0x7f1000, 0x7ff000}},
	{"thread of no C library", false, 0x510000, 0, true, false, {0x510000, 0x600000}, {0, 0}},
	{"thread in its guard",
	 false,
	 0x7f0800,
	 0x7ff000,
	 true,
	 false,
	 {0x7f0800, 0x7f1000},
	 {0x7f1000, 0x7ff000}},
	{"nowhere", false, 0x100000, 0x7ff000, false, false, {0, 0}, {0x7f1000, 0x7ff000}},
	{"at the end of everything", false, UINT64_MAX, UINT64_MAX, false, false, {0, 0}, {0, 0}},
};

Test(stack_place, tells_whose_stack_it_is)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++) {
		struct inj_stack_place place;
		bool known = inj_stack_place(&map, cases[i].is_main, cases[i].rsp, cases[i].fs_base,
					     &place);

		cr_expect_eq(known, cases[i].known, "%s", cases[i].what);
		cr_expect_eq(place.home, cases[i].home, "%s", cases[i].what);
		cr_expect_eq(place.live.start, cases[i].live.start, "%s", cases[i].what);
		cr_expect_eq(place.live.end, cases[i].live.end, "%s", cases[i].what);
		cr_expect_eq(place.whole.start, cases[i].whole.start, "%s", cases[i].what);
		cr_expect_eq(place.whole.end, cases[i].whole.end, "%s", cases[i].what);
	}
}
