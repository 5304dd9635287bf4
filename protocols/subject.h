/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef UPD_SUBJECT_H
#define UPD_SUBJECT_H

#include "injector/descriptor/history.h"
#include "injector/process/maps.h"
#include "injector/symbol/resolve.h"
#include "injector/txn/code.h"
#include "injector/txn/space.h"
#include "injector/unwind/activity.h"
#include "protocols/code-map.h"
#include "protocols/unwinder.h"

struct inj_sieve;
struct upd_blueprint;
struct upd_plan;
struct upd_reader;
struct upd_request;

/* One target of one request, with everything that is known of it. Read while it runs, before
 * anything is planned. */
struct upd_subject {
	pid_t pid;
	struct inj_process *process;
	int memory_fd;                 /* /proc/PID/mem from before anything was read; -1: none */
	struct inj_maps *maps;
	struct inj_modules *modules;   /* only beside foreign files */
	struct inj_history history;
	struct inj_writer *writer;
	struct upd_plan *plan;         /* only beside foreign files: the plan in the making */
	struct upd_blueprint *blueprint; /* apply and check: what is to be done */
	struct inj_space space;        /* apply; fd -1 before */
	struct upd_code_map code_map;  /* our code in it, for walking */
	struct inj_walker *walker;     /* only beside foreign files */
	struct inj_sieve *sieve;       /* what the worker has instead */
	const struct upd_request *request; /* borrowed: whose patch the reader reads */
	struct upd_reader *reader;     /* once there was a question */
	bool staged;                   /* our memory of this update is, or may be, mapped */
	int code;                      /* 0, refusal, or negative errno: the first thing that went
					  wrong */
	struct inj_why why;
};

void upd_subject_init(struct upd_subject *subject, pid_t pid);

/*
 * Read the facts of one process.
 * subject: after upd_subject_init(), its request set; the caller ends it with upd_subject_deinit()
 *   whatever this returns.
 * State: running. Return: 0. Errors: those of inj_process_open(), inj_history_read(); the story is
 * in subject->why and the code in subject->code.
 */
int upd_subject_open(struct upd_subject *subject);
void upd_subject_deinit(struct upd_subject *subject);

/*
 * The reader of what belongs to this target; started when there is none, or when the last one died.
 * Return: 0 or as upd_reader_start() and upd_reader_attach(). ret: borrowed from the subject.
 */
int upd_subject_reader(struct upd_subject *subject, struct upd_reader **ret, struct inj_why *why);

/* The full walker of a subject whose modules are read, for its reader. Return: 0, or the code that
 * it now carries. */
int upd_walker_make(struct upd_subject *subject);

/* Read maps and ledgers anew, after something changed. */
int upd_subject_refresh(struct upd_subject *subject);

/*
 * Whoever changes a target must understand everything that was done to it.
 * Return: 0. Errors: INJ_UNSUPPORTED_PROCESS: it carries records of another version of dsud.
 */
int upd_subject_refuse_unknown(const struct upd_subject *subject, struct inj_why *why);

/*
 * Is it still the program that was looked at? While nothing is attached it may become another one
 * (exec), even the same one at the same addresses. Everything that was read is wrong then, and
 * nothing of ours is left in it.
 * control: address of a control page of ours that must be there, with the record that it belongs
 *   to; 0: none.
 * State: held or borrowed, so that the answer lasts. Return: 0. Errors: INJ_PROCESS_GONE.
 * Source: mem_rw() of the kernel: an address space that nobody uses any more reads as an empty
 *   file.
 */
int upd_subject_check_program(const struct upd_subject *subject, inj_addr control, inj_addr ledger,
			      struct inj_why *why);

/*
 * The request is over. A subject that failed and is another program by now, or none, failed because
 * of that, whatever broke
 * first: its story says so. State: not held.
 */
void upd_subject_explain(struct upd_subject *subject);

/* Remember the first failure; later ones are appended to its story. Return: code. */
int upd_subject_fail(struct upd_subject *subject, int code, const struct inj_why *why);

#endif
