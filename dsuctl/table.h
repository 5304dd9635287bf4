/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include <stddef.h>

#include "dsuctl/print.h"

struct ctl_table;

enum ctl_column_flags {
	CTL_COLUMN_RIGHT = 1 << 0, /* numbers */
	CTL_COLUMN_TRIM = 1 << 1,  /* may be cut to fit a terminal */
};

struct ctl_column {
	const char *name;
	unsigned flags;
};

/* Cells of a row: as many as there are columns. */
#define CTL_ROW(...) ((const char *const[]){__VA_ARGS__})

/*
 * A table in the order rows are added. Cut to the width of a terminal, never cut elsewhere.
 * columns: only read here. Return: NULL when out of memory; all functions accept NULL.
 */
struct ctl_table *ctl_table_new(const struct ctl_output *output, const struct ctl_column *columns,
				size_t n_columns);
void ctl_table_free(struct ctl_table *table);
INJ_DEFINE_GUARD(struct ctl_table *, ctl_table_free, ctl_table_guard)

/* cells: copied; NULL is an empty cell. Unprintable bytes are shown as \xNN. */
void ctl_table_add(struct ctl_table *table, const char *const *cells);
/* Colour one cell of the row added last; sequence as in print.h. */
void ctl_table_colour(struct ctl_table *table, size_t column, const char *sequence);
size_t ctl_table_n_rows(const struct ctl_table *table);

/*
 * Print what was added; nothing at all when there are no rows.
 * indent: blanks before every line.
 * Return: 0. Errors: -ENOMEM, also when an earlier call could not add a row.
 */
int ctl_table_print(struct ctl_table *table, const struct ctl_output *output, unsigned indent);

#endif
