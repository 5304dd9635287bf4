/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Somebody else stops and continues a target while it is changed under the dead man's switch, which
 * is made of the same signals. The worker stands still at a point while that happens. Whatever
 * comes, the target ends up running or stopped as that other one wanted, and a death in between
 * leaves no half-written code running.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "tests/fault/worker.h"
#include "tests/support/child.h"
#include "tests/support/need.h"
#include "tests/support/victim.h"

/* Its entry crosses a page and cannot be written by one store. */
#define PATCH "tests/patches/traits/entry-crossing.so"
#define PATCH_ID "entry-v2"
#define QUESTION "crossing"
#define OLD_ANSWER "1"
#define NEW_ANSWER "1000"

TestSuite(outside_stops, .timeout = 120);

struct scene {
	struct victim *victims[2];
	pid_t pids[2];
	size_t n;
	int journal_fd;
	uint8_t update_id[16];
};

static void scene_init(struct scene *scene, size_t n)
{
	need_root();
	*scene = (struct scene){ .n = n, .journal_fd = memfd_create("journal", MFD_CLOEXEC) };
	for (size_t i = 0; i < n; i++) {
		/* Whoever is stopped inside the function blocks for ever: they stay outside. */
		scene->victims[i] = victim_start("entries", "3", "asleep", NULL);
		scene->pids[i] = scene->victims[i]->pid;
	}
	cr_assert_eq(getrandom(scene->update_id, sizeof(scene->update_id), 0),
		     (ssize_t)sizeof(scene->update_id));
}

static void scene_deinit(struct scene *scene)
{
	for (size_t i = 0; i < scene->n; i++)
		victim_free(scene->victims[i]);
	close(scene->journal_fd);
}

static struct update request(struct scene *scene, enum upd_kind kind)
{
	struct update update = {
		.kind = kind, .pids = scene->pids, .n_pids = scene->n,
		.patch = kind == UPD_APPLY ? PATCH : NULL,
		.patch_id = kind == UPD_REVERT ? PATCH_ID : NULL,
		.journal_fd = scene->journal_fd,
	};

	memcpy(update.update_id, scene->update_id, sizeof(update.update_id));
	return update;
}

static pid_t start_worker(struct scene *scene, enum upd_kind kind, const char *fault)
{
	struct update update = request(scene, kind);

	return worker_start(&update, fault);
}

static void send(struct scene *scene, int number)
{
	for (size_t i = 0; i < scene->n; i++)
		cr_assert_eq(kill(scene->pids[i], number), 0);
}

static void send_to_thread(struct scene *scene, int number)
{
	for (size_t i = 0; i < scene->n; i++)
		cr_assert_eq(tgkill(scene->pids[i], scene->pids[i], number), 0);
}

static void await_state(struct scene *scene, const char *states)
{
	for (size_t i = 0; i < scene->n; i++)
		child_await_state(scene->pids[i], states);
}

static void expect_answers(struct scene *scene, const char *answer)
{
	for (size_t i = 0; i < scene->n; i++)
		victim_expect(scene->victims[i], QUESTION, answer);
}

static void apply(struct scene *scene)
{
	struct update update = request(scene, UPD_APPLY);

	update_run(&update);
	cr_assert_eq(update.report.targets[0].result, UPD_APPLIED, "%s",
		     update.report.targets[0].message);
	update_done(&update);
}

/* Nothing may be left that another round would meet. */
static void clean_round(struct scene *scene)
{
	struct update update = request(scene, UPD_REVERT);

	apply(scene);
	expect_answers(scene, NEW_ANSWER);
	update_run(&update);
	cr_assert_eq(update.report.targets[0].result, UPD_REVERTED, "%s",
		     update.report.targets[0].message);
	update_done(&update);
	expect_answers(scene, OLD_ANSWER);
}

static void recover(struct scene *scene)
{
	struct update update = request(scene, UPD_RECOVER);

	update_run(&update);
	for (size_t i = 0; i < scene->n; i++)
		cr_assert_eq(update.report.targets[i].code, 0, "%s",
			     update.report.targets[i].message);
	update_done(&update);
}

static const struct {
	enum upd_kind kind;
	enum upd_result result;
	const char *answer;
} both_ways[] = {
	{ UPD_APPLY, UPD_APPLIED, NEW_ANSWER },
	{ UPD_REVERT, UPD_REVERTED, OLD_ANSWER },
};

static void stop_at(const char *point, void (*how)(struct scene *scene, int number), int number)
{
	struct scene scene;

	scene_init(&scene, 1);
	for (size_t way = 0; way < INJ_ARRAY_LENGTH(both_ways); way++) {
		pid_t worker = start_worker(&scene, both_ways[way].kind, point);

		worker_await_stop(worker);
		how(&scene, number);
		worker_go_on(worker);
		worker_await_result(worker, both_ways[way].result);
		await_state(&scene, "T");
		send(&scene, SIGCONT);
		expect_answers(&scene, both_ways[way].answer);
	}
	clean_round(&scene);
	scene_deinit(&scene);
}

/* The stop comes when everything is prepared, or under the hold, before or after the switch is
 * armed. */
Test(outside_stops, a_stop_at_any_time_stops_it)
{
	static const char *const points[] = { "hold-seized:1:stop", "hold-stopped:1:stop",
					      "held:1:stop", "guard-armed:1:stop" };

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(points); i++) {
		stop_at(points[i], send, SIGSTOP);
		stop_at(points[i], send, SIGTSTP);
	}
	/* Once it is armed, that one cannot be told from ours. */
	for (size_t i = 0; i + 1 < INJ_ARRAY_LENGTH(points); i++)
		stop_at(points[i], send_to_thread, SIGSTOP);
}

/* A target that is stopped when we come, and continued while we work, runs afterwards. */
Test(outside_stops, a_continue_at_any_time_lets_it_run)
{
	static const char *const points[] = { "hold-seized:1:stop", "hold-stopped:1:stop",
					      "held:1:stop", "site-written:1:stop" };

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(points); i++) {
		struct scene scene;
		pid_t worker;

		scene_init(&scene, 1);
		send(&scene, SIGSTOP);
		await_state(&scene, "T");
		worker = start_worker(&scene, UPD_APPLY, points[i]);
		worker_await_stop(worker);
		send(&scene, SIGCONT);
		worker_go_on(worker);
		worker_await_result(worker, UPD_APPLIED);
		expect_answers(&scene, NEW_ANSWER);
		scene_deinit(&scene);
	}
}

/* It was stopped when the update began, so nobody seemed to need the switch; it runs when the
 * writing begins. */
Test(outside_stops, a_death_after_a_continue_leaves_it_stopped)
{
	for (size_t way = 0; way < INJ_ARRAY_LENGTH(both_ways); way++) {
		bool back = both_ways[way].kind == UPD_REVERT;
		struct scene scene;
		pid_t worker;

		scene_init(&scene, 1);
		if (back)
			apply(&scene);
		send(&scene, SIGSTOP);
		await_state(&scene, "T");
		worker = start_worker(&scene, both_ways[way].kind,
				      back ? "hold-seized:1:stop,site-restored:1" :
					     "hold-seized:1:stop,site-written:1");
		worker_await_stop(worker);
		send(&scene, SIGCONT);
		worker_go_on(worker);
		worker_await_death(worker);
		await_state(&scene, "T");
		recover(&scene);
		expect_answers(&scene, OLD_ANSWER);
		clean_round(&scene);
		scene_deinit(&scene);
	}
}

/* The switch and somebody else both stop it: recovery takes back only what is ours. */
Test(outside_stops, recovery_leaves_it_stopped_for_others)
{
	struct scene scene;
	pid_t worker;

	scene_init(&scene, 1);
	worker = start_worker(&scene, UPD_APPLY, "site-written:1:stop");
	worker_await_stop(worker);
	send(&scene, SIGSTOP);
	cr_assert_eq(kill(worker, SIGKILL), 0);
	worker_await_death(worker);
	await_state(&scene, "T");
	recover(&scene);
	await_state(&scene, "T");
	send(&scene, SIGCONT);
	expect_answers(&scene, OLD_ANSWER);
	clean_round(&scene);
	scene_deinit(&scene);
}

/*
 * Two targets that were stopped when the update began, so that it needed no switch; its worker dies
 * between the commits; they are continued; the one that takes the group back does need it, and dies
 * as well.
 */
Test(outside_stops, a_recovery_that_dies_is_recovered)
{
	static const char *const points[] = { "guard-armed:1", "site-restored:1", "reverted:1" };

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(points); i++) {
		struct scene scene;

		scene_init(&scene, 2);
		send(&scene, SIGSTOP);
		await_state(&scene, "T");
		worker_await_death(start_worker(&scene, UPD_APPLY, "committed:1"));
		send(&scene, SIGCONT);
		worker_await_death(start_worker(&scene, UPD_RECOVER, points[i]));
		child_await_state(scene.pids[0], "T");
		recover(&scene);
		await_state(&scene, "RS");
		expect_answers(&scene, OLD_ANSWER);
		clean_round(&scene);
		scene_deinit(&scene);
	}
}
