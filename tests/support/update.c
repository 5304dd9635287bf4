/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests of tests. Every request starts from nothing, as a worker of the daemon does. */
#include "tests/support/update.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "tests/support/victim.h"

static void block_sigchld(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static void new_id(struct update *update)
{
	static const uint8_t none[16];

	if (update->kind != UPD_RECOVER && memcmp(update->update_id, none, sizeof(none)) == 0)
		cr_assert_eq(getrandom(update->update_id, sizeof(none), 0), (ssize_t)sizeof(none));
}

void update_run(struct update *update)
{
	INJ_CLOSE int patch_fd = -1;
	INJ_CLOSE int own_journal = -1;
	const double timeout_s = update->timeout_s > 0 ? update->timeout_s : 10;
	struct upd_request request = {
		.kind = update->kind, .patch_fd = -1, .patch_id = update->patch_id,
		.timeout_ns = (uint64_t)(timeout_s * 1e9), .pids = update->pids,
		.n_pids = update->n_pids, .cancel_fd = update->cancel_fd ? update->cancel_fd : -1,
		.timekeeper = update->timekeeper,
	};

	block_sigchld();
	new_id(update);
	memcpy(request.update_id, update->update_id, sizeof(request.update_id));
	if (update->patch) {
		patch_fd = open(build_path(update->patch), O_RDONLY | O_CLOEXEC);
		cr_assert_geq(patch_fd, 0, "cannot open %s", update->patch);
		request.patch_fd = patch_fd;
		request.patch_name = strrchr(update->patch, '/') ? strrchr(update->patch, '/') + 1 :
								   update->patch;
	}
	own_journal = memfd_create("journal", MFD_CLOEXEC);
	request.journal_fd = update->journal_fd ? update->journal_fd : own_journal;
	cr_assert_eq(upd_run(&request, &update->report), 0);
	cr_assert_eq(update->report.n_targets, update->n_pids);
}

void update_done(struct update *update)
{
	upd_report_deinit(&update->report);
}

static const struct upd_target *run_one(struct update *update, enum upd_kind kind,
					const char *patch, const char *patch_id, pid_t pid)
{
	upd_report_deinit(&update->report);
	update->report = (struct upd_report){};
	memset(update->update_id, 0, sizeof(update->update_id));
	update->kind = kind;
	update->patch = patch;
	update->patch_id = patch_id;
	update->pids = &pid;
	update->n_pids = 1;
	update_run(update);
	update->pids = NULL;
	return &update->report.targets[0];
}

const struct upd_target *update_apply(struct update *update, const char *patch, pid_t pid)
{
	return run_one(update, UPD_APPLY, patch, NULL, pid);
}

const struct upd_target *update_check(struct update *update, const char *patch, pid_t pid)
{
	return run_one(update, UPD_CHECK, patch, NULL, pid);
}

const struct upd_target *update_revert(struct update *update, const char *patch_id, pid_t pid)
{
	return run_one(update, UPD_REVERT, NULL, patch_id, pid);
}

const struct upd_target *update_status(struct update *update, pid_t pid)
{
	return run_one(update, UPD_STATUS, NULL, NULL, pid);
}

const struct upd_target *update_recover(struct update *update, pid_t pid)
{
	return run_one(update, UPD_RECOVER, NULL, NULL, pid);
}
