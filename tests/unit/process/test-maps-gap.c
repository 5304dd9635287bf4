/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "injector/process/maps.h"

#define MIB  (UINT64_C(1) << 20)
#define GIB  (UINT64_C(1) << 30)
#define PAGE UINT64_C(4096)

static struct inj_maps *maps_of(const char *text)
{
	struct inj_maps *maps = NULL;

	cr_assert_eq(inj_maps_parse(strdup(text), strlen(text), &maps), 0, "%s", text);
	return maps;
}

/* Everything that the interface promises about a found place. */
static void check_place(const struct inj_maps *maps, struct inj_range near, size_t bytes,
			inj_addr place)
{
	struct inj_range guarded = {place - PAGE, place + bytes + PAGE};

	cr_assert_eq(place % PAGE, 0);
	for (size_t i = 0; i < maps->n_items; i++)
		cr_assert(maps->items[i].range.end <= guarded.start ||
				  maps->items[i].range.start >= guarded.end,
			  "%lx is too close to %lx-%lx", place, maps->items[i].range.start,
			  maps->items[i].range.end);
	/* The farthest bytes of both. */
	cr_assert((int64_t)(near.end - place) <= (int64_t)(2 * GIB - MIB));
	cr_assert((int64_t)(place + bytes - near.start) <= (int64_t)(2 * GIB - MIB));
}

#define NON_PIE                                                                                    \
	"400000-401000 r--p 0 fe:1 10 /bin/a\n"                                                    \
	"401000-402000 r-xp 1000 fe:1 10 /bin/a\n"                                                 \
	"402000-404000 rw-p 2000 fe:1 10 /bin/a\n"                                                 \
	"1c3f000-1c60000 rw-p 0 0:0 0 [heap]\n"
#define PIE                                                                                        \
	"555555554000-555555555000 r--p 0 fe:1 10 /bin/a\n"                                        \
	"555555555000-555555556000 r-xp 1000 fe:1 10 /bin/a\n"                                     \
	"555555556000-555555558000 rw-p 2000 fe:1 10 /bin/a\n"                                     \
	"555555558000-555555579000 rw-p 0 0:0 0 [heap]\n"
#define LIBRARIES                                                                                  \
	"7ffff7d8d000-7ffff7d90000 rw-p 0 0:0 0 \n"                                                \
	"7ffff7d90000-7ffff7db6000 r--p 0 fe:1 20 /lib/libc.so.6\n"                                \
	"7ffff7db6000-7ffff7f0b000 r-xp 26000 fe:1 20 /lib/libc.so.6\n"                            \
	"7ffff7f0b000-7ffff7f64000 r--p 17b000 fe:1 20 /lib/libc.so.6\n"                           \
	"7ffff7fc5000-7ffff7fc9000 r--p 0 0:0 0 [vvar]\n"                                          \
	"7ffff7fc9000-7ffff7fcb000 r-xp 0 0:0 0 [vdso]\n"                                          \
	"7ffff7fcb000-7ffff7fff000 r-xp 0 fe:1 30 /lib64/ld-linux-x86-64.so.2\n"                   \
	"7ffffffde000-7ffffffff000 rw-p 0 0:0 0 [stack]\n"                                         \
	"ffffffffff600000-ffffffffff601000 --xp 0 0:0 0 [vsyscall]\n"

static const struct inj_range non_pie = {0x400000, 0x404000};
static const struct inj_range pie = {0x555555554000, 0x555555558000};
static const struct inj_range libc = {0x7ffff7d90000, 0x7ffff7f64000};

Test(gap, below_a_pie)
{
	INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = maps_of(PIE LIBRARIES);
	inj_addr place = 0;

	cr_assert_eq(inj_maps_gap(maps, pie, 16 * PAGE, NULL, 0, &place), 0);
	check_place(maps, pie, 16 * PAGE, place);
	/* As close as the guard page allows, away from the heap. */
	cr_assert_eq(place, pie.start - 17 * PAGE);
}

Test(gap, below_a_non_pie_while_it_fits)
{
	INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = maps_of(NON_PIE LIBRARIES);
	inj_addr place = 0;
	/* From 1 MiB to the guard page below the program. */
	size_t most = non_pie.start - PAGE - MIB;

	cr_assert_eq(inj_maps_gap(maps, non_pie, PAGE, NULL, 0, &place), 0);
	check_place(maps, non_pie, PAGE, place);
	cr_assert_eq(place, 0x400000 - 2 * PAGE);
	cr_assert_eq(inj_maps_gap(maps, non_pie, most, NULL, 0, &place), 0);
	check_place(maps, non_pie, most, place);
	cr_assert_eq(place, MIB);
	/* One page more: then between the program and its heap. */
	cr_assert_eq(inj_maps_gap(maps, non_pie, most + PAGE, NULL, 0, &place), 0);
	check_place(maps, non_pie, most + PAGE, place);
	cr_assert_eq(place, 0x404000 + PAGE);
	/* Too much for that as well: above the heap, with room for it to grow. */
	cr_assert_eq(inj_maps_gap(maps, non_pie, 64 * MIB, NULL, 0, &place), 0);
	check_place(maps, non_pie, 64 * MIB, place);
	cr_assert_eq(place, 0x1c60000 + 64 * MIB + PAGE);
}

Test(gap, near_libraries)
{
	INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = maps_of(PIE LIBRARIES);
	inj_addr place = 0;

	cr_assert_eq(inj_maps_gap(maps, libc, PAGE, NULL, 0, &place), 0);
	check_place(maps, libc, PAGE, place);
	cr_assert_eq(place, 0x7ffff7d8d000 - 2 * PAGE);
}

/* A range that spans program and libraries cannot be served; a pair that is 2 GiB apart neither. */
Test(gap, modules_too_far_apart)
{
	INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = maps_of(PIE LIBRARIES);
	struct inj_range both = {pie.start, libc.end};
	struct inj_range just = {0x10000000000, 0x10000000000 + 2 * GIB - MIB};
	inj_addr place = 77;

	cr_assert_eq(inj_maps_gap(maps, both, PAGE, NULL, 0, &place), -ENOMEM);
	cr_assert_eq(inj_maps_gap(maps, just, PAGE, NULL, 0, &place), -ENOMEM);
	cr_assert_eq(place, 77);
	/* With room for the bytes and a guard page on one side, just not. */
	just.end -= 2 * PAGE;
	cr_assert_eq(inj_maps_gap(maps, just, PAGE, NULL, 0, &place), 0);
	check_place(maps, just, PAGE, place);
	cr_assert_eq(inj_maps_gap(maps, just, 2 * PAGE, NULL, 0, &place), -ENOMEM);
}

Test(gap, ends_of_the_address_space)
{
	INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = maps_of("");
	struct inj_range lowest = {0, PAGE};
	struct inj_range highest = {0x7fffffffe000, 0x7ffffffff000};
	struct inj_range vsyscall = {0xffffffffff600000, 0xffffffffff601000};
	struct inj_range last = {UINT64_MAX - PAGE + 1, UINT64_MAX};
	inj_addr place = 0;

	cr_assert_eq(inj_maps_gap(maps, lowest, PAGE, NULL, 0, &place), 0);
	cr_assert_eq(place, MIB);
	cr_assert_eq(inj_maps_gap(maps, highest, PAGE, NULL, 0, &place), 0);
	cr_assert_eq(place, highest.start - 2 * PAGE);
	cr_assert_eq(inj_maps_gap(maps, vsyscall, PAGE, NULL, 0, &place), -ENOMEM);
	cr_assert_eq(inj_maps_gap(maps, last, PAGE, NULL, 0, &place), -ENOMEM);
}

Test(gap, bad_sizes)
{
	INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = maps_of(PIE);
	struct inj_range backwards = {pie.end, pie.start};
	inj_addr place = 77;

	cr_assert_eq(inj_maps_gap(maps, pie, 0, NULL, 0, &place), -EINVAL);
	cr_assert_eq(inj_maps_gap(maps, pie, 100, NULL, 0, &place), -EINVAL);
	cr_assert_eq(inj_maps_gap(maps, backwards, PAGE, NULL, 0, &place), -EINVAL);
	cr_assert_eq(inj_maps_gap_low(maps, PAGE + 1, NULL, 0, &place), -EINVAL);
	cr_assert_eq(inj_maps_gap(maps, pie, 4 * GIB, NULL, 0, &place), -ENOMEM);
	cr_assert_eq(inj_maps_gap(maps, pie, -PAGE, NULL, 0, &place), -ENOMEM);
	cr_assert_eq(inj_maps_gap_low(maps, -PAGE, NULL, 0, &place), -ENOMEM);
	cr_assert_eq(place, 77);
}

/* Every page from 1 MiB up to beyond the window is taken, but for a hole of five pages. */
Test(gap, last_hole)
{
	char text[256];
	inj_addr hole = 0x555555554000 - 100 * MIB;

	snprintf(text, sizeof(text),
		 "1000-%lx rw-p 0 0:0 0 \n%lx-555555554000 rw-p 0 0:0 0 \n"
		 "555555554000-7fffffff0000 r-xp 0 1:1 1 /bin/a\n",
		 hole, hole + 5 * PAGE);

	INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = maps_of(text);
	struct inj_range near = {0x555555554000, 0x555555555000};
	inj_addr place = 77;

	cr_assert_eq(inj_maps_gap(maps, near, 4 * PAGE, NULL, 0, &place), -ENOMEM);
	cr_assert_eq(place, 77);
	cr_assert_eq(inj_maps_gap(maps, near, 3 * PAGE, NULL, 0, &place), 0);
	cr_assert_eq(place, hole + PAGE);
}

Test(gap, plans_count_as_taken)
{
	INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = maps_of(PIE LIBRARIES);
	struct inj_range plans[8];
	size_t n = 0;

	/* Each plan is given in front of the older ones: any order must do. */
	for (; n < INJ_ARRAY_LENGTH(plans); n++) {
		inj_addr place = 0;
		struct inj_range *skip = &plans[INJ_ARRAY_LENGTH(plans) - n];

		cr_assert_eq(inj_maps_gap(maps, pie, 2 * PAGE, n ? skip : NULL, n, &place), 0);
		check_place(maps, pie, 2 * PAGE, place);
		/* A guard page lies between two plans as well. */
		cr_assert_eq(place, pie.start - (n + 1) * 3 * PAGE);
		plans[INJ_ARRAY_LENGTH(plans) - 1 - n] =
			(struct inj_range){place, place + 2 * PAGE};
	}
}

/* The unmapped hole between two segments of a file belongs to the module. */
Test(gap, leaves_holes_of_modules_alone)
{
	INJ_CLEANUP(inj_maps_guard)
	struct inj_maps *maps = maps_of("7f0000000000-7f0000001000 r--p 0 fe:1 9 /lib/a.so\n"
					"7f0000200000-7f0000201000 r-xp 0 fe:1 9 /lib/a.so\n"
					"7f0000400000-7f0000401000 r-xp 0 fe:1 10 /lib/b.so\n");
	struct inj_range near = {0x7f0000400000, 0x7f0000401000};
	inj_addr place = 0;

	/* Between a and b: fine. */
	cr_assert_eq(inj_maps_gap(maps, near, PAGE, NULL, 0, &place), 0);
	cr_assert_eq(place, 0x7f0000400000 - 2 * PAGE);

	struct inj_range between = {0x7f0000201000, 0x7f0000400000};

	/* That room taken: below a, not inside it. */
	cr_assert_eq(inj_maps_gap(maps, near, PAGE, &between, 1, &place), 0);
	cr_assert_eq(place, 0x7f0000000000 - 2 * PAGE);
	/* Nor in holes of the module that is to be near. */
	near = (struct inj_range){0x7f0000000000, 0x7f0000401000};
	cr_assert_eq(inj_maps_gap(maps, near, PAGE, NULL, 0, &place), 0);
	cr_assert_eq(place, 0x7f0000000000 - 2 * PAGE);
}

/* Where only the room of heap and stack is left, that is taken rather than nothing. */
Test(gap, uses_the_room_to_grow_last)
{
	inj_addr heap_end = 0x555555579000;
	INJ_CLEANUP(inj_maps_guard)
	struct inj_maps *maps = maps_of("1000-555555554000 rw-p 0 0:0 0 \n" PIE
					"555556000000-7ffff0000000 rw-p 0 0:0 0 \n"
					"7ffff1000000-7ffffffff000 rw-p 0 0:0 0 [stack]\n");
	inj_addr place = 0;

	cr_assert_eq(inj_maps_gap(maps, pie, PAGE, NULL, 0, &place), 0);
	cr_assert_eq(place, heap_end + PAGE);

	/* Below the stack, 16 MiB are left. */
	struct inj_range near = {0x7ffff1000000, 0x7ffff1001000};

	cr_assert_eq(inj_maps_gap(maps, near, 2 * PAGE, NULL, 0, &place), 0);
	cr_assert_eq(place, 0x7ffff1000000 - 3 * PAGE);
}

Test(gap, stays_away_from_the_stack)
{
	INJ_CLEANUP(inj_maps_guard)
	struct inj_maps *maps = maps_of("7ffff1000000-7ffffffff000 rw-p 0 0:0 0 [stack]\n");
	struct inj_range near = {0x7ffff1000000, 0x7ffff1001000};
	inj_addr place = 0;

	cr_assert_eq(inj_maps_gap(maps, near, 2 * PAGE, NULL, 0, &place), 0);
	cr_assert_eq(place, 0x7ffff1000000 - 64 * MIB - 3 * PAGE);
}

Test(gap_low, from_the_top)
{
	INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = maps_of(NON_PIE LIBRARIES);
	struct inj_range top = {2 * GIB - 3 * PAGE, 2 * GIB};
	inj_addr place = 0;

	cr_assert_eq(inj_maps_gap_low(maps, 3 * PAGE, NULL, 0, &place), 0);
	cr_assert_eq(place, 2 * GIB - 3 * PAGE);
	cr_assert_eq(inj_maps_gap_low(maps, PAGE, &top, 1, &place), 0);
	cr_assert_eq(place, top.start - 2 * PAGE);
}

Test(gap_low, crowded)
{
	INJ_CLEANUP(inj_maps_guard)
	struct inj_maps *full = maps_of("10000-80000000 rw-p 0 0:0 0 \n");
	INJ_CLEANUP(inj_maps_guard)
	struct inj_maps *beyond = maps_of("200000-100000000 rw-p 0 0:0 0 \n");
	inj_addr place = 77;

	cr_assert_eq(inj_maps_gap_low(full, PAGE, NULL, 0, &place), -ENOMEM);
	cr_assert_eq(place, 77);
	cr_assert_eq(inj_maps_gap_low(beyond, MIB - PAGE, NULL, 0, &place), 0);
	cr_assert_eq(place, MIB);
	cr_assert_eq(inj_maps_gap_low(beyond, MIB, NULL, 0, &place), -ENOMEM);
}
