/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_PROCESS_TASKS_H
#define INJ_PROCESS_TASKS_H

#include "injector/process/process.h"

#define INJ_TASKS_MAX 65536

/*
 * One pass over /proc/PID/task, ascending tids.
 * ret_tids: malloc'ed, owned by the caller; ret_n: at least 1.
 * State: running or held. Threads come and go; inj_tracer_hold() repeats passes until two agree.
 * Return: 0.
 * Errors: -ESRCH (gone); -E2BIG beyond INJ_TASKS_MAX; other negative errno.
 * Source: proc(5).
 */
int inj_tasks_read(const struct inj_process *process, pid_t **ret_tids, size_t *ret_n);

#endif
