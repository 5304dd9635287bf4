/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_STOP_BLOCKED_PRIV_H
#define INJ_STOP_BLOCKED_PRIV_H

#include "injector/process/process.h"

/*
 * Tell about a thread that did not stop: name, state, where in the kernel it is. Call it when
 * everything has been let go; such a thread is still where it was.
 * waited_ns: how long it was given. Return: INJ_BLOCKED.
 */
int inj_blocked_refuse(const struct inj_process *process, pid_t tid, uint64_t waited_ns,
		       struct inj_why *why);

#endif
