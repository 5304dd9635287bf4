/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_WORKER_RIGHTS_H
#define DSUD_WORKER_RIGHTS_H

#include "dsud/worker/worker.h"

/*
 * Give up every right that a job does not need, for good: capabilities, new ones by running
 * programs, being looked into, more memory, time and descriptors than the job can use.
 * State: just forked, one thread. Return: 0. Errors: negative errno; the job must not begin then.
 * Source: capabilities(7), prctl(2), getrlimit(2).
 */
int dsud_worker_drop_rights(const struct dsud_job *job);

/*
 * Leave the network, for the daemon and whomever it forks: an empty network namespace of their own.
 * Sockets in the file system are reached from there. Where that is not allowed, or would cut off
 * who waits at an abstract address, nothing happens.
 * State: before anything is connected.
 */
void dsud_leave_network(void);

#endif
