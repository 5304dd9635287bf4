/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_STOP_WAITS_H
#define INJ_STOP_WAITS_H

#include "injector/base/cleanup.h"
#include "injector/base/types.h"

/*
 * The waits with an end that we disturbed. A call such as epoll_wait(2) that we interrupt is made
 * again, with its whole timeout, and would end late by what it had waited. Here stands when each
 * of them has to end. Let it be known to everybody who stops threads: inj_process.waits. Then a
 * call whose time is over when its thread is let go gets the result it would have had; the others
 * are ended by inj_waits_keep(). Who dies in between leaves calls that end late, never early.
 * Used by one thread at a time, like the tracers and borrowed threads that fill it.
 */
struct inj_waits;

/*
 * Make an empty list.
 * ret: free with inj_waits_free(), after the processes that point to it.
 * State: none. Return: 0. Errors: -ENOMEM. Source: none.
 */
int inj_waits_new(struct inj_waits **ret);

/*
 * Forget all of them; nothing is touched.
 * waits: NULL is fine. State: any. Return: nothing. Errors: none. Source: none.
 */
void inj_waits_free(struct inj_waits *waits);
INJ_DEFINE_GUARD(struct inj_waits *, inj_waits_free, inj_waits_guard)

/*
 * How many would end late if nobody kept their time? Those that ended meanwhile are dropped.
 * State: running. Return: the number. Errors: none. Source: none.
 */
size_t inj_waits_pending(struct inj_waits *waits);

/*
 * Take the list over into a child that was just forked: what the kernel writes into memory for the
 * parent, it does not write for the child.
 * State: just forked; the parent does not use the list any more.
 * Return: nothing; waits that cannot be taken over are forgotten. Errors: none. Source: mmap(2) of
 * perf_event_open(2).
 */
void inj_waits_inherit(struct inj_waits *waits);

/*
 * Stay until each of them has ended, by itself or, at its time, by us: the one thread is stopped
 * and let go with the call's result. What another process stays for as well is left to it; a thread
 * that somebody else traces just then is tried again.
 * deadline_ns: CLOCK_MONOTONIC; what has to end later ends late; cancel_fd: readable or closed
 *   ends the stay, -1: nothing does.
 * State: running; no hold and no borrowed thread uses the list meanwhile.
 * Return: nothing. Errors: none. Source: ptrace(2), ep_poll() and the like of the kernel.
 */
void inj_waits_keep(struct inj_waits *waits, uint64_t deadline_ns, int cancel_fd);

#endif
