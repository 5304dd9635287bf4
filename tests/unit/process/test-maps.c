/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "injector/process/maps.h"

static int parse(const char *text, size_t length, struct inj_maps **ret)
{
	/* Exactly as long as the text, so that memory checkers see every step too far. */
	char *copy = malloc(length);

	if (length > 0)
		memcpy(copy, text, length);
	return inj_maps_parse(copy, length, ret);
}

Test(maps, ordinary_program)
{
	static const char text[] =
		"555555554000-555555556000 r--p 00000000 fe:01 1234 "
		"                      /usr/bin/a b\n"
		"555555556000-55555555a000 r-xp 00002000 fe:01 1234 "
		"                      /usr/bin/a b (deleted)\n"
		"55555555a000-55555557b000 rw-p 00000000 00:00 0 "
		"                         [heap]\n"
		"7ffff7d8e000-7ffff7d90000 rw-p 00000000 00:00 0 \n"
		"7ffff7d90000-7ffff7d91000 ---s 1234567890abc000 fff:fffff 18446744073709551615\n"
		"7ffff7d92000-7ffff7d93000 --xp 00000000 00:01 77 "
		"                        /memfd:x\\012y\\134z (deleted)\n"
		"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 "
		"                 [vsyscall]\n";
	INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = NULL;

	cr_assert_eq(parse(text, strlen(text), &maps), 0);
	cr_assert_eq(maps->n_items, 7);

	const struct inj_map *map = maps->items;

	cr_assert_eq(map[0].range.start, 0x555555554000);
	cr_assert_eq(map[0].range.end, 0x555555556000);
	cr_assert_eq(map[0].prot, PROT_READ);
	cr_assert(!map[0].shared);
	cr_assert_eq(map[0].offset, 0);
	cr_assert_eq(map[0].dev_major, 0xfe);
	cr_assert_eq(map[0].dev_minor, 1);
	cr_assert_eq(map[0].inode, 1234);
	cr_assert_str_eq(map[0].name, "/usr/bin/a b");
	cr_assert_eq(map[1].prot, PROT_READ | PROT_EXEC);
	cr_assert_eq(map[1].offset, 0x2000);
	cr_assert_str_eq(map[1].name, "/usr/bin/a b (deleted)");
	cr_assert_eq(map[2].prot, PROT_READ | PROT_WRITE);
	cr_assert_str_eq(map[2].name, "[heap]");
	cr_assert_str_eq(map[3].name, "");
	cr_assert_eq(map[4].prot, PROT_NONE);
	cr_assert(map[4].shared);
	cr_assert_eq(map[4].offset, 0x1234567890abc000);
	cr_assert_eq(map[4].dev_major, 0xfff);
	cr_assert_eq(map[4].dev_minor, 0xfffff);
	cr_assert_eq(map[4].inode, UINT64_MAX);
	cr_assert_str_eq(map[5].name, "/memfd:x\\012y\\134z (deleted)");
	cr_assert_eq(map[6].range.start, 0xffffffffff600000);
}

Test(maps, empty_text_is_an_empty_list)
{
	INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = NULL;

	cr_assert_eq(parse("", 0, &maps), 0);
	cr_assert_eq(maps->n_items, 0);
	cr_assert_null(inj_maps_find(maps, 0x1000));
	inj_maps_free(INJ_TAKE(maps));
	cr_assert_eq(inj_maps_parse(NULL, 0, &maps), 0);
	cr_assert_eq(maps->n_items, 0);
}

#define GOOD "1000-2000 r-xp 0 0:0 0\n"

static const struct {
	const char *text;
	size_t length; /* 0: up to the NUL */
} hostile[] = {
	{"\n", 0},
	{"\n\n\n", 0},
	{"1000-2000 r-xp 0 0:0 0", 0}, /* no line feed: cut in the midst */
	{GOOD "2000-30", 0},
	{GOOD "\n", 0},
	{"1000-2000 r-xp 0 0:0 \n", 0},
	{"1000-2000 r-xp 0 0:0\n", 0},
	{"1000-2000 r-xp 0 00 0\n", 0},
	{"1000-2000 r-xp 0:0 0\n", 0},
	{"1000-2000 r-x 0 0:0 0\n", 0},
	{"1000-2000 r-xpp 0 0:0 0\n", 0},
	{"1000-2000 x-rp 0 0:0 0\n", 0},
	{"1000-2000 RWXP 0 0:0 0\n", 0},
	{"1000-2000  r-xp 0 0:0 0\n", 0},
	{" 1000-2000 r-xp 0 0:0 0\n", 0},
	{"1000 2000 r-xp 0 0:0 0\n", 0},
	{"-2000 r-xp 0 0:0 0 /x\n", 0},
	{"1000- r-xp 0 0:0 0 /x\n", 0},
	{"2000-1000 r-xp 0 0:0 0\n", 0}, /* backwards */
	{"1000-1000 r-xp 0 0:0 0\n", 0}, /* empty */
	{"1001-2000 r-xp 0 0:0 0\n", 0}, /* not on pages */
	{"1000-2001 r-xp 0 0:0 0\n", 0},
	{"10000000000001000-20000000000002000 r-xp 0 0:0 0\n", 0}, /* beyond 64 bits */
	{"1000-10000000000002000 r-xp 0 0:0 0\n", 0},
	{"1000-2000 r-xp 10000000000000000 0:0 0\n", 0},
	{"1000-2000 r-xp 0 100000000:0 0\n", 0},
	{"1000-2000 r-xp 0 0:100000000 0\n", 0},
	{"1000-2000 r-xp 0 0:0 18446744073709551616\n", 0},
	{"1000-2000 r-xp 0 0:0 99999999999999999999999\n", 0},
	{"1000-2000 r-xp 0 0:0 12x\n", 0},
	{"1000-2000 r-xp 0 0:0 -1\n", 0},
	{"0x1000-2000 r-xp 0 0:0 0\n", 0},
	{"A000-B000 r-xp 0 0:0 0\n", 0},
	{GOOD GOOD, 0},						 /* twice */
	{"3000-4000 r-xp 0 0:0 0\n" GOOD, 0},			 /* descending */
	{"1000-3000 r-xp 0 0:0 0\n2000-4000 r-xp 0 0:0 0\n", 0}, /* overlapping */
	{"1000-2000 r-xp 0 0:0 0 /a\0b\n", 29},			 /* NUL in a name */
	{"1000-2000\0r-xp 0 0:0 0\n", 23},
	{"1000-2000 r-xp 0 0:0 0\n\0", 24},
};

Test(maps, refuses_what_no_kernel_prints)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(hostile); i++) {
		struct inj_maps *maps = NULL;
		size_t length = hostile[i].length ? hostile[i].length : strlen(hostile[i].text);

		cr_assert_eq(parse(hostile[i].text, length, &maps), -EBADMSG, "case %zu: %s", i,
			     hostile[i].text);
		cr_assert_null(maps);
	}
}

/* Every prefix of a good text is refused, but for those that end with a line. */
Test(maps, refuses_every_cut)
{
	static const char text[] = GOOD "2000-3000 rw-s ab000 1:2 345        /x y\n";

	for (size_t length = 0; length <= strlen(text); length++) {
		INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = NULL;
		bool whole = length == 0 || text[length - 1] == '\n';

		cr_assert_eq(parse(text, length, &maps), whole ? 0 : -EBADMSG, "length %zu",
			     length);
	}
}

/* Every single wrong byte in front of the name is noticed or harmless; none may crash it. */
Test(maps, survives_every_wrong_byte)
{
	static const char text[] = GOOD "2000-3000 rw-s ab000 1:2 345        /x y\n" GOOD;

	for (size_t at = 0; at < strlen(text); at++) {
		for (unsigned byte = 0; byte < 256; byte++) {
			INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = NULL;
			char copy[sizeof(text)];

			memcpy(copy, text, sizeof(text));
			copy[at] = (char)byte;

			int r = parse(copy, strlen(text), &maps);

			cr_assert(r == 0 || r == -EBADMSG);
			for (size_t i = 0; r == 0 && i < maps->n_items; i++)
				cr_assert(maps->items[i].range.start < maps->items[i].range.end);
		}
	}
}

Test(maps, a_long_name_and_many_lines)
{
	enum { LINES = 100000 };
	size_t size = (size_t)LINES * 64 + 70000;
	char *text = malloc(size);
	size_t length = 0;
	INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = NULL;

	for (unsigned long i = 0; i < LINES; i++)
		length += (size_t)sprintf(text + length, "%lx000-%lx000 rw-p 0 00:00 0 \n",
					  2 * i + 1, 2 * i + 2);
	length += (size_t)sprintf(text + length, "7ffff0000000-7ffff0001000 r--p 0 0:1 1   /");
	memset(text + length, 'n', 65536);
	length += 65536;
	text[length++] = '\n';
	cr_assert_eq(inj_maps_parse(text, length, &maps), 0);
	cr_assert_eq(maps->n_items, LINES + 1);
	cr_assert_eq(strlen(maps->items[LINES].name), 65537);
	for (unsigned long i = 0; i < LINES; i += 997) {
		inj_addr start = (2 * i + 1) << 12;

		cr_assert_eq(inj_maps_find(maps, start), &maps->items[i]);
		cr_assert_eq(inj_maps_find(maps, start + 0xfff), &maps->items[i]);
		cr_assert_null(inj_maps_find(maps, start - 1));
		cr_assert_null(inj_maps_find(maps, start + 0x1000));
	}
	cr_assert_null(inj_maps_find(maps, UINT64_MAX));
	cr_assert_null(inj_maps_find(maps, 0));
}
