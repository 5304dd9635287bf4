/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_REAL_LOAD_H
#define TESTS_REAL_LOAD_H

#include "tests/real/scene.h"

/*
 * A load generator that is started again whenever it has done its requests, so that there is always
 * load. What it says about failures is believed only when it also says that it did all requests.
 */
struct load {
	const struct scene *scene;
	const char *const *argv;
	const char *user;         /* NULL: root */
	uint64_t n_expected;      /* requests of one run */
	/*
	 * Read what it printed; fail the test when a request or a connection failed.
	 * Return: requests it did.
	 */
	uint64_t (*read)(const char *text);
	/* From here on: load.c's. */
	struct keeper *keeper;
	uint64_t n_requests;
	unsigned n_runs;
};

/* Start it, or start it again when it has ended; checks the run that has ended. */
void load_keep_going(struct load *load);
/* Let the last run come to its end, and check it. */
void load_finish(struct load *load);
/* NULL is fine. */
void load_deinit(struct load *load);
#define LOAD INJ_CLEANUP(load_deinit) struct load

/* Of ApacheBench and pgbench. */
uint64_t load_read_ab(const char *text);
uint64_t load_read_pgbench(const char *text);

/* The number behind a label that starts a line; fails the test when there is none. */
uint64_t load_number(const char *text, const char *label);
bool load_has_line(const char *text, const char *label);

#endif
