/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_PROCESS_SUPPORT_PRIV_H
#define INJ_PROCESS_SUPPORT_PRIV_H

#include "injector/process/status-priv.h"

/*
 * Can a process of this kind be changed at all?
 * process: pid, proc_fd and comm are set; stat, status: as read just now.
 * State: any.
 * Return: 0.
 * Errors: INJ_NO_SUCH_PROCESS, INJ_UNSUPPORTED_PROCESS, INJ_ALREADY_TRACED, negative errno.
 * Source: proc(5).
 */
int inj_support_check(const struct inj_process *process, const struct inj_stat *stat,
		      const struct inj_status *status, struct inj_why *why);

#endif
