/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The dead man's switch: a SIGSTOP that only a target without us ever meets.
 *
 * All threads sit in a ptrace stop while the signal is queued. A thread that leaves that stop looks for signals before
 * it returns to user mode, and a SIGSTOP found there stops the whole group under the same lock, so after our death no
 * instruction of the target runs. While we live, a SIGCONT removes the queued SIGSTOP; it is itself discarded unless
 * the target catches or blocks it, which is refused here.
 */
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "injector/base/fault-point.h"
#include "injector/process/tasks.h"
#include "injector/txn/code.h"

#define SIGCONT_BIT (1ull << (SIGCONT - 1))

static int send(const struct inj_process *process, int number)
{
	int r = syscall(SYS_pidfd_send_signal, process->pidfd, number, NULL, 0) < 0 ? -errno : 0;

	inj_fault_point("signal-sent");
	return r;
}

int inj_guard_arm(const struct inj_process *process, bool stopped, bool *ret_armed,
		  struct inj_why *why)
{
	INJ_FREE pid_t *tids = NULL;
	size_t n;
	int r;

	*ret_armed = false;
	if (stopped)
		return 0;
	r = inj_tasks_read(process, &tids, &n);
	if (r < 0)
		return inj_broke(why, r, "listing threads of process %d", process->pid);
	for (size_t i = 0; i < n; i++) {
		struct inj_status status;

		r = inj_status_read(process, tids[i], &status);
		if (r == -ESRCH || r == -ENOENT)
			continue;
		if (r < 0)
			return inj_broke(why, r, "reading the state of thread %d", tids[i]);
		if ((status.sig_blocked | status.sig_caught | status.sig_pending) & SIGCONT_BIT)
			return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
					  "This patch needs changes that are not one store, and process "
					  "%d catches or blocks SIGCONT, so it cannot be protected "
					  "meanwhile. Patch a caller of the function instead.",
					  process->pid);
	}
	r = send(process, SIGSTOP);
	if (r < 0)
		return inj_broke(why, r, "protecting process %d", process->pid);
	*ret_armed = true;
	inj_fault_point("guard-armed");
	return 0;
}

int inj_guard_disarm(const struct inj_process *process, bool armed)
{
	int r = armed ? send(process, SIGCONT) : 0;

	inj_fault_point("guard-disarmed");
	return r;
}
