/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Things that happen to a target from outside or by its own doing in the middle of an update, at
 * every step of it: the worker stands still behind the step while they happen. Signals, children,
 * another program, the end. Afterwards the update is done, or there is a clear answer, and the
 * target is what it would be without us.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "injector/base/types.h"
#include "tests/fault/trace.h"
#include "tests/support/child.h"
#include "tests/support/need.h"
#include "tests/support/update.h"
#include "tests/support/victim.h"

/* Functions of the same name and of the same effect, in another program. */
#define PATCH "tests/patches/traits/lonely-v2.so"
#define ID "lonely-v2"
#define UPDATE INJ_CLEANUP(update_done) struct update
/* Of every point: the first, the last and one between. */
#define PASSES 3

TestSuite(phases, .timeout = 300);

/* What the worker has to say in the end; shared with it. */
struct outcome {
	bool complete;
	enum upd_result result;
	int code;
	char message[512];
};

static struct outcome *outcome;

struct scene {
	struct victim *victim;
	enum upd_kind kind;
	pid_t worker;
	char place[80];
};

static void carry_through(const struct scene *scene)
{
	UPDATE update = { .timeout_s = 5 };
	const struct upd_target *target =
		scene->kind == UPD_APPLY ? update_apply(&update, PATCH, scene->victim->pid)
					 : update_revert(&update, ID, scene->victim->pid);

	outcome->result = target->result;
	outcome->code = target->code;
	snprintf(outcome->message, sizeof(outcome->message), "%s", target->message);
	outcome->complete = true;
}

static void start_worker(struct scene *scene, const char *variable, const char *value)
{
	outcome->complete = false;
	scene->worker = fork();
	cr_assert_geq(scene->worker, 0);
	if (scene->worker == 0) {
		setenv(variable, value, 1);
		carry_through(scene);
		_exit(0);
	}
}

static void begin(struct scene *scene, enum upd_kind kind)
{
	*scene = (struct scene){ .kind = kind, .victim = victim_start("crew", NULL) };
	victim_expect(scene->victim, "value", "1");
	if (kind == UPD_REVERT) {
		UPDATE update = {};

		expect_result(update_apply(&update, PATCH, scene->victim->pid), UPD_APPLIED);
		victim_expect(scene->victim, "value", "1000");
	}
}

/* The points that an undisturbed update passes. */
static void trace(enum upd_kind kind, struct passed_points *ret)
{
	char path[TRACE_PATH_BYTES];
	struct scene scene;

	begin(&scene, kind);
	trace_begin(path);
	start_worker(&scene, "DSUD_FAULT_TRACE", path);
	cr_assert_eq(waitpid(scene.worker, NULL, 0), scene.worker);
	cr_assert(outcome->complete && outcome->code == 0, "%s", outcome->message);
	trace_end(path, ret);
	victim_free(scene.victim);
}

/* Return: does it stand still there? A point may be passed less often than the last time. */
static bool reach(struct scene *scene, const char *point, size_t pass)
{
	char fault[64];
	int status;

	snprintf(fault, sizeof(fault), "%s:%zu:stop", point, pass);
	snprintf(scene->place, sizeof(scene->place), "%s at %s",
		 scene->kind == UPD_APPLY ? "apply" : "revert", fault);
	start_worker(scene, "DSUD_FAULT", fault);
	cr_assert_eq(waitpid(scene->worker, &status, WUNTRACED), scene->worker);
	return WIFSTOPPED(status);
}

static void let_finish(const struct scene *scene)
{
	int status;

	kill(scene->worker, SIGCONT);
	cr_assert_eq(waitpid(scene->worker, &status, 0), scene->worker);
	cr_assert(WIFEXITED(status) && outcome->complete, "%s: the worker ended with %#x",
		  scene->place, status);
}

static bool is_done(const struct scene *scene)
{
	return outcome->result == (scene->kind == UPD_APPLY ? UPD_APPLIED : UPD_REVERTED);
}

static const char *value_after(const struct scene *scene)
{
	return (scene->kind == UPD_APPLY) == is_done(scene) ? "1000" : "1";
}

/* Whatever was disturbed: the target does what the answer says, and goes there and back once
 * more. */
static void expect_whole(struct scene *scene)
{
	UPDATE update = {};

	cr_assert(is_done(scene) || *outcome->message, "%s: no word", scene->place);
	cr_expect_str_eq(victim_ask(scene->victim, "value"), value_after(scene), "%s: %s: %s",
			 scene->place, outcome->message, scene->victim->line);
	if (strcmp(value_after(scene), "1000") == 0)
		expect_result(update_revert(&update, ID, scene->victim->pid), UPD_REVERTED);
	expect_result(update_apply(&update, PATCH, scene->victim->pid), UPD_APPLIED);
	expect_result(update_revert(&update, ID, scene->victim->pid), UPD_REVERTED);
	victim_expect(scene->victim, "value", "1");
}

/* --- signals ------------------------------------------------------------------------------ */

/* What the parent is told of the victim by now; 0: nothing. */
static int told(pid_t pid)
{
	int status = 0;
	pid_t r = waitpid(pid, &status, WNOHANG | WUNTRACED | WCONTINUED);

	cr_assert(r == 0 || r == pid);
	return r == 0 ? 0 : WIFSTOPPED(status) ? 'S' : WIFCONTINUED(status) ? 'C' : 'E';
}

/* Stopped at any moment it stays stopped, and the update is done all the same or says why not. */
static void stop(struct scene *scene)
{
	const pid_t pid = scene->victim->pid;

	kill(pid, SIGSTOP);
	let_finish(scene);
	child_await_state(pid, "T");
	kill(pid, SIGCONT);
	while (told(pid) != 'C')
		;
	cr_expect(is_done(scene) || outcome->code == INJ_BLOCKED, "%s: %s", scene->place,
		  outcome->message);
	expect_whole(scene);
}

/* Stopped before, continued at any moment: it runs. */
static void go_on(struct scene *scene)
{
	kill(scene->victim->pid, SIGCONT);
	let_finish(scene);
	cr_expect(is_done(scene), "%s: %s", scene->place, outcome->message);
	expect_whole(scene);
	while (told(scene->victim->pid) != 'C')
		;
	cr_expect_eq(told(scene->victim->pid), 0, "%s", scene->place);
}

static void expect_end(struct scene *scene, int status)
{
	let_finish(scene);
	cr_expect_eq(victim_wait(scene->victim), status, "%s: the victim ended with %#x",
		     scene->place, (unsigned)scene->victim->status);
	/* Done before it ended, or told that it has. */
	cr_expect(is_done(scene) || outcome->code == INJ_PROCESS_GONE ||
			  outcome->code == INJ_NO_SUCH_PROCESS,
		  "%s: %s: %s", scene->place, inj_code_bus_name(outcome->code), outcome->message);
}

static void terminate(struct scene *scene)
{
	kill(scene->victim->pid, SIGTERM);
	expect_end(scene, SIGTERM);
}

static void slay(struct scene *scene)
{
	kill(scene->victim->pid, SIGKILL);
	expect_end(scene, SIGKILL);
}

static void leave(struct scene *scene)
{
	victim_tell(scene->victim, "exit");
	expect_end(scene, 7 << 8);
}

/* --- children and other programs ---------------------------------------------------------- */

/* A target that is held answers when it is let go. */
static bool answers_now(const struct scene *scene)
{
	struct pollfd poller = { .fd = scene->victim->from, .events = POLLIN };

	return poll(&poller, 1, 100) > 0;
}

/* A child forked at any moment is whole: its code, its memory, its threads, and what `status` says
 * of it. */
static void examine_child(struct scene *scene, pid_t child)
{
	UPDATE update = {};
	const struct upd_target *status = update_status(&update, child);
	const bool active =
		status->n_patches == 1 && strcmp(status->patches[0].state, "active") == 0;

	cr_expect_eq(status->code, 0, "%s: %s", scene->place, status->message);
	cr_expect_str_eq(victim_ask(scene->victim, "child"), active ? "1000" : "1",
			 "%s: status: %s", scene->place,
			 status->n_patches ? status->patches[0].state : "nothing");
	if (active) {
		expect_result(update_revert(&update, ID, child), UPD_REVERTED);
		victim_expect(scene->victim, "child", "1");
	}
	expect_result(update_apply(&update, PATCH, child), UPD_APPLIED);
	victim_expect(scene->victim, "child", "1000");
	expect_result(update_revert(&update, ID, child), UPD_REVERTED);
	victim_expect(scene->victim, "child", "1");
	victim_expect(scene->victim, "end-child", "0");
}

static void have_child(struct scene *scene)
{
	bool early;
	pid_t child;

	victim_tell(scene->victim, "fork");
	early = answers_now(scene);
	let_finish(scene);
	child = atoi(victim_hear(scene->victim));
	cr_assert_gt(child, 0, "%s", scene->place);
	cr_expect(is_done(scene), "%s (forked %s): %s", scene->place, early ? "there" : "later",
		  outcome->message);
	examine_child(scene, child);
	expect_whole(scene);
}

static void become(struct scene *scene)
{
	victim_tell(scene->victim, "exec");
	answers_now(scene);
	let_finish(scene);
	cr_expect_str_eq(victim_hear(scene->victim), "ready", "%s", scene->place);
	/* Of the new program, which may have been there when the update began to look. */
	cr_expect(is_done(scene) || *outcome->message, "%s: no word", scene->place);
	if (strcmp(victim_ask(scene->victim, "value"), "1000") == 0)
		cr_expect(is_done(scene) && scene->kind == UPD_APPLY, "%s: new after \"%s\"",
			  scene->place, outcome->message);

	UPDATE update = {};

	if (strcmp(scene->victim->line, "1") == 0)
		expect_result(update_apply(&update, PATCH, scene->victim->pid), UPD_APPLIED);
	victim_expect(scene->victim, "value", "1000");
	expect_result(update_revert(&update, ID, scene->victim->pid), UPD_REVERTED);
	victim_expect(scene->victim, "value", "1");
}

/* --- everywhere ---------------------------------------------------------------------------- */

static const struct happening {
	const char *name;
	void (*happen)(struct scene *scene);
	bool stopped; /* before the update begins */
} happenings[] = {
	{"SIGSTOP", stop, false}, {"SIGCONT", go_on, true}, {"SIGTERM", terminate, false},
	{"SIGKILL", slay, false}, {"exit", leave, false},   {"fork", have_child, false},
	{"exec", become, false},
};

struct road {
	size_t happening;
	enum upd_kind kind;
};

/* Return: did it happen? */
static bool happen_at(const struct road *road, const char *point, size_t pass)
{
	const struct happening *happening = &happenings[road->happening];
	struct scene scene;
	bool reached;

	begin(&scene, road->kind);
	if (happening->stopped) {
		kill(scene.victim->pid, SIGSTOP);
		while (told(scene.victim->pid) != 'S')
			;
	}
	reached = reach(&scene, point, pass);
	if (reached)
		happening->happen(&scene);
	victim_free(scene.victim);
	return reached;
}

ParameterizedTestParameters(phases, at_every_step)
{
	static struct road roads[2 * INJ_ARRAY_LENGTH(happenings)];

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(roads); i++)
		roads[i] = (struct road){ i / 2, i % 2 ? UPD_REVERT : UPD_APPLY };
	return cr_make_param_array(struct road, roads, INJ_ARRAY_LENGTH(roads));
}

ParameterizedTest(struct road *road, phases, at_every_step)
{
	struct passed_points points;
	size_t n = 0, pass;

	need_root();
	outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	cr_assert_neq(outcome, MAP_FAILED);
	trace(road->kind, &points);
	for (size_t i = 0; i < points.n; i++)
		for (size_t turn = 0; (pass = choose_pass(points.items[i].n_passes, PASSES, turn));
		     turn++)
			n += happen_at(road, points.items[i].name, pass);
	cr_log_info("%s: %zu points, %zu times", happenings[road->happening].name, points.n, n);
	cr_assert_geq(n, points.n);
}
