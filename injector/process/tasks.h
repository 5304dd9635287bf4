/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_PROCESS_TASKS_H
#define INJ_PROCESS_TASKS_H

#include "injector/process/process.h"

/*
 * One pass over /proc/PID/task, ascending tids. ret_tids is malloc'ed. At most INJ_TASKS_MAX threads (-E2BIG).
 * Threads come and go; inj_hold_take() repeats passes until two agree.
 */
#define INJ_TASKS_MAX 65536
int inj_tasks_read(const struct inj_process *process, pid_t **ret_tids, size_t *ret_n);

#endif
