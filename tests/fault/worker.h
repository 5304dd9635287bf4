/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_FAULT_WORKER_H
#define TESTS_FAULT_WORKER_H

#include "tests/support/update.h"

/*
 * A request carried through in a process of its own, with DSUD_FAULT set: it stops, hangs or dies
 * where it is told. What does not go as its name says fails the test.
 */
pid_t worker_start(const struct update *request, const char *fault);
/* It has come to a point where it stops. */
void worker_await_stop(pid_t worker);
/* It goes on from there. */
void worker_go_on(pid_t worker);
/* It ends by itself, with this result in the first target. */
void worker_await_result(pid_t worker, enum upd_result result);
void worker_await_death(pid_t worker);

#endif
