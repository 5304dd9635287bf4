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

/*
 * Tell the daemon where we are.
 * phase: word for programs; text: sentence for people, may be NULL.
 * State: any.
 * Return: nothing.
 * Errors: none; nobody may listen.
 * Source: none.
 */
void upd_run_progress(const struct upd_run *run, const char *phase, const char *text);

/*
 * End a phase: how long it took goes into the report of every target.
 * name: as in struct upd_phase.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_run_phase_done(struct upd_run *run, const char *name);

/*
 * Has the caller asked to stop?
 * why: filled if so.
 * State: any.
 * Return: 0 when not.
 * Errors: INJ_CANCELLED.
 * Source: none.
 */
int upd_run_cancelled(const struct upd_run *run, struct inj_why *why);

/*
 * Wait until a time, or until cancelled.
 * time_ns: CLOCK_MONOTONIC.
 * State: not held.
 * Return: nothing.
 * Errors: none.
 * Source: poll(2).
 */
void upd_run_wait(const struct upd_run *run, uint64_t time_ns);

/*
 * Has any subject failed?
 * State: any.
 * Return: the code of the first one that did, 0 when none did.
 * Errors: none of its own.
 * Source: none.
 */
int upd_run_failed(const struct upd_run *run);

/*
 * Give every subject without a story of its own this one.
 * code: refusal or negative errno; why: copied.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_run_fail_all(struct upd_run *run, int code, const struct inj_why *why);

/*
 * When one target cannot be changed, none is: tell the others who it was.
 * State: any.
 * Return: nothing.
 * Errors: none.
 * Source: none.
 */
void upd_run_fail_others(struct upd_run *run);

/*
 * Announce the next step of every target in the journal.
 * step: nothing of it was done yet. A run without a journal announces nothing.
 * State: any.
 * Return: 0.
 * Errors: negative errno of writing, told to all subjects.
 * Source: injector/txn/journal.h.
 */
int upd_run_mark(struct upd_run *run, enum inj_journal_step step);

/*
 * The protocols and questions.
 * run: subjects are opened, the journal has begun for kinds that change something.
 * State: running; nothing is held or borrowed afterwards.
 * Return: nothing; the outcome is in the subjects and in the report.
 * Errors: in the subjects.
 * Source: docs/protocols.md.
 */
void upd_apply(struct upd_run *run);
void upd_check(struct upd_run *run);
void upd_revert(struct upd_run *run);
void upd_stacks(struct upd_run *run);
void upd_status(struct upd_run *run);
void upd_recover(struct upd_run *run);

#endif
