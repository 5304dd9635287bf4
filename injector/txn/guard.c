/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The dead man's switch: a SIGSTOP that only a target without us ever meets.
 *
 * All threads sit in a ptrace stop while the signal is queued for each of them. A thread that
 * leaves that stop looks for signals before it returns to user mode, so after our death no
 * instruction of the target runs. While we live, a SIGCONT removes what is queued; it is itself
 * discarded unless the target catches or blocks it, which is refused here.
 *
 * Each thread has its own SIGSTOP, because two in one queue become one: the queue of the process is
 * left to those who stop processes, and what stands there tells what they wanted. What remains:
 * while the switch is armed, a SIGSTOP for a single thread merges with ours, one for the process is
 * lost if it comes within the microsecond between that look and our SIGCONT, and a SIGCONT disarms
 * the switch, which matters only if we then die within the same hold.
 */
#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "injector/base/fault-point.h"
#include "injector/txn/code.h"

#define BIT(number) (1ull << ((number) - 1))
#define STOPPING (BIT(SIGSTOP) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU))

static int send(const struct inj_process *process, int number)
{
	int r = syscall(SYS_pidfd_send_signal, process->pidfd, number, NULL, 0) < 0 ? -errno : 0;

	inj_fault_point("signal-sent");
	return r;
}

/* What all threads together block, catch and have pending. */
static int read_signals(const struct inj_hold *hold, struct inj_status *ret)
{
	*ret = (struct inj_status){ 0 };
	for (size_t i = 0; i < hold->n_threads; i++) {
		struct inj_status status;
		int r = inj_status_read(hold->process, hold->threads[i].tid, &status);

		if (r == -ESRCH || r == -ENOENT)
			continue;
		if (r < 0)
			return r;
		ret->sig_blocked |= status.sig_blocked;
		ret->sig_caught |= status.sig_caught;
		ret->sig_pending |= status.sig_pending;
		ret->sig_shared |= status.sig_shared;
	}
	return 0;
}

static bool wait_for_signal(const struct inj_process *process, struct inj_why *why)
{
	inj_refuse(why, INJ_BLOCKED,
		   "A signal that stops or continues process %d was on its way until the deadline; "
		   "nothing was changed. Try again.",
		   process->pid);
	return true;
}

static bool wait_for_mask(const struct inj_process *process, struct inj_why *why)
{
	inj_refuse(why, INJ_BLOCKED,
		   "This patch needs changes that are not one store, and a thread of process %d "
		   "blocked SIGCONT until the deadline, so it could not be protected meanwhile. "
		   "Patch a caller of the function instead.",
		   process->pid);
	return true;
}

bool inj_guard_must_wait(struct inj_tracer *tracer, const struct inj_hold *hold,
			 struct inj_why *why)
{
	struct inj_status signals;

	switch (inj_tracer_job(tracer, hold)) {
	case INJ_JOB_STOPPED:
		return false;
	case INJ_JOB_CHANGING:
		return wait_for_signal(hold->process, why);
	case INJ_JOB_RUNS:
		break;
	}
	/* What cannot be read or waited for is found out, and told, by arming. */
	if (read_signals(hold, &signals) < 0 || (signals.sig_caught & BIT(SIGCONT)))
		return false;
	/* Threads that are being made block all signals for a moment. */
	if (signals.sig_blocked & BIT(SIGCONT))
		return wait_for_mask(hold->process, why);
	return signals.sig_pending & (STOPPING | BIT(SIGCONT)) &&
	       wait_for_signal(hold->process, why);
}

static int send_stops(const struct inj_hold *hold)
{
	for (size_t i = 0; i < hold->n_threads; i++) {
		if (tgkill(hold->process->pid, hold->threads[i].tid, SIGSTOP) < 0 && errno != ESRCH)
			return -errno;
		inj_fault_point("signal-sent");
	}
	return 0;
}

int inj_guard_arm(const struct inj_hold *hold, struct inj_why *why)
{
	const struct inj_process *process = hold->process;
	struct inj_status signals;
	int r;

	r = read_signals(hold, &signals);
	if (r < 0)
		return inj_broke(why, r, "reading the signals of process %d", process->pid);
	if ((signals.sig_blocked | signals.sig_caught) & BIT(SIGCONT))
		return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
				  "This patch needs changes that are not one store, and process %d "
				  "catches or blocks SIGCONT, so it cannot be protected meanwhile. "
				  "Patch a caller of the function instead.",
				  process->pid);
	r = send_stops(hold);
	if (r < 0) {
		send(process, SIGCONT);
		return inj_broke(why, r, "protecting process %d", process->pid);
	}
	inj_fault_point("guard-armed");
	return 0;
}

int inj_guard_disarm(const struct inj_hold *hold)
{
	static const int gentle[] = { SIGTSTP, SIGTTIN, SIGTTOU };
	struct inj_status signals;
	int r;

	if (read_signals(hold, &signals) < 0)
		signals = (struct inj_status){ 0 };
	if (signals.sig_shared & BIT(SIGSTOP))
		return 0;
	r = send(hold->process, SIGCONT);
	inj_fault_point("guard-disarmed");
	/* Our signal took these away, too; the program may handle or ignore them, so they are not
	 * the same as ours. */
	for (size_t i = 0; r == 0 && i < INJ_ARRAY_LENGTH(gentle); i++)
		if (signals.sig_shared & BIT(gentle[i]))
			r = send(hold->process, gentle[i]);
	return r;
}

bool inj_guard_is_shared(const struct inj_process *process)
{
	struct inj_status status;

	return inj_status_read(process, process->pid, &status) == 0 &&
	       (status.sig_shared & BIT(SIGSTOP));
}

void inj_guard_let_go(const struct inj_process *process)
{
	send(process, SIGCONT);
}
