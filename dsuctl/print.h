/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_PRINT_H
#define CTL_PRINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "dsuctl/options.h"
#include "injector/base/cleanup.h"

/* Where a verb writes for people, and how. */
struct ctl_output {
	FILE *stream;
	char *text;      /* collected for the pager; owned */
	size_t n_text;
	bool is_paged;
	bool has_colours;
	bool has_legend;
	bool is_terminal;
	unsigned columns; /* of the terminal; 0: unlimited */
	unsigned lines;
};

#define CTL_RED "\033[31m"
#define CTL_GREEN "\033[32m"
#define CTL_YELLOW "\033[33m"
#define CTL_BOLD "\033[1m"
#define CTL_RESET "\033[0m"

/*
 * Start writing to standard output.
 * ret: always usable, ended with ctl_output_end. On a terminal, unless --no-pager, everything is
 * collected first and goes through $PAGER (less) if it is longer than the screen.
 * Colours only on a terminal, and not when NO_COLOR is set or TERM is dumb.
 */
void ctl_output_begin(struct ctl_output *ret, const struct ctl_options *options);
void ctl_output_end(struct ctl_output *output);

/* The same for standard error: never paged, nothing to end. */
void ctl_output_errors(struct ctl_output *ret, const struct ctl_options *options);

/* The escape sequence, or "" where colours are not wanted. */
const char *ctl_colour(const struct ctl_output *output, const char *sequence);

/* One line to standard error, "dsuctl: " in front, control characters become '?'. */
void ctl_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One line for each entry of a list that carries an error. */
void ctl_complain_list(const json_t *processes);

/*
 * End a verb that could not do its work: a sentence and advice to standard error, and with --json
 * the document {LIST: [], "error": ..., "message": ...} to standard output.
 * list: the member that would have held the answer, NULL for none; error: full bus name.
 * Return: the exit code for that error.
 */
int ctl_fail(const struct ctl_options *options, const char *list, const char *error,
	     const char *message, ...) __attribute__((format(printf, 4, 5)));

/* End a verb that lacks memory or cannot write; returns the exit code. */
int ctl_fail_errno(const struct ctl_options *options, const char *list, int negative_errno);

/* Time for people: "81 us", "4.12 ms", "1.50 s". */
#define CTL_TIME_TEXT_MAX 32
const char *ctl_time_text(char text[static CTL_TIME_TEXT_MAX], uint64_t ns);

#endif
