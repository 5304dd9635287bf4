/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Owns the scene of the death tests, see deaths.h. Always holds: a victim lives for one death
 * only. */
#include "tests/fault/deaths.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include "injector/txn/ours.h"
#include "tests/support/update.h"

#define N_FUNCTIONS 1000u
/* Redirects: at most 7 bytes at the entry, and as many in the padding before it. */
#define SITE_BYTES 8

void scene_renew(struct scene *scene)
{
	cr_assert_eq(getrandom(scene->update_id, sizeof(scene->update_id), 0),
		     (ssize_t)sizeof(scene->update_id));
	cr_assert_eq(ftruncate(scene->journal_fd, 0), 0);
}

void scene_init(struct scene *scene, const char *program, size_t n, unsigned n_functions)
{
	*scene = (struct scene){ .n = n, .n_functions = n_functions };
	snprintf(scene->patch, sizeof(scene->patch), "tests/patches/live/many-%u.so", n_functions);
	scene->journal_fd = memfd_create("journal", MFD_CLOEXEC);
	cr_assert_geq(scene->journal_fd, 0);
	scene_renew(scene);
	for (size_t i = 0; i < n; i++) {
		scene->victims[i] = victim_start(program, NULL);
		scene->pids[i] = scene->victims[i]->pid;
		cr_assert_not(scene_is_new(scene, i, "at the start"));
		scene->before[i] = snapshot_take(scene->pids[i]);
		scene->registers[i] = registers_take(scene->pids[i]);
	}
}

void scene_deinit(struct scene *scene)
{
	for (size_t i = 0; i < scene->n; i++) {
		victim_free(scene->victims[i]);
		snapshot_free(scene->before[i]);
		registers_free(scene->registers[i]);
	}
	close(scene->journal_fd);
}

static void request(struct scene *scene, enum upd_kind kind, struct update *update)
{
	*update = (struct update){
		.kind = kind, .pids = scene->pids, .n_pids = scene->n,
		.patch = kind == UPD_APPLY ? scene->patch : NULL,
		.patch_id = kind == UPD_REVERT ? "many" : NULL,
		.journal_fd = scene->journal_fd,
	};
	memcpy(update->update_id, scene->update_id, sizeof(update->update_id));
	update_run(update);
}

void scene_must(struct scene *scene, enum upd_kind kind, enum upd_result result, const char *when)
{
	INJ_CLEANUP(update_done) struct update update;

	request(scene, kind, &update);
	for (size_t i = 0; i < scene->n; i++) {
		const struct upd_target *target = &update.report.targets[i];

		/* Recovery says what became of the update, which either way is fine. */
		cr_assert(kind == UPD_RECOVER ? target->code == 0 : target->result == result,
			  "%s: process %zu: %s: %s", when, i, upd_result_word(target->result),
			  target->message);
	}
}

bool scene_run(struct scene *scene, enum upd_kind kind, const char *variable, const char *value)
{
	int status;
	pid_t worker = fork();

	cr_assert_geq(worker, 0);
	if (worker == 0) {
		struct update update;

		setenv(variable, value, 1);
		request(scene, kind, &update);
		for (size_t i = 0; i < scene->n; i++)
			if (update.report.targets[i].code != 0)
				_exit(3);
		_exit(0);
	}
	cr_assert_eq(waitpid(worker, &status, 0), worker);
	cr_assert(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0,
		  "%s: the worker ended with status %#x", value, status);
	return WIFSIGNALED(status);
}

static bool is_whole(const struct scene *scene, unsigned n_old, unsigned n_new)
{
	return (n_new == 0 && n_old == N_FUNCTIONS) ||
	       (n_new == scene->n_functions && n_old == N_FUNCTIONS - n_new);
}

bool scene_is_new(struct scene *scene, size_t i, const char *when)
{
	unsigned n_old, n_new, n_wrong;

	/* A worker that outlives its daemon may commit between two of the thousand calls; a tear
	 * stays. */
	for (unsigned turn = 0;; turn++) {
		const char *answer = victim_ask(scene->victims[i], "versions");

		cr_assert_eq(sscanf(answer, "%u %u %u", &n_old, &n_new, &n_wrong), 3, "%s: %s",
			     when, answer);
		cr_assert_eq(n_wrong, 0, "%s: process %zu: %s", when, i, answer);
		if (is_whole(scene, n_old, n_new))
			return n_new > 0;
		cr_assert_lt(turn, 2, "%s: process %zu is torn: %s", when, i, answer);
	}
}

/* What may differ from the time before. */
struct expected {
	const struct upd_patch_state *patch; /* NULL: the old version runs */
	bool may_keep;
};

static bool is_redirect(const struct upd_patch_state *patch, struct inj_range range)
{
	for (size_t i = 0; i < patch->n_functions; i++) {
		inj_addr entry = patch->functions[i].address;

		if (range.start >= entry - SITE_BYTES && range.end <= entry + SITE_BYTES)
			return true;
	}
	return false;
}

static bool is_expected(void *context, const struct snapshot_change *change)
{
	const struct expected *expected = context;

	if (change->sign == '+')
		return (expected->patch || expected->may_keep) &&
		       strncmp(change->name, INJ_AREA_NAME_PREFIX,
			       strlen(INJ_AREA_NAME_PREFIX)) == 0;
	return change->sign == '~' && expected->patch && strstr(change->name, "/victims/many") &&
	       is_redirect(expected->patch, change->range);
}

static void check_one(struct scene *scene, size_t i, bool new, bool may_keep,
		      const struct upd_target *target, const char *when)
{
	const struct upd_patch_state *patch = target->n_patches ? &target->patches[0] : NULL;
	struct expected expected = { .patch = new ? patch : NULL, .may_keep = may_keep };
	SNAPSHOT now = snapshot_take(scene->pids[i]);
	REGISTERS registers = registers_take(scene->pids[i]);
	char text[8192];

	cr_assert_eq(target->code, 0, "%s: status: %s", when, target->message);
	cr_assert_eq(target->n_patches, new ? 1 : 0, "%s: status tells of %zu patches, new: %d",
		     when, target->n_patches, new);
	if (new) {
		cr_assert_str_eq(patch->state, "active", "%s: status", when);
		cr_assert_eq(patch->n_functions, scene->n_functions, "%s: status", when);
	}
	cr_assert_eq(snapshot_diff_but(scene->before[i], now, SNAPSHOT_EXACT, is_expected,
				       &expected, text, sizeof(text)),
		     0, "%s: process %zu (new: %d):\n%s", when, i, new, text);
	cr_assert_eq(registers_diff(scene->registers[i], registers, new, text, sizeof(text)), 0,
		     "%s: process %zu (new: %d):\n%s", when, i, new, text);
}

bool scene_check(struct scene *scene, bool may_keep, const char *when)
{
	INJ_CLEANUP(update_done) struct update update;
	bool new = scene_is_new(scene, 0, when);

	for (size_t i = 1; i < scene->n; i++)
		cr_assert_eq(scene_is_new(scene, i, when), new, "%s: one new, one old", when);
	request(scene, UPD_STATUS, &update);
	for (size_t i = 0; i < scene->n; i++)
		check_one(scene, i, new, may_keep, &update.report.targets[i], when);
	return new;
}

void scene_clean_round(struct scene *scene, const char *when)
{
	scene_renew(scene);
	if (scene_is_new(scene, 0, when)) {
		scene_must(scene, UPD_REVERT, UPD_REVERTED, when);
		scene_renew(scene);
	}
	scene_must(scene, UPD_APPLY, UPD_APPLIED, when);
	cr_assert(scene_check(scene, true, when), "%s: applied again, but old", when);
	scene_renew(scene);
	scene_must(scene, UPD_REVERT, UPD_REVERTED, when);
	cr_assert_not(scene_check(scene, true, when), "%s: reverted, but new", when);
}

void scene_trace(struct scene *scene, enum upd_kind kind, struct passed_points *ret)
{
	char path[TRACE_PATH_BYTES];

	trace_begin(path);
	cr_assert_not(scene_run(scene, kind, "DSUD_FAULT_TRACE", path));
	trace_end(path, ret);
}
