/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the taking of one thread. Always holds: before the thread's registers, signal mask or
 * anything else is changed, the frame that brings it home lies complete on its stack. Refuses
 * threads whose stack may not be theirs, threads under syscall user dispatch or inside a probe,
 * and targets with a seccomp filter that the kernel does not let us suspend.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "injector/base/clock.h"
#include "injector/base/fault-point.h"
#include "injector/process/mem.h"
#include "injector/stop/borrow-priv.h"
#include "injector/stop/hold-priv.h"
#include "injector/stop/repair-priv.h"

#define PATIENCE_NS 10000000u

/* Not this thread; maybe the next. */
static int pass_over(struct inj_take_request *request, const char *reason)
{
	request->reason = reason;
	return -EAGAIN;
}

int inj_take_refused(const struct inj_take_request *request, int r)
{
	if (request->why) {
		request->why->pid = request->borrow->process->pid;
		request->why->tid = request->tid;
	}
	return r;
}

static int examine_refused(struct inj_take_request *request, int error)
{
	const struct inj_process *process = request->borrow->process;
	struct inj_status status;

	if (inj_status_read(process, request->tid, &status) < 0 || status.state == 'Z')
		return pass_over(request, "it ended");
	if (status.tracer_pid != 0)
		return inj_take_refused(request, inj_refuse(request->why, INJ_ALREADY_TRACED,
			"thread %d of process %d (%s) is being traced by process %d; end that "
			"debugger or tracer first", (int)request->tid, (int)process->pid,
			process->comm, (int)status.tracer_pid));
	if (request->has_seccomp)
		return inj_take_refused(request, inj_refuse(request->why, INJ_UNSUPPORTED_PROCESS,
			"process %d (%s) runs under a seccomp filter, and the kernel does not let "
			"us suspend it (%s); that takes CAP_SYS_ADMIN, CONFIG_CHECKPOINT_RESTORE "
			"and no filter of our own", (int)process->pid, process->comm,
			strerrordesc_np(-error)));
	return inj_take_refused(request, inj_broke(request->why, error,
		"cannot trace thread %d of process %d; CAP_SYS_PTRACE is needed",
		(int)request->tid, (int)process->pid));
}

/*
 * Signals about to be delivered are delivered first, the normal way; the thread then stops at
 * the first instruction of the handler, which is as good a place as any.
 */
static int settle(struct inj_take_request *request, uint64_t deadline_ns)
{
	for (;;) {
		struct inj_stop stop;
		int r = inj_pt_wait(request->tid, deadline_ns, &stop);

		if (r == -ECHILD)
			return pass_over(request, "it ended");
		if (r < 0)
			return r;
		if (stop.kind == INJ_STOP_ENDED) {
			/* The end of the main thread is the parent's to see. */
			if (request->tid != request->borrow->process->pid)
				inj_pt_reap(request->tid);
			return pass_over(request, "it ended");
		}
		if (stop.kind == INJ_STOP_TRAP || stop.kind == INJ_STOP_GROUP) {
			request->borrow->stop = stop;
			return 0;
		}
		/* Every stop takes the pending interrupt away. */
		inj_pt_interrupt(request->tid);
		r = inj_pt_resume(request->tid, INJ_RESUME_FREELY,
				  stop.kind == INJ_STOP_SIGNAL ? stop.signal : 0);
		/* Being killed: its end is reported next. */
		if (r < 0 && (r != -ESRCH || inj_now_ns() >= deadline_ns))
			return r == -ESRCH ? -ETIMEDOUT : r;
	}
}

/* As for a held thread, see collect.c: from here on our death costs no EINTR. */
static int repair(struct inj_borrow *borrow, pid_t tid)
{
	uint8_t bytes[INJ_SYSCALL_BYTES];

	inj_wait_confirm(borrow->wait, &borrow->home);
	if (!inj_repair_applies(&borrow->home) ||
	    inj_mem_read(borrow->process, borrow->home.rip - INJ_SYSCALL_BYTES, bytes,
			 sizeof(bytes)) < 0 ||
	    !inj_repair_is_syscall(bytes))
		return 0;
	inj_repair(&borrow->home);
	return inj_pt_set_regs(tid, &borrow->home);
}

/* struct rseq_cs of the kernel */
struct critical_section {
	uint32_t version;
	uint32_t flags;
	uint64_t start;
	uint64_t length;
	uint64_t abort;
};

#define RSEQ_SECTION_OFFSET 8

/*
 * A thread inside a restartable sequence that is sent elsewhere would come back into the middle
 * of it, and the kernel, which saw it outside, would not restart it. So we do: it was preempted,
 * which is what the abort handler is for. Kernels that cannot tell us where the thread keeps
 * the sequence (before 5.13) are trusted to have none, for want of a way to look.
 */
static int leave_rseq(struct inj_borrow *borrow, pid_t tid)
{
	struct critical_section section;
	inj_addr area = 0;
	uint64_t at = 0;

	if (inj_pt_get_rseq(tid, &area) < 0 || !area)
		return 0;
	if (inj_mem_read(borrow->process, area + RSEQ_SECTION_OFFSET, &at, sizeof(at)) < 0)
		return -EFAULT;
	if (!at)
		return 0;
	if (inj_mem_read(borrow->process, at, &section, sizeof(section)) < 0)
		return -EFAULT;
	if (borrow->home.rip - section.start < section.length)
		borrow->home.rip = section.abort;
	return 0;
}

/* Below the stack pointer there must be room, readable and in one piece. */
static bool can_write(const struct inj_borrow *borrow, pid_t tid)
{
	uint8_t bytes[INJ_XSTATE_MAX + 4096];
	const struct inj_frame *frame = &borrow->frame;
	struct iovec local = {bytes, frame->end - frame->scratch};
	struct iovec remote = {(void *)(uintptr_t)frame->scratch, local.iov_len};

	return local.iov_len <= sizeof(bytes) &&
	       inj_stack_has_room(borrow->maps, &borrow->home, frame->scratch) &&
	       process_vm_readv(tid, &local, 1, &remote, 1, 0) == (ssize_t)local.iov_len;
}

int inj_borrow_write(pid_t tid, inj_addr address, const void *bytes, size_t length)
{
	struct iovec local = {(void *)(uintptr_t)bytes, length};
	struct iovec remote = {(void *)(uintptr_t)address, length};
	ssize_t done = process_vm_writev(tid, &local, 1, &remote, 1, 0);

	inj_fault_point("stack-written");
	if (done < 0)
		return -errno;
	return (size_t)done == length ? 0 : -EFAULT;
}

static int write_frame(struct inj_borrow *borrow, pid_t tid)
{
	uint8_t bytes[INJ_XSTATE_MAX + 4096];
	const struct inj_frame *frame = &borrow->frame;
	struct user_regs_struct next = inj_repair_continuation(&borrow->home);

	inj_frame_build(frame, &borrow->gadget, &next, borrow->mask, &borrow->xstate, bytes);
	return inj_borrow_write(tid, frame->chain, bytes, frame->end - frame->chain);
}

static bool in_uprobe(const struct inj_borrow *borrow)
{
	const struct inj_map *map = inj_maps_find(borrow->maps, borrow->home.rip);

	return map && strcmp(map->name, "[uprobes]") == 0;
}

/* Learn everything about the thread that must be put back. */
static int learn(struct inj_take_request *request)
{
	struct inj_borrow *borrow = request->borrow;
	pid_t tid = request->tid;
	int r = inj_pt_get_regs(tid, &borrow->home);

	if (r == 0)
		r = repair(borrow, tid);
	if (r == 0)
		inj_fault_point("borrow-stopped");
	if (r == 0)
		r = inj_pt_get_mask(tid, &borrow->mask);
	if (r == 0)
		r = inj_pt_get_xstate(tid, borrow->xstate.image, sizeof(borrow->xstate.image),
				      &borrow->xstate.length);
	if (r == 0)
		r = inj_xstate_measure(&borrow->xstate);
	if (r < 0)
		return r;
	if (!inj_gadget_is_there(borrow->process, &borrow->gadget))
		return pass_over(request, "the program was replaced or lost a library");
	if (inj_pt_has_user_dispatch(tid))
		return pass_over(request, "its system calls are dispatched to the program");
	if (in_uprobe(borrow))
		return pass_over(request, "it is in the middle of a probe");
	if (leave_rseq(borrow, tid) < 0)
		return pass_over(request, "its restartable sequence cannot be read");
	if (inj_frame_plan(borrow->home.rsp, &borrow->xstate, &borrow->frame) < 0 ||
	    !can_write(borrow, tid))
		return pass_over(request, "there may be no room on its stack");
	return 0;
}

/* From here on the thread goes home by itself. */
static int send_away(struct inj_borrow *borrow, pid_t tid)
{
	int r = write_frame(borrow, tid);

	if (r < 0)
		return r;
	inj_fault_point("borrow-frame-written");
	borrow->tid = tid;

	struct user_regs_struct away = inj_borrow_away(borrow);

	r = inj_pt_set_regs(tid, &away);
	if (r < 0)
		return r;
	borrow->phase = BORROW_AWAY;
	borrow->at_trap = true;
	inj_fault_point("borrow-redirected");
	/* Only now: who dies with all signals blocked must be on the way to the frame. */
	r = inj_pt_set_mask(tid, borrow->mask | inj_borrow_blocked());
	inj_fault_point("borrow-masked");
	return r;
}

/* Nothing was changed but a call that is to be made again. */
static int leave(struct inj_take_request *request, int r)
{
	struct inj_borrow *borrow = request->borrow;

	if (inj_wait_settle(borrow->wait, borrow->stop, &borrow->home))
		inj_pt_set_regs(request->tid, &borrow->home);
	/* Being killed: its process may be waiting for us to see the end. */
	return inj_pt_detach(request->tid, 0) < 0 ? -ETIMEDOUT : r;
}

/* Some tracers stay for microseconds only. */
static int seize(const struct inj_take_request *request)
{
	const unsigned long options = inj_borrow_options(request->has_seccomp);
	uint64_t patience_ns = inj_now_ns() + PATIENCE_NS;
	int r = inj_pt_seize(request->tid, options);
	struct inj_status status;

	/* So is an execve, in which a thread that cannot be traced becomes one that can. */
	for (unsigned n = 0; r == -EPERM && inj_now_ns() < patience_ns; n++) {
		if (inj_status_read(request->borrow->process, request->tid, &status) < 0 ||
		    status.state == 'Z')
			break;
		inj_pt_pause(n, patience_ns);
		r = inj_pt_seize(request->tid, options);
	}
	return r;
}

int inj_borrow_take(void *argument)
{
	struct inj_take_request *request = argument;
	struct inj_borrow *borrow = request->borrow;
	int r = seize(request);

	if (r == -ESRCH)
		return pass_over(request, "it ended");
	if (r == -EPERM || r == -EINVAL)
		return examine_refused(request, r);
	if (r < 0)
		return r;
	/* A stranger with a recycled id: let go like one that does not stop. */
	if (!inj_pt_belongs(borrow->process->pid, request->tid))
		return -ETIMEDOUT;
	inj_waits_tidy(borrow->process);
	borrow->wait = inj_waits_look(borrow->process, request->tid);
	inj_waits_date(borrow->process);
	borrow->first_interrupt_ns = inj_now_ns();
	borrow->has_seccomp = request->has_seccomp;
	inj_pt_interrupt(request->tid);
	r = settle(request, borrow->first_interrupt_ns + INJ_TAKE_NS);
	if (r == -ETIMEDOUT && inj_thread_is_on_its_way(borrow->process, request->tid))
		r = settle(request, inj_now_ns() + INJ_STRAGGLER_NS);
	if (r < 0)
		return r;
	r = learn(request);
	if (r == 0)
		r = send_away(borrow, request->tid);
	if (r < 0 && borrow->phase == BORROW_HOME)
		return leave(request, r);
	return r;
}

