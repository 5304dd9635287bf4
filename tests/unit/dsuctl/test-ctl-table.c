/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "dsuctl/table.h"
#include "injector/base/types.h"

static const struct ctl_column columns[] = {{"TID", CTL_COLUMN_RIGHT}, {"COMM", 0}};

struct printed {
	struct ctl_output output;
	char *text;
	size_t n;
};

static void begin(struct printed *printed)
{
	printed->output.stream = open_memstream(&printed->text, &printed->n);
}

static void expect(struct printed *printed, const char *text)
{
	fclose(printed->output.stream);
	cr_assert_str_eq(printed->text, text);
	free(printed->text);
}

Test(table, headings_and_alignment)
{
	struct printed printed = {.output = {.has_legend = true}};

	begin(&printed);
	struct ctl_table *table = ctl_table_new(&printed.output, columns, 2);

	ctl_table_add(table, CTL_ROW("7", "first"));
	ctl_table_add(table, CTL_ROW("4711", "second"));
	cr_assert_eq(ctl_table_n_rows(table), 2);
	cr_assert_eq(ctl_table_print(table, &printed.output, 2), 0);
	ctl_table_free(table);
	expect(&printed, "   TID COMM\n     7 first\n  4711 second\n");
}

Test(table, without_headings)
{
	struct printed printed = {0};

	begin(&printed);
	struct ctl_table *table = ctl_table_new(&printed.output, columns, 2);

	ctl_table_add(table, CTL_ROW("7", "first"));
	cr_assert_eq(ctl_table_print(table, &printed.output, 0), 0);
	ctl_table_free(table);
	expect(&printed, "  7 first\n");
}

Test(table, nothing_for_no_rows)
{
	struct printed printed = {.output = {.has_legend = true}};

	begin(&printed);
	struct ctl_table *table = ctl_table_new(&printed.output, columns, 2);

	cr_assert_eq(ctl_table_print(table, &printed.output, 0), 0);
	ctl_table_free(table);
	expect(&printed, "");
}

/* Whatever is put in, no control character comes out. */
Test(table, control_characters_stay_inside)
{
	struct printed printed = {0};

	begin(&printed);
	struct ctl_table *table = ctl_table_new(&printed.output, columns, 2);

	ctl_table_add(table, CTL_ROW("1", "\033[2Jevil\a"));
	cr_assert_eq(ctl_table_print(table, &printed.output, 0), 0);
	ctl_table_free(table);
	fclose(printed.output.stream);
	cr_assert(strstr(printed.text, "evil"));
	for (const char *c = printed.text; *c; c++)
		cr_assert(*c == '\n' || (unsigned char)*c >= 0x20, "byte %#x", *c);
	free(printed.text);
}

Test(table, colours_only_when_wanted)
{
	struct printed plain = {0}, coloured = {.output = {.has_colours = true}};
	struct printed *both[] = {&plain, &coloured};

	for (size_t i = 0; i < 2; i++) {
		begin(both[i]);
		struct ctl_table *table = ctl_table_new(&both[i]->output, columns, 2);

		ctl_table_add(table, CTL_ROW("1", "one"));
		ctl_table_colour(table, 1, CTL_RED);
		cr_assert_eq(ctl_table_print(table, &both[i]->output, 0), 0);
		ctl_table_free(table);
		fclose(both[i]->output.stream);
		cr_assert_eq(strchr(both[i]->text, '\033') != NULL, i == 1);
		free(both[i]->text);
	}
}

Test(table, cut_on_a_terminal_only)
{
	static const struct ctl_column wide[] = {{"A", CTL_COLUMN_TRIM}, {"B", 0}};
	char text[201];

	memset(text, 'x', 200);
	text[200] = '\0';
	for (size_t i = 0; i < 2; i++) {
		struct printed printed = {.output = {.is_terminal = i == 1, .columns = 60}};

		begin(&printed);
		struct ctl_table *table = ctl_table_new(&printed.output, wide, 2);

		ctl_table_add(table, CTL_ROW(text, "end"));
		cr_assert_eq(ctl_table_print(table, &printed.output, 0), 0);
		ctl_table_free(table);
		fclose(printed.output.stream);
		cr_assert_eq(strlen(printed.text) > 100, i == 0, "%zu bytes", strlen(printed.text));
		cr_assert(strstr(printed.text, "end"));
		free(printed.text);
	}
}

Test(table, times)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} cases[] = {
		{0, "0 us"},
		{81234, "81 us"},
		{999999, "999 us"},
		{4123456, "4.12 ms"},
		{1500000000, "1.50 s"},
		{UINT64_MAX, "18446744073.71 s"},
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++) {
		char text[CTL_TIME_TEXT_MAX];

		cr_assert_str_eq(ctl_time_text(text, cases[i].ns), cases[i].text);
	}
}
