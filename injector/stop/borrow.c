/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the life of a borrowed thread: taking it, and giving it back. Always holds: before the
 * thread's registers, signal mask or anything else is changed, the frame that brings it home
 * lies complete on its stack; giving back undoes in reverse order, in the same kind of stop in
 * which it was taken, so that the kernel goes on with an interrupted call as if nothing had
 * been. Refuses threads whose stack may not be theirs, threads under syscall user dispatch, and
 * targets with a seccomp filter that the kernel does not let us suspend.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "injector/base/clock.h"
#include "injector/base/fault-point.h"
#include "injector/process/mem.h"
#include "injector/stop/blocked-priv.h"
#include "injector/stop/borrow-priv.h"
#include "injector/stop/repair-priv.h"

#define STOP_NS 20000000u
#define HOME_NS 1000000000u
#define PASS_PAUSE_NS 2000000

struct take_request {
	struct inj_borrow *borrow;
	pid_t only; /* nobody else, unless 0 */
	pid_t tid;
	bool has_seccomp;
	const char *reason; /* why this thread is not usable, with -EAGAIN */
	struct inj_why *why;
};

/* Not this thread; maybe the next. */
static int pass_over(struct take_request *request, const char *reason)
{
	request->reason = reason;
	return -EAGAIN;
}

static int name_target(const struct take_request *request, int r)
{
	if (request->why) {
		request->why->pid = request->borrow->process->pid;
		request->why->tid = request->tid;
	}
	return r;
}

static int examine_refused(struct take_request *request, int error)
{
	const struct inj_process *process = request->borrow->process;
	struct inj_status status;

	if (inj_status_read(process, request->tid, &status) < 0 || status.state == 'Z')
		return pass_over(request, "it ended");
	if (status.tracer_pid != 0)
		return name_target(request, inj_refuse(request->why, INJ_ALREADY_TRACED,
			"thread %d of process %d (%s) is being traced by process %d; end that "
			"debugger or tracer first", (int)request->tid, (int)process->pid,
			process->comm, (int)status.tracer_pid));
	if (request->has_seccomp)
		return name_target(request, inj_refuse(request->why, INJ_UNSUPPORTED_PROCESS,
			"process %d (%s) runs under a seccomp filter, and the kernel does not let "
			"us suspend it (%s); that takes CAP_SYS_ADMIN, CONFIG_CHECKPOINT_RESTORE "
			"and no filter of our own", (int)process->pid, process->comm,
			strerrordesc_np(-error)));
	return name_target(request, inj_broke(request->why, error,
		"cannot trace thread %d of process %d; CAP_SYS_PTRACE is needed",
		(int)request->tid, (int)process->pid));
}

/*
 * Signals about to be delivered are delivered first, the normal way; the thread then stops at
 * the first instruction of the handler, which is as good a place as any.
 */
static int settle(struct take_request *request, uint64_t deadline_ns)
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
		if (stop.kind == INJ_STOP_TRAP || stop.kind == INJ_STOP_GROUP)
			return 0;
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

static int write_stack(pid_t tid, inj_addr address, const void *bytes, size_t length)
{
	struct iovec local = {(void *)(uintptr_t)bytes, length};
	struct iovec remote = {(void *)(uintptr_t)address, length};
	ssize_t done = process_vm_writev(tid, &local, 1, &remote, 1, 0);

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
	return write_stack(tid, frame->chain, bytes, frame->end - frame->chain);
}

static bool in_uprobe(const struct inj_borrow *borrow)
{
	const struct inj_map *map = inj_maps_find(borrow->maps, borrow->home.rip);

	return map && strcmp(map->name, "[uprobes]") == 0;
}

/* Learn everything about the thread that must be put back. */
static int learn(struct take_request *request)
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

/* Runs on the agent. -ETIMEDOUT: it did not stop, end the agent. -EAGAIN: try another. */
static int take(void *argument)
{
	struct take_request *request = argument;
	struct inj_borrow *borrow = request->borrow;
	int r = inj_pt_seize(request->tid, inj_borrow_options(request->has_seccomp));

	if (r == -ESRCH)
		return pass_over(request, "it ended");
	if (r == -EPERM || r == -EINVAL)
		return examine_refused(request, r);
	if (r < 0)
		return r;
	/* A stranger with a recycled id: let go like one that does not stop. */
	if (!inj_pt_belongs(borrow->process->pid, request->tid))
		return -ETIMEDOUT;
	borrow->first_interrupt_ns = inj_now_ns();
	borrow->has_seccomp = request->has_seccomp;
	inj_pt_interrupt(request->tid);
	r = settle(request, borrow->first_interrupt_ns + STOP_NS);
	if (r < 0)
		return r;
	r = learn(request);
	if (r == 0)
		r = send_away(borrow, request->tid);
	if (r < 0 && borrow->phase == BORROW_HOME)
		inj_pt_detach(request->tid, 0);
	return r;
}

/* The threads, one after the other. -EAGAIN: none would do; request tells of the last. */
static int take_any(struct take_request *request, uint64_t deadline_ns, pid_t *ret_blocked)
{
	struct inj_borrow *borrow = request->borrow;
	INJ_FREE struct inj_candidate *candidates = NULL;
	size_t n = 0;
	int r = inj_candidates_read(borrow->process, request->only, &candidates, &n);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		request->tid = candidates[i].tid;
		request->has_seccomp = candidates[i].has_seccomp;
		r = inj_agent_run(borrow->agent, take, request);
		if (r == -ETIMEDOUT) {
			inj_agent_end(borrow->agent);
			*ret_blocked = request->tid;
		} else if (r != -EAGAIN && r != -ESRCH) {
			return r;
		}
		if (inj_now_ns() >= deadline_ns)
			break;
	}
	return -EAGAIN;
}

static int refuse_none(const struct take_request *request, pid_t blocked, struct inj_why *why)
{
	const struct inj_process *process = request->borrow->process;

	if (blocked)
		return inj_blocked_refuse(process, blocked, STOP_NS, why);
	if (inj_process_check(process, why) != 0)
		return INJ_PROCESS_GONE;
	return name_target(request, inj_refuse(why, INJ_BLOCKED,
		"no thread of process %d (%s) could be borrowed before the deadline; the last one "
		"tried was %d: %s; try again", (int)process->pid, process->comm,
		(int)request->tid, request->reason ? request->reason : "it sleeps without end"));
}

/* There may be threads that were born since the caller looked, or another program. */
static int look_again(struct inj_borrow *borrow, struct inj_why *why)
{
	INJ_CLEANUP(inj_maps_guard) struct inj_maps *maps = NULL;
	int r = inj_maps_read(borrow->process, &maps, why);

	if (r == 0)
		r = inj_gadget_find(borrow->process, maps, &borrow->gadget, why);
	if (r != 0)
		return r;
	inj_maps_free(borrow->own_maps);
	borrow->own_maps = INJ_TAKE(maps);
	borrow->maps = borrow->own_maps;
	return 0;
}

static int open_until(struct inj_borrow *borrow, pid_t only, uint64_t deadline_ns,
		      struct inj_why *why)
{
	struct take_request request = {.borrow = borrow, .only = only, .why = why};
	struct timespec pause = {0, PASS_PAUSE_NS};
	pid_t blocked = 0;

	for (;;) {
		int r = take_any(&request, deadline_ns, &blocked);

		if (r == -ESRCH && inj_process_check(borrow->process, why) != 0)
			return INJ_PROCESS_GONE;
		if (r < 0 && r != -EAGAIN && r != -ESRCH)
			return inj_broke(why, r, "cannot borrow thread %d of process %d",
					 (int)request.tid, (int)borrow->process->pid);
		if (r >= 0)
			return r;
		if (inj_now_ns() >= deadline_ns)
			return refuse_none(&request, blocked, why);
		nanosleep(&pause, NULL);
		r = look_again(borrow, why);
		if (r != 0)
			return r;
	}
}

static void free_borrow(struct inj_borrow *borrow)
{
	inj_agent_free(borrow->agent);
	inj_maps_free(borrow->own_maps);
	free(borrow);
}
INJ_DEFINE_GUARD(struct inj_borrow *, free_borrow, free_borrow_guard)

int inj_borrow_open_thread(const struct inj_process *process, const struct inj_maps *maps,
			   pid_t tid, uint64_t deadline_ns, struct inj_borrow **ret,
			   struct inj_why *why)
{
	INJ_CLEANUP(free_borrow_guard) struct inj_borrow *borrow =
		aligned_alloc(_Alignof(struct inj_borrow), sizeof(*borrow));

	if (!borrow)
		return inj_broke(why, -ENOMEM, "no memory to borrow a thread");
	memset(borrow, 0, sizeof(*borrow));
	borrow->process = process;
	borrow->maps = maps;

	int r = inj_agent_new(&borrow->agent);

	if (r < 0)
		return inj_broke(why, r, "no memory to borrow a thread");
	r = inj_gadget_find(process, maps, &borrow->gadget, why);
	if (r == 0)
		r = open_until(borrow, tid, deadline_ns, why);
	if (r != 0)
		return r;
	*ret = INJ_TAKE(borrow);
	return 0;
}

int inj_borrow_open(const struct inj_process *process, const struct inj_maps *maps,
		    uint64_t deadline_ns, struct inj_borrow **ret, struct inj_why *why)
{
	return inj_borrow_open_thread(process, maps, 0, deadline_ns, ret, why);
}

int inj_borrow_put(struct inj_borrow *borrow, const void *bytes, size_t length, inj_addr *ret)
{
	if (length > INJ_SCRATCH_BYTES)
		return -EINVAL;
	if (borrow->phase != BORROW_AWAY)
		return -ESRCH;

	int r = write_stack(borrow->tid, borrow->frame.scratch, bytes, length);

	if (r == 0)
		*ret = borrow->frame.scratch;
	return r;
}

/* Bring the thread into the stop in which it was taken: before it goes back to user mode. */
static int reach_trap(struct inj_borrow *borrow)
{
	uint64_t deadline_ns = inj_now_ns() + HOME_NS;
	int signal = 0;

	for (;;) {
		struct inj_stop stop;
		int r = inj_pt_interrupt(borrow->tid);

		if (r == 0)
			r = inj_pt_resume(borrow->tid, INJ_RESUME_FREELY, signal);
		if (r == 0)
			r = inj_pt_wait(borrow->tid, deadline_ns, &stop);
		if (r < 0)
			return r;
		if (stop.kind == INJ_STOP_TRAP || stop.kind == INJ_STOP_GROUP)
			return 0;
		if (stop.kind == INJ_STOP_ENDED || stop.kind == INJ_STOP_EXEC)
			return -ESRCH;
		signal = stop.kind == INJ_STOP_SIGNAL ? stop.signal : 0;
	}
}

/* The reverse of learn() and send_away(). */
static int go_home(struct inj_borrow *borrow)
{
	struct user_regs_struct home = borrow->home;
	int r = borrow->at_trap ? 0 : reach_trap(borrow);

	/* The call is made again from its start: late, but never early. */
	if (borrow->block_lost && inj_regs_restarting(&home) &&
	    (int64_t)home.rax == -INJ_ERESTART_RESTARTBLOCK)
		home.rax = (uint64_t)-INJ_ERESTARTNOINTR;
	if (r == 0)
		r = inj_pt_set_mask(borrow->tid, borrow->mask);
	if (r == 0)
		inj_fault_point("borrow-unmasked");
	if (r == 0 && borrow->xstate_changed)
		r = inj_pt_set_xstate(borrow->tid, borrow->xstate.image, borrow->xstate.length);
	if (r == 0)
		r = inj_pt_set_regs(borrow->tid, &home);
	if (r == 0)
		inj_fault_point("borrow-restored");
	return r;
}

/* Runs on the agent. */
static int give_back(void *argument)
{
	struct inj_borrow *borrow = argument;
	int r = go_home(borrow);

	if (r == 0)
		r = inj_pt_detach(borrow->tid, 0);
	if (r < 0)
		return r;
	borrow->held_ns = inj_now_ns() - borrow->first_interrupt_ns;
	borrow->phase = BORROW_HOME;
	return 0;
}

void inj_borrow_where(const struct inj_borrow *borrow, inj_addr *ret_pc, inj_addr *ret_sp)
{
	*ret_pc = borrow->home.rip;
	*ret_sp = borrow->home.rsp;
}

void inj_borrow_close(struct inj_borrow *borrow, uint64_t *ret_held_ns)
{
	if (!borrow)
		return;
	/* If it cannot be given back it goes home by itself, or is dead. */
	if (borrow->phase == BORROW_AWAY && inj_agent_run(borrow->agent, give_back, borrow) < 0)
		inj_borrow_lose(borrow);
	if (ret_held_ns)
		*ret_held_ns = borrow->held_ns;
	free_borrow(borrow);
}
