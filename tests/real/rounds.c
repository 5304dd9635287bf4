/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Owns what all real programs have in common: the order of events, and the table at the end. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/real/rounds.h"

/* Answers to every client between two updates. */
#define ANSWERS 10

static void expect(const struct rounds *rounds, enum version version)
{
	for (size_t i = 0; i < ROUNDS_MAX_CLIENTS && rounds->clients[i]; i++)
		clients_expect(rounds->clients[i], version);
}

static void await_answers(const struct rounds *rounds)
{
	for (size_t i = 0; i < ROUNDS_MAX_CLIENTS && rounds->clients[i]; i++)
		clients_await(rounds->clients[i], ANSWERS);
}

/* While the update is under way both versions are right; from its end on only one is. */
static void change(const struct rounds *rounds, const char *verb, const char *what,
		   const char *result, enum version version)
{
	if (rounds->load)
		load_keep_going(rounds->load);
	expect(rounds, ANY);
	scene_update(rounds->scene, verb, what, rounds->pids, rounds->n_pids, result);
	expect(rounds, version);
	await_answers(rounds);
}

void rounds_run(const struct rounds *rounds)
{
	change(rounds, "check", rounds->patch, "unchanged", OLD);
	for (int i = 0; i < ROUNDS; i++) {
		change(rounds, "apply", rounds->patch, "applied", NEW);
		if (i == 0)
			scene_expect_patch(rounds->scene, rounds->pids, rounds->n_pids,
					   rounds->patch_id);
		change(rounds, "revert", rounds->patch_id, "reverted", OLD);
	}
	scene_expect_patch(rounds->scene, rounds->pids, rounds->n_pids, NULL);
}

static double milliseconds(uint64_t ns)
{
	return (double)ns / 1e6;
}

void rounds_print(const struct rounds *rounds)
{
	const struct scene *scene = rounds->scene;
	struct client_totals totals = {0};

	for (size_t i = 0; i < ROUNDS_MAX_CLIENTS && rounds->clients[i]; i++) {
		struct client_totals one = clients_totals(rounds->clients[i]);

		for (size_t k = 0; k < N_VERSIONS; k++)
			totals.n_answers[k] += one.n_answers[k];
		totals.n_failed += one.n_failed;
		if (one.longest_gap_ns > totals.longest_gap_ns)
			totals.longest_gap_ns = one.longest_gap_ns;
	}
	printf("%-16s %9s %7s %7s %12s %12s %12s %12s %9s %9s %6s\n", "program", "processes",
	       "threads", "updates", "longest hold", "whole update", "longest gap", "under load",
	       "old", "new", "failed");
	printf("%-16s %9zu %7u %7u %9.2f ms %9.2f ms %9.2f ms %12llu %9llu %9llu %6llu\n",
	       rounds->name, rounds->n_pids, scene->n_threads, scene->n_updates,
	       milliseconds(scene->longest_hold_ns), milliseconds(scene->longest_update_ns),
	       milliseconds(totals.longest_gap_ns),
	       (unsigned long long)(rounds->load ? rounds->load->n_requests : 0),
	       (unsigned long long)totals.n_answers[OLD],
	       (unsigned long long)totals.n_answers[NEW], (unsigned long long)totals.n_failed);
	fflush(stdout);
}
