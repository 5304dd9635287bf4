/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_FAULT_TRACE_H
#define TESTS_FAULT_TRACE_H

#include <stddef.h>

/* The fault points that somebody passed, in order of their first passes. */
struct passed_point {
	char name[48];
	size_t n_passes;
};
struct passed_points {
	struct passed_point items[96];
	size_t n;
};

/* A file for DSUD_FAULT_TRACE. */
#define TRACE_PATH_BYTES 32
void trace_begin(char path[TRACE_PATH_BYTES]);
/* Read it and remove it. Fails the test when nothing was passed. */
void trace_end(const char *path, struct passed_points *ret);

/*
 * Which passes to die at: all when there are no more than `limit`, else the first, the last and
 * others evenly between.
 * turn: from 0. Return: a pass from 1, or 0 when there are no more.
 */
size_t choose_pass(size_t n_passes, size_t limit, size_t turn);
/* limit, or no limit at all in a soak. */
size_t deaths_limit(size_t limit);

#endif
