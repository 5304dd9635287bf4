/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_REAL_ROUNDS_H
#define TESTS_REAL_ROUNDS_H

#include "tests/real/client.h"
#include "tests/real/load.h"
#include "tests/real/scene.h"

#define ROUNDS 20
#define ROUNDS_MAX_CLIENTS 4

/* The same patch into the same processes again and again, and out of them, while clients ask. */
struct rounds {
	const char *name;         /* for the table */
	struct scene *scene;
	const char *patch;        /* path below the build directory */
	const char *patch_id;
	const pid_t *pids;
	size_t n_pids;
	struct load *load;        /* NULL: none but the clients */
	struct clients *clients[ROUNDS_MAX_CLIENTS];
};

/*
 * Check, then apply and revert ROUNDS times; clients must see every change at once, and nothing
 * else.
 */
void rounds_run(const struct rounds *rounds);
/* When the load has finished: a row for people. */
void rounds_print(const struct rounds *rounds);

#endif
