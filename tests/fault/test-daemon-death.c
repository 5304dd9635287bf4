/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The worker, the daemon, or both are killed after every step by which one of them changes
 * something, and a new daemon is started. It must find the update finished or undone, tell which,
 * leave nothing in the state directory, and carry the next update through. The victims must run one
 * whole version all the time, and be what they were but for the redirects.
 *
 * Which points there are is found by tracing one request; a point of the daemon's own kills it
 * whatever the action is.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <dirent.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "injector/base/clock.h"
#include "tests/bus/bus-fixture.h"
#include "tests/fault/deaths.h"
#include "tests/support/need.h"

#define DAEMON "dsud/dsud"

TestSuite(daemon_death, .timeout = 3000);

struct road {
	enum upd_kind kind;
	size_t n_processes;
	unsigned n_functions;
	char action[16];
};

static bool is_points_of_daemon(const char *name)
{
	return strncmp(name, "targets-", 8) == 0 ||
	       (strncmp(name, "journal-", 8) == 0 && strcmp(name, "journal-written") != 0);
}

/* --- a client ----------------------------------------------------------------------------- */

/* Run dsuctl; text: what it prints, may be NULL. Return: its exit status. */
static int client(const struct bus_fixture *fixture, const struct scene *scene, const char *verb,
		  const char *argument, char *text, size_t size)
{
	char command[2048];
	FILE *output;
	int status;
	size_t n;

	snprintf(command, sizeof(command), "'%s' --socket='%s' %s %s --pid=%d",
		 build_path("dsuctl/dsuctl"), fixture->socket_path, verb, argument,
		 (int)scene->pids[0]);
	for (size_t i = 1; i < scene->n; i++)
		snprintf(command + strlen(command), sizeof(command) - strlen(command), ",%d",
			 (int)scene->pids[i]);
	strcat(command, " --json=short 2>&1");
	output = popen(command, "r");
	cr_assert_not_null(output);
	n = text ? fread(text, 1, size - 1, output) : 0;
	if (text)
		text[n] = '\0';
	while (fgetc(output) != EOF)
		;
	status = pclose(output);
	cr_assert(WIFEXITED(status), "dsuctl %s ended with %#x", verb, status);
	return WEXITSTATUS(status);
}

static int change(const struct bus_fixture *fixture, const struct scene *scene, enum upd_kind kind,
		  char *text, size_t size)
{
	char patch[512];

	snprintf(patch, sizeof(patch), "'%s'", build_path(scene->patch));
	return kind == UPD_APPLY ? client(fixture, scene, "apply", patch, text, size) :
				   client(fixture, scene, "revert", "many", text, size);
}

static void must_change(const struct bus_fixture *fixture, const struct scene *scene,
			enum upd_kind kind, const char *when)
{
	char text[4096];

	cr_assert_eq(change(fixture, scene, kind, text, sizeof(text)), 0, "%s: %s", when, text);
}

/* A request for a process waits for all earlier ones, the settling of leftovers among them. */
static void await_settled(const struct bus_fixture *fixture, const struct scene *scene,
			  const char *when)
{
	char text[4096];

	cr_assert_eq(client(fixture, scene, "revert", "nobody", text, sizeof(text)), 4, "%s: %s",
		     when, text);
	cr_assert_not_null(strstr(text, "NotApplied"), "%s: %s", when, text);
}

/* --- after a death ------------------------------------------------------------------------ */

static void expect_status(const struct bus_fixture *fixture, const struct scene *scene, bool new,
			  const char *when)
{
	static char text[2 << 20]; /* two thousand functions */
	size_t n = 0;

	cr_assert_eq(client(fixture, scene, "status", "", text, sizeof(text)), 0, "%s: %s", when,
		     text);
	for (const char *at = text; (at = strstr(at, "\"id\":\"many\"")); at++)
		n++;
	cr_assert_eq(n, new ? scene->n : 0, "%s: new: %d, but %.300s", when, new, text);
}

static void expect_clean_state(const struct bus_fixture *fixture, const char *when)
{
	INJ_CLEANUP(inj_dir_guard) DIR *listing = opendir(fixture->state_dir);
	struct dirent *entry;

	cr_assert_not_null(listing);
	while ((entry = readdir(listing)))
		cr_assert(strncmp(entry->d_name, "journal-", 8) != 0 &&
				  strncmp(entry->d_name, "targets-", 8) != 0,
			  "%s: %s is left", when, entry->d_name);
}

/* Did the daemon end by itself, and all its workers? Else it is ended politely. */
static bool await_end(struct bus_fixture *fixture, bool wanted)
{
	int status = 0;
	pid_t ended = waitpid(fixture->daemon_pid, &status, wanted ? 0 : WNOHANG);

	if (ended != fixture->daemon_pid) {
		bus_fixture_stop(fixture);
		return false;
	}
	fixture->daemon_pid = 0;
	return WIFSIGNALED(status);
}

static void start_with(struct bus_fixture *fixture, const char *variable, const char *value)
{
	setenv(variable, value, 1);
	bus_fixture_start(fixture, NULL);
	unsetenv(variable);
}

static void prepare(struct scene *scene, const struct road *road)
{
	scene_init(scene, "many", road->n_processes, road->n_functions);
	if (road->kind == UPD_REVERT)
		scene_must(scene, UPD_APPLY, UPD_APPLIED, "before reverting");
}

static void trace(struct bus_fixture *fixture, const struct road *road, struct passed_points *ret)
{
	char path[TRACE_PATH_BYTES];
	struct scene scene;

	prepare(&scene, road);
	trace_begin(path);
	start_with(fixture, "DSUD_FAULT_TRACE", path);
	must_change(fixture, &scene, road->kind, "tracing");
	bus_fixture_stop(fixture);
	trace_end(path, ret);
	scene_deinit(&scene);
}

/* What a daemon that was not killed has said must be what is so. */
static void expect_truth(const struct road *road, struct scene *scene, int answer, const char *when)
{
	bool new = scene_is_new(scene, 0, when);

	if (answer == 0)
		cr_assert_eq(new, road->kind == UPD_APPLY, "%s: told as done", when);
}

/* Return: was anybody killed? */
static bool die_once(struct bus_fixture *fixture, const struct road *road, const char *point)
{
	const bool own = is_points_of_daemon(point);
	const bool daemon_dies = own || strcmp(road->action, "kill") != 0;
	struct scene scene;
	char fault[96];
	int answer;
	bool died;

	snprintf(fault, sizeof(fault), "%s:1:%s", point, own ? "kill" : road->action);
	prepare(&scene, road);
	start_with(fixture, "DSUD_FAULT", fault);
	answer = change(fixture, &scene, road->kind, NULL, 0);
	for (size_t i = 0; i < scene.n; i++)
		scene_is_new(&scene, i, fault);
	died = await_end(fixture, daemon_dies);
	if (!daemon_dies)
		expect_truth(road, &scene, answer, fault);
	bus_fixture_start(fixture, NULL);
	await_settled(fixture, &scene, fault);
	expect_status(fixture, &scene,
		      scene_check(&scene, road->kind == UPD_REVERT || road->n_processes > 1, fault),
		      fault);
	expect_clean_state(fixture, fault);
	if (scene_is_new(&scene, 0, fault))
		must_change(fixture, &scene, UPD_REVERT, fault);
	must_change(fixture, &scene, UPD_APPLY, fault);
	must_change(fixture, &scene, UPD_REVERT, fault);
	cr_assert_not(scene_check(&scene, true, fault), "%s: reverted, but new", fault);
	cr_assert_eq(bus_fixture_stop(fixture), 0);
	scene_deinit(&scene);
	return died || !daemon_dies;
}

ParameterizedTestParameters(daemon_death, at_every_point)
{
	static struct road roads[] = {
		{ UPD_APPLY, 1, 3, "kill-both" },   { UPD_REVERT, 1, 3, "kill-both" },
		{ UPD_APPLY, 1, 3, "kill-parent" }, { UPD_REVERT, 1, 3, "kill-parent" },
		{ UPD_APPLY, 1, 3, "kill" },	    { UPD_REVERT, 1, 3, "kill" },
		{ UPD_APPLY, 2, 1, "kill-both" },   { UPD_REVERT, 2, 1, "kill-both" },
		/* Only in a soak. */
		{ UPD_APPLY, 2, 1, "kill-parent" }, { UPD_REVERT, 2, 1, "kill-parent" },
		{ UPD_APPLY, 2, 3, "kill" },	    { UPD_REVERT, 2, 3, "kill" },
		{ UPD_APPLY, 1, 1000, "kill-both" }, { UPD_REVERT, 1, 1000, "kill-both" },
		{ UPD_APPLY, 2, 1000, "kill-parent" }, { UPD_REVERT, 2, 1000, "kill-parent" },
	};

	return cr_make_param_array(struct road, roads,
				   deaths_limit(0) ? INJ_ARRAY_LENGTH(roads) : 8);
}

ParameterizedTest(struct road *road, daemon_death, at_every_point)
{
	BUS_FIXTURE fixture = bus_fixture_prepare(DAEMON, false);
	struct passed_points points;
	size_t n_deaths = 0;

	trace(fixture, road, &points);
	for (size_t i = 0; i < points.n; i++)
		n_deaths += die_once(fixture, road, points.items[i].name);
	cr_log_info("%zu processes, %u functions, %s, %s: %zu points, %zu deaths",
		    road->n_processes, road->n_functions,
		    road->kind == UPD_APPLY ? "apply" : "revert", road->action, points.n, n_deaths);
	cr_assert_eq(n_deaths, points.n);
}
