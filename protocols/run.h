/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_RUN_H
#define UPD_RUN_H

#include "injector/stop/tracer.h"
#include "injector/txn/journal.h"
#include "injector/image/patch.h"
#include "protocols/subject.h"
#include "protocols/update.h"

/* One request on its way: what all phases share. */
struct upd_run {
	const struct upd_request *request;
	const char *protocol;
	char patch_id[INJ_PATCH_ID_MAX]; /* of the request's patch, printable; "" while unknown */
	struct upd_subject *subjects; /* one per pid of the request, in its order */
	size_t n_subjects;
	struct upd_report *report;    /* targets in the same order */
	struct inj_tracer *tracer;
	struct inj_waits *waits;      /* of the caller's timekeeper, or our own; may be NULL */
	struct upd_timekeeper own_timekeeper;
	struct inj_journal *journal;  /* NULL for kinds that change nothing */
	uint64_t started_ns;
	uint64_t deadline_ns;
	uint64_t hold_budget_ns;
	unsigned attempts;
	uint64_t held_ns;             /* longest hold so far */
	uint64_t phase_started_ns;
	void *action;                 /* what the protocol under way carries to its act() */
};

/* Tell the daemon where we are; text may be NULL. */
void upd_run_progress(const struct upd_run *run, const char *phase, const char *text);

/* The phase that now ends took this long: into the report of every target. */
void upd_run_phase_done(struct upd_run *run, const char *name);

/* Has the caller asked to stop? Return: 0 or INJ_CANCELLED. */
int upd_run_cancelled(const struct upd_run *run, struct inj_why *why);

/* Wait until time_ns or until cancelled. */
void upd_run_wait(const struct upd_run *run, uint64_t time_ns);

/* Any subject that failed? Its code, 0 when none did. */
int upd_run_failed(const struct upd_run *run);

/* Give every subject without an own story this one. */
void upd_run_fail_all(struct upd_run *run, int code, const struct inj_why *why);

/* When one target cannot be changed, none is: tell the others who it was. */
void upd_run_fail_others(struct upd_run *run);

/* Announce the next step of every target in the journal. Return: 0 or negative errno, told to all
 * subjects. */
int upd_run_mark(struct upd_run *run, enum inj_journal_step step);

/* The protocols and questions; each leaves its outcome in subjects and report. */
void upd_apply(struct upd_run *run);
void upd_check(struct upd_run *run);
void upd_revert(struct upd_run *run);
void upd_stacks(struct upd_run *run);
void upd_status(struct upd_run *run);
void upd_recover(struct upd_run *run);

#endif
