/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the life of a borrowed thread: finding one that can be taken, and giving it back. Always
 * holds: giving back undoes in reverse order what taking did, in the same kind of stop in which
 * the thread was taken, so that the kernel goes on with an interrupted call as if nothing had
 * been. Refuses what borrow-take.c refuses of every thread until the deadline.
 */
#include <errno.h>
#include <string.h>

#include "injector/base/clock.h"
#include "injector/base/fault-point.h"
#include "injector/stop/blocked-priv.h"
#include "injector/stop/borrow-priv.h"
#include "injector/stop/repair-priv.h"

#define HOME_NS 1000000000u
#define PASS_PAUSE_NS 2000000

/* The threads, one after the other. -EAGAIN: none would do; request tells of the last. */
static int take_any(struct inj_take_request *request, uint64_t deadline_ns, pid_t *ret_blocked)
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
		r = inj_agent_run(borrow->agent, inj_borrow_take, request);
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

static int refuse_none(const struct inj_take_request *request, pid_t blocked, struct inj_why *why)
{
	const struct inj_process *process = request->borrow->process;

	if (inj_process_check(process, why) == INJ_PROCESS_GONE)
		return INJ_PROCESS_GONE;
	if (blocked)
		return inj_blocked_refuse(process, blocked, INJ_TAKE_NS, why);
	if (!request->tid)
		return inj_take_refused(request, inj_refuse(why, INJ_BLOCKED,
			"no thread of process %d (%s) can be borrowed: all are in an "
			"uninterruptible sleep or in a frozen control group; try again later",
			(int)process->pid, process->comm));
	return inj_take_refused(request, inj_refuse(why, INJ_BLOCKED,
		"no thread of process %d (%s) could be borrowed before the deadline; the last one "
		"tried was %d: %s; try again", (int)process->pid, process->comm,
		(int)request->tid, request->reason ? request->reason : "it did not stop"));
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
	struct inj_take_request request = {.borrow = borrow, .only = only, .why = why};
	struct timespec pause = {0, PASS_PAUSE_NS};

	for (;;) {
		pid_t blocked = 0;
		int r = take_any(&request, deadline_ns, &blocked);

		if (r == -ESRCH &&
		    inj_process_check(borrow->process, why) == INJ_PROCESS_GONE)
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

	int r = inj_borrow_write(borrow->tid, borrow->frame.scratch, bytes, length);

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
		if (stop.kind == INJ_STOP_TRAP || stop.kind == INJ_STOP_GROUP) {
			borrow->stop = stop;
			return 0;
		}
		if (stop.kind == INJ_STOP_ENDED || stop.kind == INJ_STOP_EXEC)
			return -ESRCH;
		signal = stop.kind == INJ_STOP_SIGNAL ? stop.signal : 0;
	}
}

/* The reverse of what borrow-take.c did. */
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
	if (r == 0)
		inj_wait_settle(borrow->wait, borrow->stop, &home);
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

int inj_borrow_run(struct inj_borrow *borrow, int (*function)(void *), void *argument)
{
	return inj_agent_run(borrow->agent, function, argument);
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
