/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A worker is killed on the roads that few functions take. Where the redirect is not one store, the
 * dead man's switch must leave a stopped but whole program that recovery lets go on; where return
 * pads stand on stacks, the program must run on through them. Afterwards the same patch goes on and
 * off as if nothing had happened.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fault/trace.h"
#include "tests/support/child.h"
#include "tests/support/need.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

#define ENTRIES_ID "entry-v2"

TestSuite(worker_death_guard, .timeout = 300);

struct scene {
	struct victim *victim;
	const char *patch;
	const char *patch_id;
	const char *question;
	const char *old_answer;
	const char *new_answer;
	double timeout_s;
	int journal_fd;
	uint8_t update_id[16];
};

static void new_request(struct scene *scene)
{
	cr_assert_eq(getrandom(scene->update_id, sizeof(scene->update_id), 0),
		     (ssize_t)sizeof(scene->update_id));
	cr_assert_eq(ftruncate(scene->journal_fd, 0), 0);
}

static void request(struct scene *scene, enum upd_kind kind, struct update *update)
{
	*update = (struct update){
		.kind = kind, .pids = &scene->victim->pid, .n_pids = 1,
		.patch = kind == UPD_APPLY ? scene->patch : NULL,
		.patch_id = kind == UPD_REVERT ? scene->patch_id : NULL,
		.journal_fd = scene->journal_fd, .timeout_s = scene->timeout_s,
	};
	memcpy(update->update_id, scene->update_id, sizeof(update->update_id));
	update_run(update);
}

static void must(struct scene *scene, enum upd_kind kind, enum upd_result result, const char *when)
{
	INJ_CLEANUP(update_done) struct update update;

	new_request(scene);
	request(scene, kind, &update);
	cr_assert_eq(update.report.targets[0].result, result, "%s: %s", when,
		     update.report.targets[0].message);
}

/* Carry a request through in a child with this environment. Return: did it die? */
static bool run_with(struct scene *scene, enum upd_kind kind, const char *variable,
		     const char *value)
{
	int status;
	pid_t worker = fork();

	cr_assert_geq(worker, 0);
	if (worker == 0) {
		struct update update;

		setenv(variable, value, 1);
		request(scene, kind, &update);
		_exit(update.report.targets[0].code == 0 ? 0 : 3);
	}
	cr_assert_eq(waitpid(worker, &status, 0), worker);
	cr_assert(WIFSIGNALED(status) || WEXITSTATUS(status) == 0, "%s: worker ended with %x",
		  value, status);
	return WIFSIGNALED(status);
}

static bool die_at(struct scene *scene, enum upd_kind kind, const char *fault)
{
	return run_with(scene, kind, "DSUD_FAULT", fault);
}

static bool is_new(struct scene *scene, const char *fault)
{
	const char *answer = victim_ask(scene->victim, scene->question);
	bool new = strcmp(answer, scene->new_answer) == 0;

	cr_assert(new || strcmp(answer, scene->old_answer) == 0, "%s: %s", fault, answer);
	return new;
}

/* relapse: where the one who recovers dies first, NULL: he does not. */
static void recover(struct scene *scene, const char *fault, const char *relapse)
{
	INJ_CLEANUP(update_done) struct update update;
	const struct upd_target *target;

	if (relapse)
		die_at(scene, UPD_RECOVER, relapse);
	request(scene, UPD_RECOVER, &update);
	target = &update.report.targets[0];
	cr_assert_eq(target->code, 0, "%s: %s", fault, target->message);
	child_await_state(scene->victim->pid, "RS");
	victim_expect_above(scene->victim, "rounds",
			    victim_ask_number(scene->victim, "rounds") + 1);
	cr_assert_eq(is_new(scene, fault), target->n_patches == 1,
		     "%s: status does not tell the truth", fault);
}

static void clean_round(struct scene *scene, const char *fault)
{
	for (int i = 0; i < 2; i++) {
		must(scene, UPD_APPLY, UPD_APPLIED, fault);
		victim_expect_above(scene->victim, "rounds",
				    victim_ask_number(scene->victim, "rounds") + 1);
		victim_expect(scene->victim, scene->question, scene->new_answer);
		must(scene, UPD_REVERT, UPD_REVERTED, fault);
		victim_expect_above(scene->victim, "rounds",
				    victim_ask_number(scene->victim, "rounds") + 1);
		victim_expect(scene->victim, scene->question, scene->old_answer);
	}
}

enum after { GOES_ON, STANDS_STILL, EITHER };

/* Die, look, recover, look again. Return: did it die? */
static bool try_point(struct scene *scene, enum upd_kind kind, const char *fault, enum after after,
		      const char *relapse)
{
	bool died;

	if (kind == UPD_REVERT)
		must(scene, UPD_APPLY, UPD_APPLIED, fault);
	new_request(scene);
	died = die_at(scene, kind, fault);
	if (died && after == STANDS_STILL)
		child_await_state(scene->victim->pid, "T");
	else if (after == GOES_ON)
		victim_expect_above(scene->victim, "rounds",
				    victim_ask_number(scene->victim, "rounds") + 1);
	if (died)
		recover(scene, fault, relapse);
	if (is_new(scene, fault))
		must(scene, UPD_REVERT, UPD_REVERTED, fault);
	clean_round(scene, fault);
	return died;
}

ParameterizedTestParameters(worker_death_guard, under_the_switch)
{
	static char functions[][16] = { "crossing", "crowded" };

	return cr_make_param_array(char[16], functions, INJ_ARRAY_LENGTH(functions));
}

ParameterizedTest(char function[16], worker_death_guard, under_the_switch)
{
	static const char *const applying[] = { "signal-sent:1", "guard-armed:1", "site-written:1",
						"before-commit:1", "committed:1" };
	static const char *const reverting[] = { "guard-armed:1", "before-revert:1", "reverted:1",
						 "site-restored:1" };
	char patch[64];
	struct scene scene = { .patch = patch, .patch_id = ENTRIES_ID, .question = function,
			       .old_answer = "1", .new_answer = "1000" };

	need_root();
	snprintf(patch, sizeof(patch), "tests/patches/traits/entry-%s.so", function);
	scene.journal_fd = memfd_create("journal", MFD_CLOEXEC);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(applying) + INJ_ARRAY_LENGTH(reverting); i++) {
		bool back = i >= INJ_ARRAY_LENGTH(applying);
		const char *fault = back ? reverting[i - INJ_ARRAY_LENGTH(applying)] : applying[i];

		scene.victim = victim_start("entries", "3", NULL);
		cr_assert(try_point(&scene, back ? UPD_REVERT : UPD_APPLY, fault, STANDS_STILL,
				    i % 2 ? "let-go-on:1" : NULL),
			  "%s is not passed", fault);
		victim_expect(scene.victim, "wrong", "0");
		victim_free(scene.victim);
	}
	close(scene.journal_fd);
}

static void trace(struct scene *scene, enum upd_kind kind, struct passed_points *ret)
{
	char path[TRACE_PATH_BYTES];

	scene->victim = victim_start("entries", "3", NULL);
	if (kind == UPD_REVERT)
		must(scene, UPD_APPLY, UPD_APPLIED, "tracing");
	new_request(scene);
	trace_begin(path);
	cr_assert_not(run_with(scene, kind, "DSUD_FAULT_TRACE", path));
	trace_end(path, ret);
	victim_free(scene->victim);
}

/* Before, under and after the switch: whether the program stands still or not, it is whole in the
 * end. */
Test(worker_death_guard, at_every_point)
{
	struct scene scene = {.patch = "tests/patches/traits/entry-crossing.so",
			      .patch_id = ENTRIES_ID,
			      .question = "crossing",
			      .old_answer = "1",
			      .new_answer = "1000"};
	size_t n_deaths = 0, n_tries = 0, pass;
	struct passed_points points;
	char fault[64];

	need_root();
	scene.journal_fd = memfd_create("journal", MFD_CLOEXEC);
	for (enum upd_kind kind = UPD_APPLY; kind <= UPD_REVERT; kind++) {
		trace(&scene, kind, &points);
		for (size_t i = 0; i < points.n; i++)
			for (size_t turn = 0;
			     (pass = choose_pass(points.items[i].n_passes, deaths_limit(2), turn));
			     turn++) {
				snprintf(fault, sizeof(fault), "%s:%zu", points.items[i].name,
					 pass);
				scene.victim = victim_start("entries", "3", NULL);
				n_deaths += try_point(&scene, kind, fault, EITHER, NULL);
				n_tries++;
				victim_expect(scene.victim, "wrong", "0");
				victim_free(scene.victim);
			}
	}
	cr_log_info("%zu deaths", n_deaths);
	cr_assert_gt(n_deaths * 10, n_tries * 8, "only %zu deaths in %zu tries", n_deaths, n_tries);
	close(scene.journal_fd);
}

/* Threads leave by returning, and in the second program by exceptions as well. */
Test(worker_death_guard, with_pads_on_stacks)
{
	static const char *const faults[] = { "pad-ready:1", "pad-planted:1" };
	static const struct {
		const char *program, *patch, *patch_id;
	} programs[] = {
		{ "hot", "tests/patches/live/hot-v2.so", "hot-v2" },
		{ "tries", "tests/patches/traits/tries-v2.so", "tries-v2" },
	};
	struct scene scene = { .question = "version", .old_answer = "1", .new_answer = "2" };

	need_root();
	scene.journal_fd = memfd_create("journal", MFD_CLOEXEC);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(faults) * INJ_ARRAY_LENGTH(programs); i++)
		for (int kind = 0; kind < 2; kind++) {
			const char *fault = faults[i % INJ_ARRAY_LENGTH(faults)];
			size_t program = i / INJ_ARRAY_LENGTH(faults);
			bool died = false;

			scene.patch = programs[program].patch;
			scene.patch_id = programs[program].patch_id;
			/* On a busy machine the thread may be between two rounds just then. */
			for (int n = 0; n < 10 && !died; n++) {
				scene.victim =
					victim_start(programs[program].program, "1", "30000", NULL);
				victim_expect_above(scene.victim, "rounds", 0);
				died = try_point(&scene, kind ? UPD_REVERT : UPD_APPLY, fault,
						 GOES_ON, NULL);
				victim_free(scene.victim);
			}
			cr_assert(died, "%s is not passed in %s", fault, programs[program].program);
		}
	close(scene.journal_fd);
}

/* A thread that never returns keeps its pad until the worker gives up and takes it back. */
Test(worker_death_guard, taking_pads_back)
{
	struct scene scene = { .patch = "tests/patches/live/hot-v2.so", .patch_id = "hot-v2",
			       .question = "version", .old_answer = "1", .new_answer = "2",
			       .timeout_s = 1 };

	need_root();
	scene.journal_fd = memfd_create("journal", MFD_CLOEXEC);
	scene.victim = victim_start("hot", "1", "3000", NULL);
	victim_expect(scene.victim, "stuck", "ok");
	victim_expect_above(scene.victim, "rounds", 0);
	new_request(&scene);
	cr_assert(die_at(&scene, UPD_APPLY, "pad-withdrawn:1"), "pad-withdrawn is not passed");
	victim_expect_above(scene.victim, "rounds", victim_ask_number(scene.victim, "rounds") + 1);
	recover(&scene, "pad-withdrawn", NULL);
	victim_expect(scene.victim, "version", "1");
	must(&scene, UPD_APPLY, UPD_BLOCKED, "after pad-withdrawn");
	victim_expect_above(scene.victim, "rounds", victim_ask_number(scene.victim, "rounds") + 1);
	victim_expect(scene.victim, "version", "1");
	victim_free(scene.victim);
	close(scene.journal_fd);
}
