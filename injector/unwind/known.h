/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_UNWIND_KNOWN_H
#define INJ_UNWIND_KNOWN_H

#include "injector/unwind/activity.h"

/*
 * What a walker tells to those who shall not read unwind tables themselves.
 */
struct inj_known {
	struct inj_range code; /* a function */
	bool is_odd;           /* in it the words of the stack do not tell where the thread is */
};

/*
 * What the tables say of the code around a pc. Never fails: nothing known is a range of one byte
 * that is not odd.
 * State: any.
 */
void inj_walker_know(struct inj_walker *walker, inj_addr pc, struct inj_known *ret);

/* Code that returns from signal handlers. Return: owned by the walker. State: any. */
const struct inj_range *inj_walker_trampolines(const struct inj_walker *walker, size_t *ret_n);

/* Where a thread of a running process waits. */
struct inj_place {
	inj_addr pc, sp;
};

/*
 * Where some threads wait now, evenly spread over all.
 * places: room for max. Return: how many. State: running or held. Best effort.
 * Source: proc(5), /proc/PID/task/TID/syscall.
 */
size_t inj_places_read(const struct inj_process *process, struct inj_place *places, size_t max);

/*
 * Walk from these places, so that what the hold will need is at hand. What is read from a running
 * stack may be torn; the
 * results are thrown away. State: running or held.
 */
void inj_walker_warm(struct inj_walker *walker, const struct inj_place *places, size_t n);

/*
 * The first look at the stacks of a held process, without unwind tables: it tells which threads
 * cannot be inside watched code, by the words of their stacks alone. The others are for a walker.
 */
struct inj_sieve;

/*
 * process: borrowed; maps, own, trampolines: copied from; own: code of our areas, whose addresses
 *   are translated.
 * ret: free with inj_sieve_free(). State: running or held. Return: 0. Errors: negative errno.
 */
int inj_sieve_new(const struct inj_process *process, const struct inj_maps *maps,
		  const struct inj_range *own, size_t n_own, const struct inj_range *trampolines,
		  size_t n_trampolines, inj_translate_fn translate, void *context,
		  struct inj_sieve **ret, struct inj_why *why);
void inj_sieve_free(struct inj_sieve *sieve);

/* Remember functions; a thread in one that is not known is suspected. State: any. */
void inj_sieve_learn(struct inj_sieve *sieve, const struct inj_known *known);

/*
 * List the threads that a walk has to judge.
 * suspects: room for hold->n_threads; copies of the hold's. Everything else: as inj_walker_find().
 */
int inj_sieve_suspect(struct inj_sieve *sieve, const struct inj_hold *hold,
		      const struct inj_watch *watches, size_t n_watches, uint64_t budget_ns,
		      struct inj_thread *suspects, size_t *ret_n, struct inj_why *why);

#endif
