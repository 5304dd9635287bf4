/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_FAULT_DEATHS_H
#define TESTS_FAULT_DEATHS_H

#include "protocols/update.h"
#include "tests/fault/trace.h"
#include "tests/support/registers.h"
#include "tests/support/snapshot.h"
#include "tests/support/victim.h"

/*
 * Processes in which the first 1, 3 or 1000 functions of `many` are replaced, what they were like
 * before anybody touched them, and the journal of one update. What is not as it should be fails the
 * test with the name of the place.
 */
#define SCENE_MAX 2

struct scene {
	struct victim *victims[SCENE_MAX];
	pid_t pids[SCENE_MAX];
	struct snapshot *before[SCENE_MAX];
	struct registers *registers[SCENE_MAX];
	size_t n;
	unsigned n_functions;
	char patch[64];
	int journal_fd;
	uint8_t update_id[16];
};

void scene_init(struct scene *scene, const char *program, size_t n, unsigned n_functions);
void scene_deinit(struct scene *scene);

/* Another update: a new id, an empty journal. */
void scene_renew(struct scene *scene);
/* Carry a request through in this process; it must end like this in every process. */
void scene_must(struct scene *scene, enum upd_kind kind, enum upd_result result, const char *when);

/*
 * Carry a request through in a child with this environment variable, which may kill it.
 * Return: true when it was killed. A child that lives must have succeeded.
 */
bool scene_run(struct scene *scene, enum upd_kind kind, const char *variable, const char *value);

/* Ask every process. Return: do the new functions answer? Fails on mixtures within a process. */
bool scene_is_new(struct scene *scene, size_t i, const char *when);

/*
 * Hold everything against what it was: all processes run the same version; `status` says which;
 * text is what it was, or that and the redirects; mappings are what they were, ours apart; so are
 * all registers.
 * may_keep: memory of ours may be there although the old version runs.
 * Return: is it the new version?
 */
bool scene_check(struct scene *scene, bool may_keep, const char *when);
/* Take the patch back if it is there, then put it on and take it back once more. */
void scene_clean_round(struct scene *scene, const char *when);

/* The fault points that a request passes. */
void scene_trace(struct scene *scene, enum upd_kind kind, struct passed_points *ret);

#endif
