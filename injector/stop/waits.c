/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the list of waits that we disturbed, each with the moment at which it has to end. Always
 * holds: a call is ended by us only when its time is over, and only when its witness saw the thread
 * in it all the time: then it is the very call whose end was computed, and the result is the one it
 * would have had. In doubt the wait is forgotten, and ends late. Refuses to remember more than a
 * hundred or so.
 *
 * The life of a wait: looked at while its thread sleeps (witness, beginning, timeout); dated, when
 * the clocks were compared; confirmed when the thread stopped in that call; settled when it is let
 * go, to be confirmed again at the next stop.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ptrace.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "injector/base/clock.h"
#include "injector/base/fault-point.h"
#include "injector/process/mem.h"
#include "injector/stop/agent-priv.h"
#include "injector/stop/ptrace-priv.h"
#include "injector/stop/repair-priv.h"
#include "injector/stop/waits-priv.h"

#define MAX_WAITS 128
/* How long a thread may take to stop at the end of its wait: the machine may be busy. */
#define STOP_NS 1000000000u
/* Most calls end by an event; that nobody waits for them any more is noticed this often. */
#define GLANCE_NS 250000000u
/* By then the other one has noticed if the call that he knows is over. */
#define GLANCES_AT_OTHERS 4
/* Somebody else traces the thread: another one of us is soon gone, a debugger may stay. */
#define RETRY_NS 20000000u

enum wait_state {
	WAIT_LOOKED_AT,
	WAIT_DATED,     /* end_ns is known */
	WAIT_CONFIRMED, /* stopped in it */
	WAIT_OVER,      /* to be forgotten */
};

struct inj_wait {
	TAILQ_ENTRY(inj_wait) link;
	enum wait_state state;
	pid_t pid;
	pid_t tid;
	int pidfd; /* a copy */
	struct inj_witness witness;
	struct inj_call call;
	struct inj_timed_call timed;
	struct inj_sleep sleep;
	uint64_t dated_ns; /* then it slept; it was interrupted later */
	uint64_t stopped_ns;
	inj_addr rip; /* at that stop */
	uint64_t end_ns; /* CLOCK_MONOTONIC */
	int lock_fd;     /* -1, or held by the one who keeps its time */
	unsigned n_locked;
	bool asked;      /* to stop, because it is over */
	bool rest_seen;  /* of REST: end_ns was compared with what the kernel says is left */
};

struct inj_waits {
	TAILQ_HEAD(, inj_wait) list;
	size_t n;
};

int inj_waits_new(struct inj_waits **ret)
{
	struct inj_waits *waits = calloc(1, sizeof(*waits));

	if (!waits)
		return -ENOMEM;
	TAILQ_INIT(&waits->list);
	*ret = waits;
	return 0;
}

static void free_wait(struct inj_wait *wait)
{
	inj_witness_close(&wait->witness);
	inj_close_guard(&wait->pidfd);
	inj_close_guard(&wait->lock_fd);
	free(wait);
}
INJ_DEFINE_GUARD(struct inj_wait *, free_wait, free_wait_guard)

static void forget(struct inj_waits *waits, struct inj_wait *wait)
{
	TAILQ_REMOVE(&waits->list, wait, link);
	waits->n--;
	free_wait(wait);
}

void inj_waits_free(struct inj_waits *waits)
{
	struct inj_wait *wait;

	if (!waits)
		return;
	while ((wait = TAILQ_FIRST(&waits->list)))
		forget(waits, wait);
	free(waits);
}

/* Thread ids are given away again; a witness stays with the thread that it was made for. */
static bool is_same_thread(const struct inj_wait *wait)
{
	uint64_t start_ticks;

	return inj_thread_start_ticks(wait->pid, wait->tid, &start_ticks) == 0 &&
	       start_ticks == wait->sleep.start_ticks;
}

static bool has_exited(const struct inj_wait *wait)
{
	struct pollfd poller = {.fd = wait->pidfd, .events = POLLIN};

	return poll(&poller, 1, 0) > 0;
}

static bool is_under_way(struct inj_wait *wait)
{
	return wait->state == WAIT_DATED && inj_witness_same(&wait->witness) && !has_exited(wait) &&
	       is_same_thread(wait);
}

static struct inj_wait *find(struct inj_waits *waits, const struct inj_process *process, pid_t tid)
{
	struct inj_wait *wait;

	TAILQ_FOREACH(wait, &waits->list, link)
		if (wait->tid == tid && wait->pid == process->pid)
			return wait;
	return NULL;
}

/* A thread that is stopped in its call is not finished with it. */
static void forget_ended(struct inj_waits *waits)
{
	struct inj_wait *next;

	for (struct inj_wait *wait = TAILQ_FIRST(&waits->list); wait; wait = next) {
		next = TAILQ_NEXT(wait, link);
		if (wait->state != WAIT_CONFIRMED && !is_under_way(wait))
			forget(waits, wait);
	}
}

void inj_waits_tidy(const struct inj_process *process)
{
	if (process->waits)
		forget_ended(process->waits);
}

/* The witness first: what is read after it is of the call that it watches, or it knows. */
static int watch(const struct inj_process *process, struct inj_wait *wait)
{
	uint8_t bytes[INJ_SYSCALL_BYTES];
	const inj_addr pc = wait->call.pc;

	if (inj_mem_read(process, pc - sizeof(bytes), bytes, sizeof(bytes)) < 0 ||
	    !inj_repair_is_syscall(bytes))
		return -ENODATA;

	int r = inj_witness_open(wait->tid, pc, &wait->witness);

	if (r == 0)
		r = inj_timed_call_read(process, &wait->call, &wait->timed);
	return r < 0 ? r : inj_sleep_read(process, wait->tid, &wait->call, &wait->sleep);
}

/* There is other work that needs descriptors more. */
static bool is_scarce(int fd)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit) < 0 || (rlim_t)fd > limit.rlim_cur / 2;
}

static struct inj_wait *add(struct inj_waits *waits, const struct inj_process *process, pid_t tid)
{
	INJ_CLEANUP(free_wait_guard) struct inj_wait *wait = NULL;
	struct inj_timed_call timed; /* of a call that may be over by now */
	struct inj_call call;

	if (inj_call_read(process, tid, &call) < 0 ||
	    inj_timed_call_read(process, &call, &timed) < 0)
		return NULL;
	if (waits->n >= MAX_WAITS)
		return NULL;
	wait = calloc(1, sizeof(*wait));
	if (!wait)
		return NULL;
	*wait = (struct inj_wait){.pid = process->pid, .tid = tid, .pidfd = -1, .lock_fd = -1,
				  .witness = INJ_WITNESS_NONE, .call = call};
	wait->pidfd = fcntl(process->pidfd, F_DUPFD_CLOEXEC, 0);
	if (wait->pidfd < 0 || is_scarce(wait->pidfd) || watch(process, wait) < 0)
		return NULL;
	TAILQ_INSERT_TAIL(&waits->list, wait, link);
	waits->n++;
	return INJ_TAKE(wait);
}

struct inj_wait *inj_waits_look(const struct inj_process *process, pid_t tid)
{
	struct inj_waits *waits = process->waits;
	struct inj_wait *wait = waits ? find(waits, process, tid) : NULL;

	if (!waits)
		return NULL;
	if (wait && is_under_way(wait))
		return wait;
	if (wait)
		forget(waits, wait);
	return add(waits, process, tid);
}

/* All that sleep on one CPU's clock. */
static void date_cpu(struct inj_waits *waits, unsigned cpu)
{
	struct inj_wait *wait;
	uint64_t offset_ns = 0;
	bool known = inj_sleep_clock(cpu, &offset_ns) == 0;
	uint64_t now_ns = inj_now_ns();

	TAILQ_FOREACH(wait, &waits->list, link) {
		if (wait->state != WAIT_LOOKED_AT || wait->sleep.cpu != cpu)
			continue;
		wait->end_ns = wait->sleep.since_ns + offset_ns + wait->timed.timeout_ns;
		wait->dated_ns = now_ns;
		wait->state = known ? WAIT_DATED : WAIT_OVER;
	}
}

void inj_waits_date(const struct inj_process *process)
{
	struct inj_waits *waits = process->waits;
	struct inj_wait *wait;

	if (!waits)
		return;
	TAILQ_FOREACH(wait, &waits->list, link)
		if (wait->state == WAIT_LOOKED_AT)
			date_cpu(waits, wait->sleep.cpu);
}

/*
 * Interrupted in the call; or let go once already, and stopped again before the kernel set the
 * thread back onto the instruction, or before it executed that.
 */
static bool shows_call(const struct inj_wait *wait, const struct user_regs_struct *regs)
{
	int64_t wanted = wait->timed.timing == INJ_TIMING_REST ? -INJ_ERESTARTNOHAND : -EINTR;
	struct user_regs_struct inside = *regs;

	if (regs->rip == wait->call.pc)
		return inj_call_matches(&wait->call, regs) &&
		       ((int64_t)regs->rax == wanted ||
			(int64_t)regs->rax == -INJ_ERESTARTNOHAND);
	inside.rip += INJ_SYSCALL_BYTES;
	inside.orig_rax = inside.rax;
	return regs->rcx == wait->call.pc && inj_call_matches(&wait->call, &inside);
}

void inj_wait_confirm(struct inj_wait *wait, const struct user_regs_struct *regs)
{
	if (!wait || wait->state != WAIT_DATED)
		return;
	wait->stopped_ns = inj_now_ns();
	wait->rip = regs->rip;
	wait->state = shows_call(wait, regs) && inj_witness_same(&wait->witness) ? WAIT_CONFIRMED
										 : WAIT_OVER;
}

/*
 * The result that the call has when its time is over. A call with a signal mask of its own has
 * that one still, for the kernel to put back after the handlers; with any result but EINTR the
 * kernel puts it back before. What it would put back is what it tells us.
 */
static bool finish(struct inj_wait *wait, struct user_regs_struct *regs)
{
	uint64_t mask;

	if (inj_pt_get_mask(wait->tid, &mask) < 0 || inj_pt_set_mask(wait->tid, mask) < 0)
		return false;
	if (regs->rip != wait->call.pc)
		regs->orig_rax = (uint64_t)-1;
	regs->rip = wait->call.pc;
	regs->rax = (uint64_t)wait->timed.result;
	return true;
}

/*
 * What is left of the call, where the kernel has just written it for the call to go on with. It
 * knows nothing of the time that the thread was held, which is taken off here.
 * Return: false when there is no time.
 */
static bool settle_rest(struct inj_wait *wait)
{
	const struct inj_timed_call *timed = &wait->timed;
	int64_t words[2];
	struct iovec local = {words, sizeof(words)};
	struct iovec remote = {(void *)(uintptr_t)timed->rest, sizeof(words)};
	uint64_t rest_ns = 0;
	uint64_t now_ns;

	if (!wait->rest_seen) {
		if (process_vm_readv(wait->tid, &local, 1, &remote, 1, 0) != sizeof(words) ||
		    inj_time_decode(words, timed->rest_in_us, &rest_ns) < 0)
			return false;
		/*
		 * It counts from the moment at which the thread was woken, which lies in between.
		 * The time that stood there before may have been written by somebody else.
		 */
		if (wait->end_ns < wait->dated_ns + rest_ns)
			wait->end_ns = wait->dated_ns + rest_ns;
		if (wait->end_ns > wait->stopped_ns + rest_ns)
			wait->end_ns = wait->stopped_ns + rest_ns;
		wait->rest_seen = true;
	}
	now_ns = inj_now_ns();
	inj_time_encode(wait->end_ns > now_ns ? wait->end_ns - now_ns : 0, timed->rest_in_us,
			words);

	ssize_t n = process_vm_writev(wait->tid, &local, 1, &remote, 1, 0);

	inj_fault_point("rest-written");
	return n == sizeof(words);
}

/* What came while the thread was held: made again, the call takes it, as it does after a sleep. */
static bool is_ready(const struct inj_wait *wait)
{
	INJ_CLOSE int fd = wait->timed.ready ? (int)syscall(SYS_pidfd_getfd, wait->pidfd,
							    (int)wait->call.arguments[0], 0)
					     : -1;
	struct pollfd poller = {.fd = fd, .events = wait->timed.ready};

	return fd >= 0 && poll(&poller, 1, 0) > 0;
}

bool inj_wait_settle(struct inj_wait *wait, struct inj_stop stop, struct user_regs_struct *regs)
{
	/* The caller may have moved it since. */
	if (!wait || wait->state != WAIT_CONFIRMED || regs->rip != wait->rip)
		return false;
	wait->state = WAIT_OVER;
	/* A signal may have a handler, which ends the call; a stopped process does not go on. */
	if (stop.kind != INJ_STOP_TRAP)
		return false;
	if (wait->timed.timing == INJ_TIMING_RESULT && inj_now_ns() >= wait->end_ns)
		return !is_ready(wait) && finish(wait, regs);
	if (wait->timed.timing == INJ_TIMING_RESULT || settle_rest(wait))
		wait->state = WAIT_DATED;
	return false;
}

/* ---- ending them at their time ---- */

/* What is left of a REST is what the call goes on with: it needs no help any more. */
static bool is_kept(const struct inj_wait *wait)
{
	return wait->state == WAIT_DATED && wait->timed.timing == INJ_TIMING_RESULT;
}

size_t inj_waits_pending(struct inj_waits *waits)
{
	struct inj_wait *wait;
	size_t n = 0;

	forget_ended(waits);
	TAILQ_FOREACH(wait, &waits->list, link)
		n += is_kept(wait);
	return n;
}

/* Was the call made by a `syscall` instruction? The thread is stopped. */
static bool made_by_syscall(pid_t tid, inj_addr rip)
{
	uint8_t bytes[INJ_SYSCALL_BYTES];
	struct iovec local = {bytes, sizeof(bytes)};
	struct iovec remote = {(void *)(uintptr_t)(rip - sizeof(bytes)), sizeof(bytes)};

	return rip >= sizeof(bytes) &&
	       process_vm_readv(tid, &local, 1, &remote, 1, 0) == (ssize_t)sizeof(bytes) &&
	       inj_repair_is_syscall(bytes);
}

/*
 * Runs on the agent. As at the end of a hold: the call has its result now, or is set to be made
 * again; so is any other that the thread went into before it was stopped.
 */
static int let_go(struct inj_wait *wait, struct inj_stop stop)
{
	struct user_regs_struct regs;
	int r = inj_pt_get_regs(wait->tid, &regs);

	if (r < 0)
		return r;

	bool repaired = inj_repair_applies(&regs) && made_by_syscall(wait->tid, regs.rip);

	inj_wait_confirm(wait, &regs);
	if (repaired)
		inj_repair(&regs);
	if (inj_wait_settle(wait, stop, &regs) || repaired)
		r = inj_pt_set_regs(wait->tid, &regs);
	return r < 0 ? r : inj_pt_detach(wait->tid, stop.kind == INJ_STOP_SIGNAL ? stop.signal : 0);
}

/* Return: false when nothing is attached, so that nothing has to be let go. */
static bool ask_to_stop(const struct inj_wait *wait, int *error)
{
	int r = inj_pt_seize(wait->tid, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC);

	if (r < 0)
		return false;
	if (inj_pt_belongs(wait->pid, wait->tid)) {
		inj_pt_interrupt(wait->tid);
		return true;
	}
	*error = -ESRCH;
	return false;
}

static int await_and_let_go(struct inj_wait *wait)
{
	struct inj_stop stop = {INJ_STOP_NONE, 0};
	int r = inj_pt_wait(wait->tid, inj_now_ns() + STOP_NS, &stop);

	if (r == 0)
		r = stop.kind == INJ_STOP_ENDED ? -ESRCH : let_go(wait, stop);
	wait->state = WAIT_OVER;
	return r;
}

/* Runs on the agent, whose end lets go whom we could not. All at once: each takes its time. */
static int end_due(void *argument)
{
	struct inj_waits *waits = argument;
	struct inj_wait *wait;
	int r = 0;

	TAILQ_FOREACH(wait, &waits->list, link) {
		bool due = is_kept(wait) && wait->end_ns <= inj_now_ns() && is_under_way(wait);

		wait->asked = due && ask_to_stop(wait, &r);
		if (due && !wait->asked)
			wait->end_ns = inj_now_ns() + RETRY_NS;
	}
	TAILQ_FOREACH(wait, &waits->list, link)
		if (wait->asked && await_and_let_go(wait) < 0)
			r = -EAGAIN;
	return r;
}

void inj_waits_inherit(struct inj_waits *waits)
{
	struct inj_wait *next;

	for (struct inj_wait *wait = TAILQ_FIRST(&waits->list); wait; wait = next) {
		next = TAILQ_NEXT(wait, link);
		if (inj_witness_inherit(&wait->witness) < 0)
			forget(waits, wait);
	}
}

/*
 * One of us is enough for a call: others can go as soon as they see that the one who has the lock
 * does not let it go, as he does when the call that he knows is over. The file is nobody's but
 * root's and the target's, who can only make its own calls end late.
 */
static bool is_left_to_others(struct inj_wait *wait)
{
	char name[64];

	if (wait->lock_fd < 0) {
		snprintf(name, sizeof(name), "/proc/%d/task/%d/syscall", (int)wait->pid,
			 (int)wait->tid);
		wait->lock_fd = open(name, O_RDONLY | O_CLOEXEC);
	}
	if (wait->lock_fd < 0 || flock(wait->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return false;
	return ++wait->n_locked > GLANCES_AT_OTHERS;
}

static void leave_to_others(struct inj_waits *waits)
{
	struct inj_wait *next;

	for (struct inj_wait *wait = TAILQ_FIRST(&waits->list); wait; wait = next) {
		next = TAILQ_NEXT(wait, link);
		if (is_kept(wait) && is_left_to_others(wait))
			forget(waits, wait);
	}
}

/* When has something to be done next? 0: there is nothing left. */
static uint64_t next_ns(struct inj_waits *waits, uint64_t now_ns)
{
	struct inj_wait *wait;
	uint64_t next = now_ns + GLANCE_NS;

	if (inj_waits_pending(waits) == 0)
		return 0;
	TAILQ_FOREACH(wait, &waits->list, link)
		if (is_kept(wait) && wait->end_ns < next)
			next = wait->end_ns;
	return next;
}

/* Return: has somebody asked us to stop? */
static bool sleep_until(uint64_t time_ns, int cancel_fd)
{
	struct pollfd poller = {.fd = cancel_fd, .events = POLLIN};
	uint64_t rest_ns = inj_remaining_ns(time_ns);
	struct timespec rest = {(time_t)(rest_ns / 1000000000u), (long)(rest_ns % 1000000000u)};

	return ppoll(&poller, 1, &rest, NULL) > 0;
}

void inj_waits_keep(struct inj_waits *waits, uint64_t deadline_ns, int cancel_fd)
{
	INJ_CLEANUP(inj_agent_guard) struct inj_agent *agent = NULL;
	uint64_t at_ns;

	if (inj_agent_new(&agent) < 0)
		return;
	while ((at_ns = next_ns(waits, inj_now_ns())) != 0 && inj_now_ns() < deadline_ns) {
		if (sleep_until(at_ns < deadline_ns ? at_ns : deadline_ns, cancel_fd))
			return;
		if (inj_agent_run(agent, end_due, waits) < 0) {
			inj_agent_end(agent);
			/* Perhaps there is no thread to be had. */
			if (sleep_until(inj_now_ns() + RETRY_NS, cancel_fd))
				return;
		}
		leave_to_others(waits);
	}
}
