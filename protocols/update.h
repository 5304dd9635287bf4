/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_UPDATE_H
#define UPD_UPDATE_H

#include "injector/base/why.h"
#include "protocols/report.h"
#include "protocols/timekeeper.h"

enum upd_kind {
	UPD_APPLY = 1,
	UPD_REVERT = 2,
	UPD_CHECK = 3,  /* all of apply's reasoning; changes nothing */
	UPD_STACKS = 4, /* stacks of all threads; changes nothing */
	UPD_STATUS = 5, /* read ledgers; changes nothing */
	UPD_RECOVER = 6 /* finish or undo what a dead worker left, judged by the ledgers and, when
			   there is one, the journal */
};

/* What the worker tells while it works. All strings are borrowed for the call. */
struct upd_progress {
	const char *phase;     /* read plan stage link install wait commit settle */
	pid_t pid;             /* 0: all targets */
	unsigned attempt;
	uint64_t remaining_ns; /* until the deadline */
	const char *text;      /* one line for people, e.g. who blocks */
};

struct upd_request {
	enum upd_kind kind;
	int patch_fd;            /* apply, check, stacks (optional: marks functions); else -1 */
	const char *patch_name;  /* file name, for messages and for patches without manifest */
	const char *patch_id;    /* revert */
	const char *protocol;    /* NULL: the patch's own choice, else safe-redefine */
	uint64_t timeout_ns;
	uint64_t hold_budget_ns; /* 0: default 50 ms */
	const pid_t *pids;
	size_t n_pids;
	uint8_t update_id[16];   /* apply: goes into the ledgers */
	int journal_fd;          /* file of the state directory or memfd, kept by the daemon; -1 for
				    kinds that change nothing */
	int cancel_fd;           /* readable: stop as soon as nothing is half done; -1: never */
	void (*progress)(void *context, const struct upd_progress *progress); /* may be NULL */
	void *context;
	struct upd_timekeeper *timekeeper; /* NULL: calls that were interrupted and end after the
					      request end late */
};

/*
 * Carry one request through, in the calling thread, which becomes the tracer. Blocks until the
 * outcome; never longer than the deadline plus what undoing takes.
 * report: filled for every pid of the request, whatever happens; report->targets[i] is for pids[i].
 * State: any. SIGCHLD must be blocked in the process.
 * Return: 0 when the report is complete; its targets say whether they succeeded.
 * Errors: -EINVAL (a request that makes no sense); other negative errno when not even a report
 *   could be made.
 * Source: docs/protocols.md.
 */
int upd_run(const struct upd_request *request, struct upd_report *report);

/*
 * Names of the known protocols.
 * State: any.
 * Return: NULL-terminated, the default one first.
 * Errors: none.
 * Source: docs/protocols.md.
 */
const char *const *upd_protocols(void);

/*
 * Does the process carry a ledger of ours? A look at /proc/PID/maps only; no ptrace, nothing of the
 * ledger is trusted or even read. For the scan after a restart.
 * pid: of any process.
 * State: any.
 * Return: the answer; false when nobody can tell.
 * Errors: none.
 * Source: proc(5), maps.
 */
bool upd_is_patched(pid_t pid);

/*
 * Has another version of dsud written this journal, in a format that we do not know? Then only that
 * version can settle its update: UPD_RECOVER refuses it. Reads a few bytes, trusts nothing.
 */
bool upd_journal_is_foreign(int fd);

#endif
