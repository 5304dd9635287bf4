/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_FAULT_FAILING_MALLOC_H
#define TESTS_FAULT_FAILING_MALLOC_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A program that is linked with this has an allocator that can be told to fail. Everything in the
 * program goes through it, libraries included. Counted are allocations by malloc, calloc, realloc
 * that grows, and the aligned ones.
 */

enum failing_malloc {
	FAILING_ONCE = 0,
	FAILING_FOR_EVER = 1 << 0,    /* at every allocation after it, too */
	/* Each child of this process counts and fails for itself, this one does not. */
	FAILING_IN_CHILDREN = 1 << 1,
};

/* Fail at the n-th allocation from now on, from 1, 0: never. how: of enum failing_malloc. */
void failing_malloc_arm(size_t n, unsigned how);
/*
 * Return: how many allocations were counted; with FAILING_IN_CHILDREN by the child that counted
 * most.
 */
size_t failing_malloc_stop(void);

#endif
