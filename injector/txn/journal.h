/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_TXN_JOURNAL_H
#define INJ_TXN_JOURNAL_H

#include "injector/process/process.h"

/*
 * What a worker is doing, kept outside the worker: a small file that the daemon made (and
 * preallocated) and keeps open. The ledgers in the targets hold the facts needed to undo; the
 * journal says which targets to look at, whether a group had been decided, and who is protected by
 * a pending SIGSTOP. docs/journal-format.md draws it.
 */
#define INJ_JOURNAL_MAX_TARGETS 4096
#define INJ_JOURNAL_BYTES(n_targets) (64 + 32 * (size_t)(n_targets))

enum inj_journal_step {
	INJ_JOURNAL_READING = 1,   /* nothing of the target was changed */
	INJ_JOURNAL_STAGING = 2,   /* memory is being made */
	INJ_JOURNAL_COMMITTING = 3, /* sites are being written, or the generation stored */
	INJ_JOURNAL_SETTLING = 4,  /* committed; tidying up */
	INJ_JOURNAL_UNDOING = 5,
	INJ_JOURNAL_DONE = 6,
};

#define INJ_JOURNAL_GUARDED 1u /* a SIGSTOP may be pending or have stopped the target */

struct inj_journal_target {
	pid_t pid;
	enum inj_journal_step step;
	uint64_t start_ticks;
	uint32_t flags;
	inj_addr ledger; /* of the update that is being applied or reverted, 0: not known yet */
};

struct inj_journal;

/* Start the journal of an update. fd: borrowed, -1 makes a journal that keeps nothing. Return: 0 or
 * negative errno (-ENOSPC). */
int inj_journal_begin(int fd, const uint8_t update_id[16], unsigned kind,
		      const struct inj_process *const *processes, size_t n,
		      struct inj_journal **ret);
void inj_journal_free(struct inj_journal *journal);
INJ_DEFINE_GUARD(struct inj_journal *, inj_journal_free, inj_journal_guard)

/*
 * Take up the journal that a worker left, to say in it what its successor does.
 * processes: of the successor, in its order, which may be another one; NULL where there is none.
 * What it says of processes that the journal does not know is said to nobody. Return: 0; errors of
 * inj_journal_read(), -ENOMEM.
 */
int inj_journal_resume(int fd, const struct inj_process *const *processes, size_t n,
		       struct inj_journal **ret);

/* Say what happens next to target i, before it happens. Flags stay as they are. Return: 0 or
 * negative errno. */
int inj_journal_mark(struct inj_journal *journal, size_t i, enum inj_journal_step step);
/* Say that target i is about to be guarded, or that it is no more. Return: 0 or negative errno. */
int inj_journal_set_guarded(struct inj_journal *journal, size_t i, bool guarded);
/* Which record of target i the update is about. Written with the next mark. */
void inj_journal_ledger(struct inj_journal *journal, size_t i, inj_addr ledger);
/* What was said last; 0: not known. */
inj_addr inj_journal_ledger_of(const struct inj_journal *journal, size_t i);
/* The group is decided: from here on all targets shall end up changed. Written before the first
 * store. */
int inj_journal_decide(struct inj_journal *journal);

/* A journal read back; hostile input is refused with -EBADMSG. */
struct inj_journal_view {
	uint8_t update_id[16];
	unsigned kind;
	bool decided;
	struct inj_journal_target *targets; /* owned */
	size_t n_targets;
};
int inj_journal_read(int fd, struct inj_journal_view *ret);
/* Has another version of dsud written it, in a format that we do not know? inj_journal_read() says
 * -EPROTONOSUPPORT then. */
bool inj_journal_is_foreign(int fd);
void inj_journal_view_deinit(struct inj_journal_view *view);

#endif
