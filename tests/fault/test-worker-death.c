/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A worker is killed at every point at which it has just changed something, applying and reverting, in one process and in
 * two. Each time the victim must go on at once with one whole version, recovery must end in a state that `status` tells
 * truly, and the same patch must be appliable and revertible afterwards as if nothing had happened.
 *
 * The list of points is complete or the suite fails: every name in the sources must stand here.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/need.h"
#include "tests/support/snapshot.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define PATCH "tests/patches/live/pair-v2.so"
#define OLD_ANSWER "2 20"
#define NEW_ANSWER "200 2000"

/* Points that applying or reverting the pair of functions passes; `times`: deaths at the first so many passes. */
static const struct {
	const char *name;
	int times;
} points[] = {
	{ "memfd-made", 1 },	   { "memfd-closed", 1 },    { "area-mapped", 9 },
	{ "staged", 1 },	   { "linked", 1 },	     { "unwind-changing", 1 },
	{ "unwind-settled", 1 },   { "site-written", 2 },    { "installed", 1 },
	{ "before-commit", 2 },	   { "committed", 2 },	     { "promoted", 2 },
	{ "demoted", 2 },	   { "held", 1 },
	{ "released", 1 },	   { "area-unmapped", 2 },   { "before-revert", 2 },
	{ "reverted", 2 },	   { "site-restored", 2 },   { "borrow-stopped", 2 },
	{ "borrow-masked", 2 },	   { "borrow-frame-written", 2 }, { "borrow-armed", 3 },
	{ "borrow-entered", 3 },   { "borrow-redirected", 3 }, { "borrow-exited", 3 },
	{ "borrow-unmasked", 1 },  { "borrow-restored", 2 },  { "borrow-calling", 2 },
	{ "borrow-called", 2 },	   { "borrow-returned", 2 },  { "hold-seized", 2 },
	{ "hold-stopped", 2 },	   { "hold-first-detached", 1 },
};

/* Points of roads that this pair does not take; other suites die there. */
static const char *const elsewhere[] = {
	"guard-armed", "hold-pc-set", "pad-planted", "pad-ready", "pad-withdrawn",
};

struct scene {
	struct victim *victims[2];
	pid_t pids[2];
	size_t n;
	int journal_fd;
	uint8_t update_id[16];
};

static void scene_init(struct scene *scene, const char *program, size_t n)
{
	*scene = (struct scene){ .n = n };
	for (size_t i = 0; i < n; i++) {
		scene->victims[i] = victim_start(program, NULL);
		scene->pids[i] = scene->victims[i]->pid;
		victim_expect(scene->victims[i], "both", OLD_ANSWER);
	}
	scene->journal_fd = memfd_create("journal", 0);
	cr_assert_eq(getrandom(scene->update_id, sizeof(scene->update_id), 0),
		     (ssize_t)sizeof(scene->update_id));
}

static void scene_deinit(struct scene *scene)
{
	for (size_t i = 0; i < scene->n; i++)
		victim_free(scene->victims[i]);
	close(scene->journal_fd);
}

static void request(struct scene *scene, enum upd_kind kind, struct update *update)
{
	*update = (struct update){
		.kind = kind, .pids = scene->pids, .n_pids = scene->n,
		.patch = kind == UPD_APPLY ? PATCH : NULL,
		.patch_id = kind == UPD_REVERT ? "pair-v2" : NULL,
		.journal_fd = scene->journal_fd,
	};
	memcpy(update->update_id, scene->update_id, sizeof(update->update_id));
	update_run(update);
}

/* Run a request in a worker that dies at the point. Return: did it die there? */
static bool die_at(struct scene *scene, enum upd_kind kind, const char *point, int pass)
{
	struct update update;
	char fault[64];
	int status;
	pid_t worker = fork();

	cr_assert_geq(worker, 0);
	if (worker == 0) {
		snprintf(fault, sizeof(fault), "%s:%d", point, pass);
		setenv("DSUD_FAULT", fault, 1);
		request(scene, kind, &update);
		_exit(update.report.targets[0].result == UPD_APPLIED ||
		      update.report.targets[0].result == UPD_REVERTED ? 0 : 3);
	}
	cr_assert_eq(waitpid(worker, &status, 0), worker);
	cr_assert(WIFSIGNALED(status) || WEXITSTATUS(status) == 0, "%s:%d: worker ended with %x",
		  point, pass, status);
	return WIFSIGNALED(status);
}

static bool is_new(struct scene *scene, size_t i, const char *point)
{
	const char *answer = victim_ask(scene->victims[i], "both");
	bool new = strcmp(answer, NEW_ANSWER) == 0;

	cr_assert(new || strcmp(answer, OLD_ANSWER) == 0, "%s: torn version: %s", point, answer);
	return new;
}

static void expect_clean_round(struct scene *scene, const char *point)
{
	struct update update;

	cr_assert_eq(getrandom(scene->update_id, sizeof(scene->update_id), 0),
		     (ssize_t)sizeof(scene->update_id));
	request(scene, UPD_APPLY, &update);
	for (size_t i = 0; i < scene->n; i++) {
		cr_assert_eq(update.report.targets[i].result, UPD_APPLIED, "after %s: %s", point,
			     update.report.targets[i].message);
		victim_expect(scene->victims[i], "both", NEW_ANSWER);
	}
	update_done(&update);
	request(scene, UPD_REVERT, &update);
	for (size_t i = 0; i < scene->n; i++) {
		cr_assert_eq(update.report.targets[i].result, UPD_REVERTED, "after %s: %s", point,
			     update.report.targets[i].message);
		victim_expect(scene->victims[i], "both", OLD_ANSWER);
	}
	update_done(&update);
}

/* Recovery: the same state everywhere, told truly. Return: is it the new one? */
static bool recover(struct scene *scene, const char *point)
{
	struct update update;
	bool new;

	request(scene, UPD_RECOVER, &update);
	new = is_new(scene, 0, point);
	for (size_t i = 0; i < scene->n; i++) {
		const struct upd_target *target = &update.report.targets[i];

		cr_assert_eq(target->code, 0, "%s: recovery of %zu: %s", point, i, target->message);
		cr_assert_eq(is_new(scene, i, point), new, "%s: one new, one old", point);
		cr_assert_eq(target->n_patches, new ? 1 : 0, "%s: status does not tell the truth",
			     point);
	}
	update_done(&update);
	return new;
}

/*
 * What is undone leaves maps and code as they were. Two things may leave our own memory, and nothing else, behind: a call
 * to the unwinder that was cut off, and a group in which one member ran the new code for a moment.
 */
static void expect_undone(struct snapshot *before, pid_t pid, const char *point, bool spotless)
{
	SNAPSHOT after = snapshot_take(pid);
	char difference[8192];
	size_t n = snapshot_diff(before, after, SNAPSHOT_DATA, difference, sizeof(difference));

	cr_assert(!spotless || n == 0, "after %s:\n%s", point, difference);
	for (char *line = strtok(difference, "\n"); n > 0 && line; line = strtok(NULL, "\n"))
		cr_assert(strstr(line, "/memfd:dsu:"), "after %s: %s", point, line);
}

/* One victim set, one kind, every point. */
static void die_everywhere(const char *program, size_t n, enum upd_kind kind)
{
	int n_deaths = 0;

	need_root();
	for (size_t p = 0; p < INJ_ARRAY_LENGTH(points); p++)
		for (int pass = 1; pass <= points[p].times; pass++) {
			const char *point = points[p].name;
			struct scene scene;
			struct snapshot *before;
			struct update update;

			scene_init(&scene, program, n);
			if (kind == UPD_REVERT) {
				request(&scene, UPD_APPLY, &update);
				cr_assert_eq(update.report.targets[0].result, UPD_APPLIED);
				update_done(&update);
			}
			before = snapshot_take(scene.pids[0]);
			if (die_at(&scene, kind, point, pass)) {
				n_deaths++;
				for (size_t i = 0; i < n; i++)
					is_new(&scene, i, point);
				if (!recover(&scene, point) && kind == UPD_APPLY)
					expect_undone(before, scene.pids[0], point,
						      n == 1 && strcmp(program, "pair") == 0);
			} else if (kind == UPD_APPLY) {
				request(&scene, UPD_REVERT, &update);
				update_done(&update);
			}
			if (is_new(&scene, 0, point)) {
				request(&scene, UPD_REVERT, &update);
				cr_assert_eq(update.report.targets[0].result, UPD_REVERTED, "%s: %s", point,
					     update.report.targets[0].message);
				update_done(&update);
			}
			expect_clean_round(&scene, point);
			snapshot_free(before);
			scene_deinit(&scene);
		}
	cr_assert_gt(n_deaths, 8, "only %d deaths: the points are not passed", n_deaths);
}

Test(worker_death, applying_to_one)
{
	die_everywhere("pair", 1, UPD_APPLY);
}

Test(worker_death, applying_to_one_with_its_own_unwinder)
{
	die_everywhere("pair-static", 1, UPD_APPLY);
}

Test(worker_death, applying_to_two)
{
	die_everywhere("pair", 2, UPD_APPLY);
}

Test(worker_death, reverting_one)
{
	die_everywhere("pair", 1, UPD_REVERT);
}

Test(worker_death, reverting_two)
{
	die_everywhere("pair", 2, UPD_REVERT);
}

/* Every name that the sources know is tried here or known to be tried elsewhere. */
Test(worker_death, no_point_is_forgotten)
{
	char command[4096], name[128];
	FILE *names;

	snprintf(command, sizeof(command),
		 "cd '%s' && grep -rhoE --include='*.c' 'inj_fault_point\\([^)]*\\)' injector protocols |"
		 " grep -oE '\"[a-z-]+\"' | tr -d '\"' | sort -u",
		 source_path("."));
	names = popen(command, "r");
	cr_assert(names);
	while (fscanf(names, "%127s", name) == 1) {
		bool known = false;

		for (size_t i = 0; i < INJ_ARRAY_LENGTH(points); i++)
			known |= strcmp(points[i].name, name) == 0;
		for (size_t i = 0; i < INJ_ARRAY_LENGTH(elsewhere); i++)
			known |= strcmp(elsewhere[i], name) == 0;
		cr_expect(known, "fault point %s is never tried", name);
	}
	pclose(names);
}
