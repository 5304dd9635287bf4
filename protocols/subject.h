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

struct upd_plan;

/* One target of one request, with everything that is known of it. Read while it runs, before anything is planned. */
struct upd_subject {
	pid_t pid;
	struct inj_process *process;
	int memory_fd;                 /* /proc/PID/mem from before anything was read; -1: none */
	struct inj_maps *maps;
	struct inj_modules *modules;
	struct inj_history history;
	struct inj_writer *writer;
	struct upd_plan *plan;         /* apply and check */
	struct inj_space space;        /* apply; fd -1 before */
	struct upd_code_map code_map;  /* our code in it, for walking */
	struct inj_walker *walker;
	bool staged;                   /* our memory of this update is, or may be, mapped */
	int code;                      /* 0, refusal, or negative errno: the first thing that went wrong */
	struct inj_why why;
};

void upd_subject_init(struct upd_subject *subject, pid_t pid);

/*
 * Read the facts of one process.
 * subject: after upd_subject_init(); the caller ends it with upd_subject_deinit() whatever this returns.
 * State: running. Return: 0. Errors: those of inj_process_open(), inj_modules_load(), inj_history_read(); the story is
 * in subject->why and the code in subject->code.
 */
int upd_subject_open(struct upd_subject *subject);
void upd_subject_deinit(struct upd_subject *subject);

/* Read maps and ledgers anew, after something changed. */
int upd_subject_refresh(struct upd_subject *subject);

/*
 * Is it still the program that was looked at? While nothing is attached it may become another one (exec), even the same
 * one at the same addresses. Everything that was read is wrong then, and nothing of ours is left in it.
 * control: address of a control page of ours that must be there, with the record that it belongs to; 0: none.
 * State: held or borrowed, so that the answer lasts. Return: 0. Errors: INJ_PROCESS_GONE.
 * Source: mem_rw() of the kernel: an address space that nobody uses any more reads as an empty file.
 */
int upd_subject_check_program(const struct upd_subject *subject, inj_addr control, inj_addr ledger,
			      struct inj_why *why);

/*
 * The request is over. A subject that failed and is another program by now, or none, failed because of that, whatever broke
 * first: its story says so. State: not held.
 */
void upd_subject_explain(struct upd_subject *subject);

/* Remember the first failure; later ones are appended to its story. Return: code. */
int upd_subject_fail(struct upd_subject *subject, int code, const struct inj_why *why);

#endif
