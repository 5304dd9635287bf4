/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What all phases of a request share: progress, cancellation, waiting, failure of all for one. */
#include "protocols/run.h"

#include <poll.h>
#include <time.h>

#include "injector/base/clock.h"
#include "protocols/fill.h"

void upd_run_progress(const struct upd_run *run, const char *phase, const char *text)
{
	const struct upd_progress progress = {
		.phase = phase,
		.attempt = run->attempts,
		.remaining_ns = inj_remaining_ns(run->deadline_ns),
		.text = text ? text : "",
	};

	if (run->request->progress)
		run->request->progress(run->request->context, &progress);
}

void upd_run_phase_done(struct upd_run *run, const char *name)
{
	const uint64_t now = inj_now_ns();

	for (size_t i = 0; i < run->report->n_targets; i++)
		upd_fill_phase(&run->report->targets[i], name, now - run->phase_started_ns);
	run->phase_started_ns = now;
}

int upd_run_cancelled(const struct upd_run *run, struct inj_why *why)
{
	struct pollfd poller = { .fd = run->request->cancel_fd, .events = POLLIN };

	if (poller.fd < 0 || poll(&poller, 1, 0) <= 0)
		return 0;
	return inj_refuse(why, INJ_CANCELLED, "Cancelled; nothing was changed.");
}

void upd_run_wait(const struct upd_run *run, uint64_t time_ns)
{
	struct pollfd poller = { .fd = run->request->cancel_fd, .events = POLLIN };
	uint64_t left;

	while ((left = inj_remaining_ns(time_ns)) > 0) {
		const struct timespec timeout = { .tv_sec = (time_t)(left / 1000000000u),
						  .tv_nsec = (long)(left % 1000000000u) };

		if (ppoll(&poller, 1, &timeout, NULL) > 0)
			return;
	}
}

int upd_run_failed(const struct upd_run *run)
{
	for (size_t i = 0; i < run->n_subjects; i++)
		if (run->subjects[i].code != 0)
			return run->subjects[i].code;
	return 0;
}

void upd_run_fail_all(struct upd_run *run, int code, const struct inj_why *why)
{
	for (size_t i = 0; i < run->n_subjects; i++)
		if (run->subjects[i].code == 0)
			upd_subject_fail(&run->subjects[i], code, why);
}

void upd_run_fail_others(struct upd_run *run)
{
	for (size_t i = 0; i < run->n_subjects; i++) {
		const struct upd_subject *culprit = &run->subjects[i];
		struct inj_why why = {};

		if (culprit->code == 0)
			continue;
		inj_refuse(&why, INJ_CANCELLED,
			   "Not changed, because process %d of the same update failed: %s",
			   culprit->pid, culprit->why.text);
		upd_run_fail_all(run, INJ_CANCELLED, &why);
		return;
	}
}

int upd_run_mark(struct upd_run *run, enum inj_journal_step step)
{
	struct inj_why why = {};
	int r = 0;

	for (size_t i = 0; r == 0 && run->journal && i < run->n_subjects; i++)
		r = inj_journal_mark(run->journal, i, step);
	/* Once it is committed, or being undone, the outcome does not depend on the journal. */
	if (r < 0 && step <= INJ_JOURNAL_COMMITTING)
		upd_run_fail_all(run, inj_broke(&why, r, "writing the journal of the update"),
				 &why);
	return r;
}
