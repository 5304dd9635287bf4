/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns every call of ptrace(2) and every wait for a traced thread. Always holds: a report is
 * looked at, not taken (WNOWAIT). What wait(2) takes away with the report is the signal about to
 * be delivered; left in place, the kernel delivers it when the tracer dies, taken, it is lost
 * (wait_task_stopped() and ptrace_stop() of the kernel). Refuses nothing: it passes errors on.
 */
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "injector/base/clock.h"
#include "injector/base/fault-point.h"
#include "injector/stop/ptrace-priv.h"

/* Linux 5.13 and 6.4; newer than the headers we build against. */
#define REQUEST_GET_RSEQ 0x420f
#define REQUEST_GET_USER_DISPATCH 0x4211

/* What the requests fill; include/uapi/linux/ptrace.h of the kernel. */
struct rseq_configuration {
	uint64_t address;
	uint32_t length;
	uint32_t signature;
	uint32_t flags;
	uint32_t pad;
};

struct user_dispatch_configuration {
	uint64_t mode; /* 0 is off */
	uint64_t selector;
	uint64_t offset;
	uint64_t length;
};

#define MASK_BYTES 8
#define N_SPINS 8
#define TURNS_PER_SPIN 40
#define NAP_NS 500000u

static int request(int what, pid_t tid, uintptr_t address, uintptr_t data)
{
	return ptrace((enum __ptrace_request)what, tid, (void *)address, (void *)data) < 0 ? -errno
											   : 0;
}

/* A request that changes the thread, and the point after it. */
static int change(const char *point, int what, pid_t tid, uintptr_t address, uintptr_t data)
{
	int r = request(what, tid, address, data);

	inj_fault_point(point);
	return r;
}

int inj_pt_seize(pid_t tid, unsigned long options)
{
	return change("thread-seized", PTRACE_SEIZE, tid, 0, options);
}

int inj_pt_set_options(pid_t tid, unsigned long options)
{
	return change("options-set", PTRACE_SETOPTIONS, tid, 0, options);
}

int inj_pt_interrupt(pid_t tid)
{
	return change("thread-interrupted", PTRACE_INTERRUPT, tid, 0, 0);
}

int inj_pt_listen(pid_t tid)
{
	return request(PTRACE_LISTEN, tid, 0, 0);
}

int inj_pt_resume(pid_t tid, enum inj_resume how, int signal)
{
	return change("thread-resumed",
		      how == INJ_RESUME_TO_SYSCALL ? PTRACE_SYSCALL : PTRACE_CONT, tid, 0,
		      (uintptr_t)signal);
}

int inj_pt_detach(pid_t tid, int signal)
{
	return change("thread-detached", PTRACE_DETACH, tid, 0, (uintptr_t)signal);
}

int inj_pt_get_regs(pid_t tid, struct user_regs_struct *ret)
{
	return request(PTRACE_GETREGS, tid, 0, (uintptr_t)ret);
}

int inj_pt_set_regs(pid_t tid, const struct user_regs_struct *regs)
{
	return change("registers-set", PTRACE_SETREGS, tid, 0, (uintptr_t)regs);
}

int inj_pt_set_number(pid_t tid, long number)
{
	return change("number-set", PTRACE_POKEUSER, tid, offsetof(struct user, regs.orig_rax),
		      (uintptr_t)number);
}

int inj_pt_set_gs_base(pid_t tid, uint64_t base)
{
	return change("thread-marked", PTRACE_POKEUSER, tid, offsetof(struct user, regs.gs_base),
		      (uintptr_t)base);
}

int inj_pt_get_mask(pid_t tid, uint64_t *ret)
{
	return request(PTRACE_GETSIGMASK, tid, MASK_BYTES, (uintptr_t)ret);
}

int inj_pt_set_mask(pid_t tid, uint64_t mask)
{
	return change("mask-set", PTRACE_SETSIGMASK, tid, MASK_BYTES, (uintptr_t)&mask);
}

int inj_pt_get_xstate(pid_t tid, void *image, size_t size, size_t *ret_length)
{
	struct iovec part = {image, size};
	int r = request(PTRACE_GETREGSET, tid, NT_X86_XSTATE, (uintptr_t)&part);

	if (r == 0)
		*ret_length = part.iov_len;
	return r;
}

int inj_pt_set_xstate(pid_t tid, const void *image, size_t length)
{
	struct iovec part = {(void *)(uintptr_t)image, length};

	return change("xstate-set", PTRACE_SETREGSET, tid, NT_X86_XSTATE, (uintptr_t)&part);
}

int inj_pt_get_message(pid_t tid, unsigned long *ret)
{
	return request(PTRACE_GETEVENTMSG, tid, 0, (uintptr_t)ret);
}

int inj_pt_get_signal_code(pid_t tid, int *ret)
{
	siginfo_t info;
	int r = request(PTRACE_GETSIGINFO, tid, 0, (uintptr_t)&info);

	if (r == 0)
		*ret = info.si_code;
	return r;
}

int inj_pt_get_rseq(pid_t tid, inj_addr *ret)
{
	struct rseq_configuration configuration = {0};
	int r = request(REQUEST_GET_RSEQ, tid, sizeof(configuration), (uintptr_t)&configuration);

	/* EIO: a kernel that does not know the request; it may still know rseq. */
	if (r == 0)
		*ret = configuration.address;
	return r;
}

bool inj_pt_has_user_dispatch(pid_t tid)
{
	struct user_dispatch_configuration configuration = {0};

	return request(REQUEST_GET_USER_DISPATCH, tid, sizeof(configuration),
		       (uintptr_t)&configuration) == 0 &&
	       configuration.mode != 0;
}

bool inj_pt_belongs(pid_t pid, pid_t tid)
{
	/* The pair is looked up before the right is asked for: do_send_specific() of the kernel. */
	return tgkill(pid, tid, 0) == 0 || errno == EPERM;
}

static struct inj_stop decode(const siginfo_t *info)
{
	int event = info->si_status >> 8;
	int signal = info->si_status & 0x7f;

	if (info->si_code != CLD_TRAPPED && info->si_code != CLD_STOPPED)
		return (struct inj_stop){INJ_STOP_ENDED, 0};
	if (event == PTRACE_EVENT_STOP && signal != SIGTRAP)
		return (struct inj_stop){INJ_STOP_GROUP, signal};
	if (event == PTRACE_EVENT_STOP)
		return (struct inj_stop){INJ_STOP_TRAP, 0};
	if (event == PTRACE_EVENT_CLONE)
		return (struct inj_stop){INJ_STOP_CLONE, 0};
	if (event == PTRACE_EVENT_EXEC)
		return (struct inj_stop){INJ_STOP_EXEC, 0};
	if (event != 0)
		return (struct inj_stop){INJ_STOP_OTHER, 0};
	/* PTRACE_O_TRACESYSGOOD marks system calls with bit 7, so a SIGTRAP is a real one. */
	if (info->si_status & 0x80)
		return (struct inj_stop){INJ_STOP_SYSCALL, 0};
	return (struct inj_stop){INJ_STOP_SIGNAL, signal};
}

static int look(pid_t tid, int options, siginfo_t *info)
{
	int r;

	info->si_pid = 0;
	do
		r = waitid(P_PID, (id_t)tid, info, options | WNOHANG | __WALL);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

int inj_pt_peek(pid_t tid, struct inj_stop *ret)
{
	siginfo_t info;
	int r = look(tid, WEXITED | WSTOPPED | WNOWAIT | __WNOTHREAD, &info);

	if (r < 0)
		return r;
	*ret = info.si_pid == 0 ? (struct inj_stop){INJ_STOP_NONE, 0} : decode(&info);
	/*
	 * The kernel answers every request with ESRCH until this report is taken, since it may
	 * be meant for the thread that had the id before (looks_like_a_spurious_pid()).
	 */
	if (ret->kind == INJ_STOP_EXEC)
		look(tid, WSTOPPED | __WNOTHREAD, &info);
	return 0;
}

void inj_pt_reap(pid_t tid)
{
	siginfo_t info;

	look(tid, WEXITED | __WNOTHREAD, &info);
}

void inj_pt_reap_for_agent(pid_t tid)
{
	siginfo_t info;

	/* Whatever is asked for, stops of tracees are reported, too, and would be taken away. */
	if (look(tid, WEXITED | WNOWAIT, &info) == 0 && info.si_pid != 0 &&
	    decode(&info).kind == INJ_STOP_ENDED)
		look(tid, WEXITED, &info);
}

void inj_pt_pause(unsigned n_before, uint64_t deadline_ns)
{
	uint64_t nap_ns = inj_remaining_ns(deadline_ns);

	/* Not sched_yield(): beside a busy process it gives away whole time slices. */
	if (n_before < N_SPINS) {
		for (unsigned i = 0; i < TURNS_PER_SPIN; i++)
			__builtin_ia32_pause();
		return;
	}
	if (nap_ns > NAP_NS)
		nap_ns = NAP_NS;

	/* SIGCHLD may go to another thread that does not block it: hence the short nap. */
	struct timespec nap = {0, (long)nap_ns};
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigtimedwait(&signals, NULL, &nap);
}

int inj_pt_wait(pid_t tid, uint64_t deadline_ns, struct inj_stop *ret)
{
	for (unsigned n = 0;; n++) {
		struct inj_stop stop;
		int r = inj_pt_peek(tid, &stop);

		if (r < 0)
			return r;
		if (stop.kind != INJ_STOP_NONE) {
			*ret = stop;
			return 0;
		}
		if (inj_now_ns() >= deadline_ns)
			return -ETIMEDOUT;
		inj_pt_pause(n, deadline_ns);
	}
}
