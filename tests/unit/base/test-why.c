/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "injector/base/why.h"

Test(why, refusal_holds_code_and_words)
{
	struct inj_why why = {.pid = 7, .tid = 8, .address = 9, .err = 10, .text = "old"};
	int r = inj_refuse(&why, INJ_BLOCKED, "thread %d is in %s", 12, "hello");

	cr_assert_eq(r, INJ_BLOCKED);
	cr_assert_eq(why.code, INJ_BLOCKED);
	cr_assert_eq(why.err, 0);
	cr_assert_eq(why.pid, 0);
	cr_assert_eq(why.tid, 0);
	cr_assert_eq(why.address, 0);
	cr_assert_str_eq(why.text, "thread 12 is in hello");
}

Test(why, fault_names_the_error)
{
	struct inj_why why;

	cr_assert_eq(inj_broke(&why, -EIO, "reading %s", "x"), -EIO);
	cr_assert_eq(why.code, INJ_INTERNAL);
	cr_assert_eq(why.err, EIO);
	cr_assert_str_eq(why.text, "reading x: Input/output error");
	cr_assert_eq(inj_broke(&why, -ESRCH, "reading"), -ESRCH);
	cr_assert_eq(why.code, INJ_PROCESS_GONE);
	cr_assert_eq(inj_broke(&why, -99999, "reading"), -99999);
	cr_assert_str_eq(why.text, "reading: unknown error");
}

Test(why, nobody_need_listen)
{
	struct inj_why why = {.text = "kept"};

	cr_assert_eq(inj_refuse(NULL, INJ_BUSY, "x"), INJ_BUSY);
	cr_assert_eq(inj_broke(NULL, -EIO, "x"), -EIO);
	inj_why_append(NULL, &why);
	inj_why_append(&why, NULL);
	cr_assert_str_eq(why.text, "kept");
}

Test(why, may_quote_itself)
{
	struct inj_why why;

	inj_refuse(&why, INJ_BAD_PATCH, "inner");
	inj_refuse(&why, INJ_BUSY, "outer (%s)", why.text);
	cr_assert_str_eq(why.text, "outer (inner)");
}

Test(why, control_characters_do_not_pass)
{
	struct inj_why why;

	inj_refuse(&why, INJ_BUSY, "a\nb\033[31mc\xc2\x9b%s", "\xff");
	cr_assert_str_eq(why.text, "a?b?[31mc???");
}

Test(why, a_cut_shows)
{
	struct inj_why why;
	char longer[2000];

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	inj_refuse(&why, INJ_BUSY, "%s", longer);
	cr_assert_eq(strlen(why.text), sizeof(why.text) - 1);
	cr_assert_str_eq(why.text + sizeof(why.text) - 5, "x...");

	/* Just full is not cut; one more is. */
	longer[sizeof(why.text) - 1] = '\0';
	inj_refuse(&why, INJ_BUSY, "%s", longer);
	cr_assert_str_eq(why.text, longer);
	inj_refuse(&why, INJ_BUSY, "%sx", longer);
	cr_assert_str_eq(why.text + sizeof(why.text) - 5, "x...");
}

/* A cut in the midst of a character takes the whole character away. */
Test(why, a_cut_keeps_characters_whole)
{
	for (size_t shift = 0; shift < 4; shift++) {
		struct inj_why why;
		char longer[2000] = "xxxx";
		size_t length = shift;

		while (length + 4 < sizeof(longer)) {
			memcpy(longer + length, "\xf0\x9f\x90\xa7", 4);
			length += 4;
		}
		longer[length] = '\0';
		inj_refuse(&why, INJ_BUSY, "%s", longer);
		cr_assert_null(strchr(why.text, '?'), "shift %zu: %s", shift, why.text);
		cr_assert_str_eq(why.text + strlen(why.text) - 3, "...");
	}
}

Test(why, second_story_follows)
{
	struct inj_why why, other;

	inj_broke(&why, -EIO, "first");
	inj_refuse(&other, INJ_BUSY, "second");
	inj_why_append(&why, &other);
	cr_assert_str_eq(why.text, "first: Input/output error; moreover: second");
	cr_assert_eq(why.code, INJ_INTERNAL);
	cr_assert_eq(why.err, EIO);
	for (int i = 0; i < 100; i++)
		inj_why_append(&why, &other);
	cr_assert_eq(strlen(why.text), sizeof(why.text) - 1);
	cr_assert_str_eq(why.text + strlen(why.text) - 3, "...");
}

Test(codes, go_both_ways)
{
	static const int codes[] = {
#define INJ_CODE(name, number, bus, text) number,
#include "injector/base/codes.def"
#undef INJ_CODE
	};

	cr_assert_eq(INJ_ARRAY_LENGTH(codes), 23);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(codes); i++) {
		cr_assert_eq(codes[i], 1001 + (int)i, "numbers are stable and without gaps");
		cr_assert_eq(inj_code_from_bus_name(inj_code_bus_name(codes[i])), codes[i]);
		cr_assert_gt(strlen(inj_code_text(codes[i])), 5);
	}
	cr_assert_str_eq(inj_code_bus_name(INJ_BLOCKED), "Blocked");
	cr_assert_str_eq(inj_code_bus_name(0), "Internal");
	cr_assert_str_eq(inj_code_bus_name(-EIO), "Internal");
	cr_assert_eq(inj_code_from_bus_name("Nonsense"), INJ_INTERNAL);
	cr_assert_eq(inj_code_from_bus_name(""), INJ_INTERNAL);
	cr_assert_eq(inj_code_from_bus_name(NULL), INJ_INTERNAL);
}

static const struct {
	const char *in, *out;
} printable_cases[] = {
	{"", ""},
	{"plain ~ text", "plain ~ text"},
	{"tab\there", "tab?here"},
	{"\x01\x1f\x7f", "???"},
	{"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
	{"\xe2\x82\xac \xf0\x9f\x90\xa7", "\xe2\x82\xac \xf0\x9f\x90\xa7"},
	{"\xef\xbf\xbd", "\xef\xbf\xbd"},
	/* C1 controls, by code point and as raw bytes. */
	{"\xc2\x80\xc2\x9f\xc2\xa0", "????\xc2\xa0"},
	{"\x9b", "?"},
	/* Overlong forms of '/'. */
	{"\xc0\xaf", "??"},
	{"\xe0\x80\xaf", "???"},
	{"\xf0\x80\x80\xaf", "????"},
	/* Surrogates, and beyond U+10FFFF. */
	{"\xed\xa0\x80", "???"},
	{"\xf4\x90\x80\x80", "????"},
	{"\xf5\x80\x80\x80\xff\xfe", "??????"},
	/* Sequences that end too early: what follows is judged on its own. */
	{"\xc3", "?"},
	{"\xe2\x82", "??"},
	{"\xf0\x9f\x90", "???"},
	{"\xe2\x82z", "??z"},
	{"\xc3\xc3\xbc", "?\xc3\xbc"},
	/* Text that would run backwards, and separators that break lines. */
	{"a\xe2\x80\xae"
	 "b",
	 "a???b"},
	{"\xe2\x80\xa8\xe2\x81\xa6\xef\xbb\xbf", "?????????"},
};

Test(printable, every_case)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(printable_cases); i++) {
		char text[64];

		strcpy(text, printable_cases[i].in);
		inj_printable(text);
		cr_assert_str_eq(text, printable_cases[i].out, "case %zu: %s", i, text);
	}
}

/* No byte sequence of up to three bytes makes it read or write beyond the end. */
Test(printable, stays_in_bounds)
{
	for (unsigned first = 1; first < 256; first++) {
		for (unsigned second = 1; second < 256; second++) {
			char text[] = {(char)first, (char)second, '\0', 'Z', '\xbf', '\xbf'};

			inj_printable(text);
			cr_assert_eq(strlen(text), 2);
			cr_assert_eq(memcmp(text + 2, "\0Z\xbf\xbf", 4), 0);
		}
	}
}
