/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Targets that exchange their text, our memory or our descriptors at the worst moments, also while
 * all their threads are held. Such a target may end up as it deserves; we end in time, alive, and
 * nobody else's file is changed.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fault/worker.h"
#include "tests/support/need.h"
#include "tests/support/victim.h"

#define PATCH "tests/patches/live/work-v2.so"

TestSuite(shifty, .timeout = 120);

struct scene {
	char directory[64];
	char orders[128];
	char answers[128];
	char file[128];
	struct victim *victim;
	char before[4096]; /* the file */
};

static void scene_begin(struct scene *scene)
{
	char program[PATH_MAX];
	char *argv[] = {program, scene->orders, scene->answers, scene->file, NULL};
	INJ_CLOSE int fd = -1;

	need_root();
	strcpy(scene->directory, "/tmp/dsud-shifty-XXXXXX");
	cr_assert_not_null(mkdtemp(scene->directory));
	cr_assert_eq(chmod(scene->directory, 0755), 0);
	snprintf(scene->orders, sizeof(scene->orders), "%s/orders", scene->directory);
	snprintf(scene->answers, sizeof(scene->answers), "%s/answers", scene->directory);
	snprintf(scene->file, sizeof(scene->file), "%s/file", scene->directory);
	cr_assert_eq(mkfifo(scene->orders, 0666) | chmod(scene->orders, 0666), 0);
	cr_assert_eq(mkfifo(scene->answers, 0666) | chmod(scene->answers, 0666), 0);
	snprintf(program, sizeof(program), "%s", build_path("tests/victims/shifty"));
	scene->victim = victim_spawn(argv);
	cr_assert_str_eq(victim_hear(scene->victim), "ready");
	victim_expect(scene->victim, "work", "42");
	fd = open(scene->file, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(pread(fd, scene->before, sizeof(scene->before), 0),
		     (ssize_t)sizeof(scene->before));
}

static void scene_end(struct scene *scene)
{
	victim_free(scene->victim);
	unlink(scene->orders);
	unlink(scene->answers);
	unlink(scene->file);
	rmdir(scene->directory);
}

static void order(const struct scene *scene, const char *what)
{
	INJ_CLOSE int to = open(scene->orders, O_WRONLY | O_CLOEXEC);
	char answer[8];

	cr_assert_eq(write(to, what, strlen(what)), (ssize_t)strlen(what));
	close(inj_take_fd(&to));

	INJ_CLOSE int from = open(scene->answers, O_RDONLY | O_CLOEXEC);
	struct pollfd polled = {.fd = from, .events = POLLIN};

	cr_assert_eq(poll(&polled, 1, VICTIM_DEADLINE_MS), 1, "no answer");
	cr_assert_eq(read(from, answer, sizeof(answer)), 2);
}

static void expect_file_untouched(const struct scene *scene)
{
	INJ_CLOSE int fd = open(scene->file, O_RDONLY | O_CLOEXEC);
	char now[sizeof(scene->before)];
	struct stat status;

	cr_assert_eq(fstat(fd, &status), 0);
	cr_assert_eq(status.st_size, (off_t)sizeof(now));
	cr_assert_eq(pread(fd, now, sizeof(now), 0), (ssize_t)sizeof(now));
	cr_assert_arr_eq(now, scene->before, sizeof(now));
}

/* Ended by itself, in time, with a report. Return: its result; a point it never comes to: -1. */
static int run_with(const struct scene *scene, const char *point, const char *what)
{
	const struct update request = {
		.kind = UPD_APPLY,
		.patch = PATCH,
		.pids = &scene->victim->pid,
		.n_pids = 1,
		.timeout_s = 2,
	};
	char fault[64];
	int status;
	pid_t worker;

	snprintf(fault, sizeof(fault), "%s:1:stop", point);
	worker = worker_start(&request, fault);
	cr_assert_eq(waitpid(worker, &status, WUNTRACED), worker);
	if (!WIFSTOPPED(status))
		return -1;
	order(scene, what);
	worker_go_on(worker);
	cr_assert_eq(waitpid(worker, &status, 0), worker);
	cr_assert(WIFEXITED(status), "the worker was killed: %x", status);
	return WEXITSTATUS(status);
}

static void recover(const struct scene *scene)
{
	struct update update = {};

	update_recover(&update, scene->victim->pid);
	update_status(&update, scene->victim->pid);
	update_done(&update);
}

struct moment {
	char point[24];
	char what[16];
};

ParameterizedTestParameters(shifty, at_every_moment)
{
	static const char *const texts[] = {"same", "other", "file", "gone", "ours"};
	static const char *const points[] = {"staged",	  "linked",	   "memfd-sealed", "held",
					     "installed", "before-commit", "committed"};
	static const char *const files[] = {"truncate", "exchange"};
	static const char *const makings[] = {"memfd-made", "memfd-sized", "area-mapped",
					      "memfd-closed", "staged"};
	static struct moment moments[64];
	size_t n = 0;

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(texts); i++)
		for (size_t j = 0; j < INJ_ARRAY_LENGTH(points); j++, n++) {
			strcpy(moments[n].what, texts[i]);
			strcpy(moments[n].point, points[j]);
		}
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(files); i++)
		for (size_t j = 0; j < INJ_ARRAY_LENGTH(makings); j++, n++) {
			strcpy(moments[n].what, files[i]);
			strcpy(moments[n].point, makings[j]);
		}
	return cr_make_param_array(struct moment, moments, n);
}

ParameterizedTest(struct moment *moment, shifty, at_every_moment)
{
	INJ_CLEANUP(scene_end) struct scene scene = {};
	int result;

	scene_begin(&scene);
	result = run_with(&scene, moment->point, moment->what);
	cr_assert_neq(result, -1, "%s is never passed", moment->point);
	cr_log_info("%s at %s: %s", moment->what, moment->point,
		    upd_result_word((enum upd_result)result));
	expect_file_untouched(&scene);
	/* The same code in another page is harmless before it is looked at, and noticed after. */
	if (strcmp(moment->what, "same") == 0 && !victim_ended(scene.victim))
		victim_expect(scene.victim, "work", result == UPD_APPLIED ? "41" : "42");
	if (!victim_ended(scene.victim))
		recover(&scene);
	expect_file_untouched(&scene);
}
