/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_SUPPORT_SNAPSHOT_H
#define TESTS_SUPPORT_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "injector/base/cleanup.h"
#include "injector/base/types.h"

/*
 * The state of a target that a refused or reverted update must leave alone: its mappings and
 * every byte it can execute. Works on any process whose /proc files root can read; a traced one,
 * a zombie (no mappings) and a kernel thread are fine.
 */
struct snapshot;

/* What may differ without being a difference. */
enum snapshot_option {
	SNAPSHOT_EXACT = 0,
	/* [heap] may end elsewhere, [stack] may start elsewhere. */
	SNAPSHOT_GROWTH = 1 << 0,
	/* Nameless private mappings without execute permission may come, go and change: what
	 * malloc and thread creation do all the time. Implies SNAPSHOT_GROWTH. */
	SNAPSHOT_DATA = 1 << 1,
};

/* Fails the test when the process cannot be read. The process should be quiet or held. */
struct snapshot *snapshot_take(pid_t pid);
void snapshot_free(struct snapshot *snapshot);
INJ_DEFINE_GUARD(struct snapshot *, snapshot_free, snapshot_guard)
#define SNAPSHOT INJ_CLEANUP(snapshot_guard) struct snapshot *

/*
 * Compare.
 * options: of enum snapshot_option; buffer: size bytes, gets one line for each difference, the
 *   first of them when not all fit: "-" and "+" for mappings, "~" for changed bytes.
 * Return: number of differences, 0 when nothing changed.
 */
size_t snapshot_diff(const struct snapshot *before, const struct snapshot *after, unsigned options,
		     char *buffer, size_t size);

/* One difference: '-' a mapping that is gone, '+' a new one, '~' a run of changed bytes in a
 * mapping of this name. */
struct snapshot_change {
	char sign;
	struct inj_range range;
	const char *name;
	const unsigned char *is; /* of '~': what stands there now */
};

/*
 * Compare, and leave out what somebody finds right.
 * allowed: true for a difference that shall be there. Everything else as snapshot_diff().
 */
size_t snapshot_diff_but(const struct snapshot *before, const struct snapshot *after,
			 unsigned options,
			 bool (*allowed)(void *context, const struct snapshot_change *change),
			 void *context, char *buffer, size_t size);

/* Take another one now and fail the test, with the differences, unless it is the same. */
void snapshot_expect_same(const struct snapshot *before, unsigned options);

#endif
