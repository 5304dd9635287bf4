/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A worker is killed after every step by which it changes something, applying and reverting one,
 * three and a thousand functions, in one process and in two; and so is the worker that recovers.
 * Each time the victims must go on at once, each with one whole version; recovery must end in a
 * state that is the same everywhere, that `status` tells truly, and in which text, mappings and
 * registers are what they were but for the redirects; and the same patch must go on and off
 * afterwards as if nothing had happened.
 *
 * Which points there are to die at is not written here: the request is carried through once with a
 * trace.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "injector/base/types.h"
#include "tests/fault/deaths.h"
#include "tests/support/need.h"

TestSuite(worker_death, .timeout = 3000);

struct road {
	char program[16];
	size_t n_processes;
	unsigned n_functions;
	enum upd_kind kind;
	/* Dies at no more passes than this of each point, unless it is a soak. */
	size_t limit;
};

static void prepare(struct scene *scene, const struct road *road)
{
	scene_init(scene, road->program, road->n_processes, road->n_functions);
	if (road->kind == UPD_REVERT) {
		scene_must(scene, UPD_APPLY, UPD_APPLIED, "before reverting");
		scene_renew(scene);
	}
}

static void trace(const struct road *road, struct passed_points *ret)
{
	struct scene scene;

	prepare(&scene, road);
	scene_trace(&scene, road->kind, ret);
	scene_deinit(&scene);
}

/*
 * Memory of ours may stay where the old version runs: after a revert always; in a group of which
 * one member ran the new version for a moment; and where a call to the program's unwinder was cut
 * off.
 */
static bool may_keep(const struct road *road)
{
	return road->kind == UPD_REVERT || road->n_processes > 1 ||
	       strcmp(road->program, "many") != 0;
}

/* Return: did the worker die? */
static bool die_once(const struct road *road, const char *point, size_t pass)
{
	struct scene scene;
	char fault[64];
	bool died;

	snprintf(fault, sizeof(fault), "%s:%zu", point, pass);
	prepare(&scene, road);
	died = scene_run(&scene, road->kind, "DSUD_FAULT", fault);
	for (size_t i = 0; i < scene.n; i++)
		scene_is_new(&scene, i, fault);
	if (died)
		scene_must(&scene, UPD_RECOVER, 0, fault);
	scene_check(&scene, may_keep(road), fault);
	scene_clean_round(&scene, fault);
	scene_deinit(&scene);
	return died;
}

static struct road roads[] = {
	{ "many", 1, 3, UPD_APPLY, 40 },    { "many", 1, 3, UPD_REVERT, 40 },
	{ "many", 1, 1, UPD_APPLY, 2 },	    { "many", 1, 1, UPD_REVERT, 2 },
	{ "many", 1, 1000, UPD_APPLY, 2 },  { "many", 1, 1000, UPD_REVERT, 2 },
	{ "many", 2, 1, UPD_APPLY, 2 },	    { "many", 2, 1, UPD_REVERT, 2 },
	{ "many", 2, 3, UPD_APPLY, 3 },	    { "many", 2, 3, UPD_REVERT, 3 },
	{ "many", 2, 1000, UPD_APPLY, 1 },  { "many", 2, 1000, UPD_REVERT, 1 },
	{ "many-static", 1, 3, UPD_APPLY, 3 }, { "many-static", 1, 3, UPD_REVERT, 3 },
};

ParameterizedTestParameters(worker_death, at_every_point)
{
	return cr_make_param_array(struct road, roads, INJ_ARRAY_LENGTH(roads));
}

ParameterizedTest(struct road *road, worker_death, at_every_point)
{
	const size_t limit = deaths_limit(road->limit);
	struct passed_points points;
	size_t n_deaths = 0, n_tries = 0, pass;

	need_root();
	trace(road, &points);
	for (size_t i = 0; i < points.n; i++)
		for (size_t turn = 0; (pass = choose_pass(points.items[i].n_passes, limit, turn));
		     turn++) {
			bool died = die_once(road, points.items[i].name, pass);

			/* How often a thread is asked may differ from time to time, but not
			 * whether. */
			cr_assert(died || pass > 1, "%s is not passed any more",
				  points.items[i].name);
			n_deaths += died;
			n_tries++;
		}
	cr_log_info("%s: %zu processes, %u functions, %s: %zu points, %zu deaths", road->program,
		    road->n_processes, road->n_functions,
		    road->kind == UPD_APPLY ? "apply" : "revert", points.n, n_deaths);
	cr_assert_gt(n_deaths * 10, n_tries * 8, "only %zu deaths in %zu tries", n_deaths, n_tries);
}

/* --- who recovers may die as well --------------------------------------------------------- */

struct relapse {
	struct road road;
	char first[32]; /* where the worker dies */
};

static void die_first(struct scene *scene, const struct relapse *relapse)
{
	prepare(scene, &relapse->road);
	cr_assert(scene_run(scene, relapse->road.kind, "DSUD_FAULT", relapse->first),
		  "%s is not passed", relapse->first);
}

static bool die_twice(const struct relapse *relapse, const char *point, size_t pass)
{
	struct scene scene;
	char fault[64], when[128];
	bool died;

	snprintf(fault, sizeof(fault), "%s:%zu", point, pass);
	snprintf(when, sizeof(when), "%s, then %s", relapse->first, fault);
	die_first(&scene, relapse);
	died = scene_run(&scene, UPD_RECOVER, "DSUD_FAULT", fault);
	for (size_t i = 0; i < scene.n; i++)
		scene_is_new(&scene, i, when);
	if (died)
		scene_must(&scene, UPD_RECOVER, 0, when);
	scene_check(&scene, may_keep(&relapse->road), when);
	scene_clean_round(&scene, when);
	scene_deinit(&scene);
	return died;
}

static struct relapse relapses[] = {
	{ { "many", 1, 3, UPD_APPLY, 3 }, "memfd-made:1" },
	{ { "many", 1, 3, UPD_APPLY, 3 }, "area-mapped:1" },
	{ { "many", 1, 3, UPD_APPLY, 3 }, "area-mapped:4" },
	{ { "many", 1, 3, UPD_APPLY, 3 }, "site-written:2" },
	{ { "many", 1, 3, UPD_APPLY, 3 }, "committed:1" },
	{ { "many", 2, 3, UPD_APPLY, 2 }, "before-commit:2" },
	{ { "many", 1, 3, UPD_REVERT, 3 }, "reverted:1" },
	{ { "many", 1, 3, UPD_REVERT, 3 }, "site-restored:2" },
	{ { "many", 2, 3, UPD_REVERT, 2 }, "before-revert:2" },
};

ParameterizedTestParameters(worker_death, while_recovering)
{
	return cr_make_param_array(struct relapse, relapses, INJ_ARRAY_LENGTH(relapses));
}

ParameterizedTest(struct relapse *relapse, worker_death, while_recovering)
{
	const size_t limit = deaths_limit(relapse->road.limit);
	struct passed_points points;
	struct scene scene;
	size_t n_deaths = 0, pass;

	need_root();
	die_first(&scene, relapse);
	scene_trace(&scene, UPD_RECOVER, &points);
	scene_deinit(&scene);
	for (size_t i = 0; i < points.n; i++)
		for (size_t turn = 0; (pass = choose_pass(points.items[i].n_passes, limit, turn));
		     turn++)
			n_deaths += die_twice(relapse, points.items[i].name, pass);
	cr_log_info("after %s: %zu points, %zu deaths", relapse->first, points.n, n_deaths);
	cr_assert_geq(n_deaths, points.n);
}

/* --- nothing is left out ------------------------------------------------------------------ */

/* Points of roads that these patches do not take, and where the deaths at them are. */
static const char *const elsewhere[] = {
	/* test-worker-death-guard */
	"guard-armed", "guard-disarmed", "signal-sent", "let-go-on", "pad-planted", "pad-ready",
	"pad-withdrawn",
	/* test-daemon-death: passed by the daemon itself */
	"targets-made", "targets-written", "journal-made", "journal-reserved", "journal-removed",
	"targets-removed",
	/* test-hold-timeouts, test-hold-pc, test-hold-thread: no protocol moves a thread yet */
	"rest-written", "gs-base-set", "thread-marked", "hold-pc-set",
};

static bool is_elsewhere(const char *name)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(elsewhere); i++)
		if (strcmp(elsewhere[i], name) == 0)
			return true;
	return false;
}

static void collect(struct passed_points *all, const struct passed_points *some)
{
	for (size_t i = 0; i < some->n; i++) {
		size_t k = 0;

		while (k < all->n && strcmp(all->items[k].name, some->items[i].name) != 0)
			k++;
		cr_assert_lt(k, INJ_ARRAY_LENGTH(all->items));
		all->items[k] = some->items[i];
		all->n += k == all->n;
	}
}

/* Every name in the sources is passed on one of the roads above, or known to be passed
 * elsewhere. */
Test(worker_death, no_point_is_forgotten)
{
	struct passed_points all = { .n = 0 }, some;
	char command[4096], name[64];
	FILE *names;

	need_root();
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(roads); i++) {
		if (roads[i].n_functions == 1000)
			continue;
		trace(&roads[i], &some);
		collect(&all, &some);
	}
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(relapses); i++) {
		struct scene scene;

		die_first(&scene, &relapses[i]);
		scene_trace(&scene, UPD_RECOVER, &some);
		scene_deinit(&scene);
		collect(&all, &some);
	}
	snprintf(command, sizeof(command), "python3 '%s' ",
		 source_path("tests/lint/check-fault-points.py"));
	snprintf(command + strlen(command), sizeof(command) - strlen(command), "'%s' --list",
		 source_path("."));
	names = popen(command, "r");
	cr_assert_not_null(names);
	for (size_t n = 0; fscanf(names, "%63s", name) == 1 || n == 0; n++) {
		size_t k = 0;

		while (k < all.n && strcmp(all.items[k].name, name) != 0)
			k++;
		cr_expect(k < all.n || is_elsewhere(name), "nobody dies at the fault point %s",
			  name);
	}
	cr_assert_eq(pclose(names), 0);
}
