/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tables, by libsmartcols. A table that ran out of memory while it was filled says so when it is
 * printed, so that the callers that fill it need no checks. Cells are foreign text; libsmartcols
 * shows what is not printable as \xNN.
 */
#include "dsuctl/table.h"

#include <errno.h>
#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>

struct ctl_table {
	struct libscols_table *scols;
	struct libscols_line *last;
	size_t n_columns;
	bool failed;
};

static bool add_column(struct ctl_table *table, const struct ctl_column *column)
{
	int flags = (column->flags & CTL_COLUMN_RIGHT ? SCOLS_FL_RIGHT : 0) |
		    (column->flags & CTL_COLUMN_TRIM ? SCOLS_FL_TRUNC : 0);

	return scols_table_new_column(table->scols, column->name, 0, flags) != NULL;
}

struct ctl_table *ctl_table_new(const struct ctl_output *output, const struct ctl_column *columns,
				size_t n_columns)
{
	INJ_CLEANUP(ctl_table_guard) struct ctl_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->scols = scols_new_table();
	if (!table->scols)
		return NULL;
	table->n_columns = n_columns;
	for (size_t i = 0; i < n_columns; i++)
		if (!add_column(table, &columns[i]))
			return NULL;
	scols_table_enable_colors(table->scols, output->has_colours);
	scols_table_enable_noheadings(table->scols, !output->has_legend);
	scols_table_set_termforce(table->scols, output->is_terminal ? SCOLS_TERMFORCE_ALWAYS
								    : SCOLS_TERMFORCE_NEVER);
	if (output->is_terminal)
		scols_table_set_termwidth(table->scols, output->columns);
	return INJ_TAKE(table);
}

void ctl_table_free(struct ctl_table *table)
{
	if (!table)
		return;
	scols_unref_table(table->scols);
	free(table);
}

void ctl_table_add(struct ctl_table *table, const char *const *cells)
{
	if (!table || table->failed)
		return;
	table->last = scols_table_new_line(table->scols, NULL);
	if (!table->last) {
		table->failed = true;
		return;
	}
	for (size_t i = 0; i < table->n_columns; i++)
		if (scols_line_set_data(table->last, i, cells[i] ? cells[i] : "") < 0)
			table->failed = true;
}

void ctl_table_colour(struct ctl_table *table, size_t column, const char *sequence)
{
	if (table && table->last && *sequence)
		scols_cell_set_color(scols_line_get_cell(table->last, column), sequence);
}

size_t ctl_table_n_rows(const struct ctl_table *table)
{
	return table ? scols_table_get_nlines(table->scols) : 0;
}

static void print_indented(const char *text, FILE *stream, unsigned indent)
{
	while (*text) {
		size_t length = strcspn(text, "\n"), shown = length;

		/* An empty last cell is padded all the same. */
		while (shown > 0 && text[shown - 1] == ' ')
			shown--;
		fprintf(stream, "%*s%.*s\n", (int)indent, "", (int)shown, text);
		text += length + (text[length] == '\n');
	}
}

int ctl_table_print(struct ctl_table *table, const struct ctl_output *output, unsigned indent)
{
	INJ_FREE char *text = NULL;

	if (!table || table->failed)
		return -ENOMEM;
	if (!table->last)
		return 0;
	if (output->is_terminal && output->columns > indent + 20)
		scols_table_set_termwidth(table->scols, output->columns - indent);
	int r = scols_print_table_to_string(table->scols, &text);

	if (r < 0)
		return r;
	print_indented(text, output->stream, indent);
	return 0;
}
