/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_PROCESS_STATUS_PRIV_H
#define INJ_PROCESS_STATUS_PRIV_H

#include "injector/process/process.h"

/* What we rely on in /proc/PID/stat. */
struct inj_stat {
	char state;
	unsigned flags;       /* PF_* of the kernel */
	unsigned n_threads;
	uint64_t start_ticks; /* clock ticks after boot */
};

/* PF_KTHREAD of include/linux/sched.h; user space sees it in field 9 since Linux 2.6.27. */
#define INJ_STAT_KERNEL_THREAD 0x00200000u

/* Parse the text of a stat file. Pure. Return: 0, or -EBADMSG. */
int inj_stat_parse(const char *text, struct inj_stat *ret);
/* Read and parse /proc/PID/stat. Return: 0, -ESRCH (gone), or other negative errno. */
int inj_stat_read(const struct inj_process *process, struct inj_stat *ret);

/*
 * Parse the text of a status file. Pure; the text is not changed.
 * ret_ns_pid: pid in the innermost pid namespace, may be NULL. Return: 0, or -EBADMSG.
 */
int inj_status_parse(const char *text, struct inj_status *ret, pid_t *ret_ns_pid);

#endif
