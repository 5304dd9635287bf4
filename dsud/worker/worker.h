/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_WORKER_WORKER_H
#define DSUD_WORKER_WORKER_H

#include <systemd/sd-event.h>

#include "dsud/worker/subject.h"
#include "dsud/worker/wire.h"
#include "protocols/update.h"

/*
 * A worker is a forked child that carries one job through and exits. It alone parses patches,
 * reads foreign files and touches targets; the daemon only hears from it.
 */
struct dsud_job {
	enum upd_kind kind;
	bool scan;               /* UPD_STATUS: of every process that carries a ledger */
	bool ledgers_after;      /* tell afterwards what the targets carry */
	int patch_fd;            /* -1: none */
	const char *patch_name;
	const char *patch_id;
	const char *protocol;    /* NULL: the patch's own choice */
	uint64_t timeout_ns;
	uint64_t grace_ns;       /* beyond the timeout, for undoing */
	uint64_t hold_budget_ns; /* 0: default */
	const struct dsud_subject *subjects;
	size_t n_subjects;
	uint8_t update_id[16];
	int journal_fd;          /* -1: none */
};

/* How a worker ended. */
struct dsud_worker_end {
	bool complete;  /* it said that it was done, and everything before was lawful */
	bool overdue;   /* it was killed because its time was up */
	int signal;     /* that killed it, 0: none */
};

struct dsud_worker_events {
	void (*progress)(void *context, const struct dsud_wire_progress *progress);
	/*
	 * The worker is gone. reader holds what it said; reports may be taken out of it. The worker
	 * may be freed from here.
	 */
	void (*finished)(void *context, struct dsud_wire_reader *reader,
			 const struct dsud_worker_end *end);
};

struct dsud_worker;

/*
 * Fork a worker.
 * event: the daemon's loop; SIGCHLD must be blocked; job: borrowed for the call (the child has its
 * own copy); events, context: must outlive the worker; ret: free with dsud_worker_free().
 * State: the daemon is single-threaded.
 * Return: 0; `finished` is called exactly once, later.
 * Errors: negative errno of fork(2), socketpair(2), sd_event_add_child(3).
 */
int dsud_worker_start(sd_event *event, const struct dsud_job *job,
		      const struct dsud_worker_events *events, void *context,
		      struct dsud_worker **ret);

/* Ask it to undo and end; if it has not within the grace period, it is killed. */
void dsud_worker_cancel(struct dsud_worker *worker);

/* Forget the worker: a running one is told to cancel and left to itself. NULL is fine. */
void dsud_worker_free(struct dsud_worker *worker);

pid_t dsud_worker_pid(const struct dsud_worker *worker);

/*
 * The child's side: drop what the job does not need, carry it through, tell, exit.
 * channel_fd: records to the daemon; cancel_fd: readable or closed when the job is to end.
 * State: just forked.
 */
_Noreturn void dsud_worker_main(const struct dsud_job *job, int channel_fd, int cancel_fd);

#endif
