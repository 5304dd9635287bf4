/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns what is held, and letting it go. Always holds: between the calls of a caller either all
 * threads of all processes of the hold are stopped, or nothing is attached. Whatever cannot be
 * detached in the ordinary way (it runs, or is being killed) goes free with the end of the
 * tracing thread. Refuses a second hold before the first one was released.
 */
#include <errno.h>
#include <pthread.h>

#include "injector/base/clock.h"
#include "injector/base/fault-point.h"
#include "injector/stop/agent-priv.h"
#include "injector/stop/blocked-priv.h"
#include "injector/stop/hold-priv.h"
#include "injector/stop/repair-priv.h"
#include "injector/stop/tracer-priv.h"
#include "injector/stop/watchdog-priv.h"

/* A recycled thread id is as good as impossible twice in a row. */
#define MAX_ATTEMPTS 3
/*
 * The budget bounds the waiting for stops, and the caller's walk; what comes after takes
 * milliseconds. A hold that is not over by then never will be.
 */
#define BEYOND_BUDGET_NS 5000000000u
#define LONGEST_BUDGET_NS 3600000000000u

struct inj_tracer {
	struct inj_agent *agent;
	struct inj_watchdog watchdog;
	/* For rescue(), which runs beside the agent: whom it is stopping just now. */
	pthread_mutex_t lock;
	const struct inj_process *const *stopping;
	size_t n_stopping;
	struct inj_hold *holds; /* n_holds of them while something is held, else NULL */
	size_t n_holds;
	bool unclean;
	uint64_t first_interrupt_ns;
	uint64_t held_ns; /* of the last hold that was let go */
};

int inj_tracer_new(struct inj_tracer **ret)
{
	INJ_FREE struct inj_tracer *tracer = calloc(1, sizeof(*tracer));

	if (!tracer)
		return -ENOMEM;

	int r = inj_agent_new(&tracer->agent);

	if (r < 0)
		return r;
	inj_watchdog_init(&tracer->watchdog);
	pthread_mutex_init(&tracer->lock, NULL);
	*ret = INJ_TAKE(tracer);
	return 0;
}

static void forget_holds(struct inj_tracer *tracer)
{
	for (size_t i = 0; tracer->holds && i < tracer->n_holds; i++)
		inj_hold_deinit(&tracer->holds[i]);
	free(tracer->holds);
	tracer->holds = NULL;
	tracer->n_holds = 0;
	tracer->unclean = false;
}

static int make_holds(struct inj_tracer *tracer, const struct inj_process *const *processes,
		      size_t n)
{
	tracer->holds = calloc(n, sizeof(*tracer->holds));
	if (!tracer->holds)
		return -ENOMEM;
	tracer->n_holds = n;
	for (size_t i = 0; i < n; i++) {
		int r = inj_hold_init(&tracer->holds[i], processes[i]);

		if (r < 0)
			return r;
	}
	return 0;
}

static int attempt_on_agent(void *argument)
{
	struct hold_attempt *attempt = argument;

	attempt->agent_tid = gettid();
	return inj_hold_attempt(attempt);
}

/* Runs on the caller's thread while the agent is busy. */
static void rescue(void *argument)
{
	struct inj_tracer *tracer = argument;

	pthread_mutex_lock(&tracer->lock);
	for (size_t i = 0; i < tracer->n_stopping; i++)
		inj_hold_rescue(tracer->stopping[i]);
	pthread_mutex_unlock(&tracer->lock);
}

static void set_stopping(struct inj_tracer *tracer, const struct inj_process *const *processes,
			 size_t n)
{
	pthread_mutex_lock(&tracer->lock);
	tracer->stopping = processes;
	tracer->n_stopping = n;
	pthread_mutex_unlock(&tracer->lock);
}

/* Back to where it was, and when its call's time is over, out of that. */
static int let_go(const struct inj_hold *hold, size_t index)
{
	const struct thread_note *note = hold_note(hold, index);
	const struct inj_thread *thread = &hold->threads[index];

	if (note->wait) {
		struct user_regs_struct regs = thread->regs;

		if (note->repaired)
			inj_repair(&regs);
		if (inj_wait_settle(note->wait, note->stop, &regs))
			inj_pt_set_regs(thread->tid, &regs);
	}
	return inj_pt_detach(thread->tid,
			     note->stop.kind == INJ_STOP_SIGNAL ? note->stop.signal : 0);
}

/* Runs on the agent. */
static int detach_all(void *argument)
{
	struct inj_tracer *tracer = argument;
	bool first = true;

	for (size_t i = 0; i < tracer->n_holds; i++) {
		const struct inj_hold *hold = &tracer->holds[i];

		for (size_t k = 0; k < hold->n_threads; k++) {
			if (hold_note(hold, k)->state != THREAD_STOPPED)
				continue;
			/* It is being killed; its end must not wait for us to look. */
			if (let_go(hold, k) < 0)
				tracer->unclean = true;
			if (first)
				inj_fault_point("hold-first-detached");
			first = false;
		}
	}
	tracer->held_ns = inj_now_ns() - tracer->first_interrupt_ns;
	return 0;
}

#define ROUNDS_PER_LOOK 16

/* One round over those who were asked to stop and have not been seen. Return: how many are left. */
static size_t meet_each(struct inj_tracer *tracer, struct inj_hold *hold, bool look)
{
	struct hold_attempt attempt = {.holds = tracer->holds, .n_holds = tracer->n_holds};
	size_t n_left = 0;

	for (size_t i = 0; i < hold->n_threads; i++) {
		struct thread_note *note = hold_note(hold, i);

		if (note->state != THREAD_WAITING)
			continue;
		if (inj_hold_meet(&attempt, hold, i)) {
			let_go(hold, i);
			note->state = THREAD_GONE;
		} else if (look && !inj_thread_is_on_its_way(hold->process,
							     hold->threads[i].tid)) {
			note->state = THREAD_GONE;
		} else {
			n_left++;
		}
	}
	return n_left;
}

/*
 * Runs on the agent, when all others run already. Whoever is on its way to a stop is let go from
 * there, so that its call is repaired like the others'.
 */
static int meet_stragglers(void *argument)
{
	struct inj_tracer *tracer = argument;
	uint64_t deadline_ns = inj_now_ns() + INJ_STRAGGLER_NS;
	size_t n_left = 1;

	for (unsigned n = 0; n_left > 0 && inj_now_ns() < deadline_ns; n++) {
		n_left = 0;
		for (size_t i = 0; i < tracer->n_holds; i++)
			n_left += meet_each(tracer, &tracer->holds[i], n % ROUNDS_PER_LOOK == 0);
		if (n_left > 0)
			inj_pt_pause(n, deadline_ns);
	}
	return 0;
}

/*
 * What cannot be detached goes free with the agent's thread. When that is our own it lasts until
 * the caller's function returns.
 */
static void give_up(struct inj_tracer *tracer)
{
	inj_agent_run(tracer->agent, detach_all, tracer);
	tracer->held_ns = tracer->first_interrupt_ns
				  ? inj_now_ns() - tracer->first_interrupt_ns
				  : 0;
	if (tracer->first_interrupt_ns)
		inj_agent_run(tracer->agent, meet_stragglers, tracer);
	inj_agent_end(tracer->agent);
}

static uint64_t hold_limit_ns(uint64_t budget_ns)
{
	return budget_ns < LONGEST_BUDGET_NS ? budget_ns + BEYOND_BUDGET_NS : LONGEST_BUDGET_NS;
}

static int try_hold(struct inj_tracer *tracer, struct hold_attempt *attempt,
		    const struct inj_process *const *processes)
{
	attempt->holds = tracer->holds;
	attempt->n_holds = tracer->n_holds;
	inj_watchdog_set(&tracer->watchdog, hold_limit_ns(attempt->budget_ns));
	inj_agent_stay_awake(tracer->agent, true);
	set_stopping(tracer, processes, tracer->n_holds);

	int r = inj_agent_run_watched(tracer->agent, attempt_on_agent, attempt, rescue, tracer);

	set_stopping(tracer, NULL, 0);
	tracer->first_interrupt_ns = attempt->first_interrupt_ns;
	tracer->unclean = attempt->unclean;
	if (r != 0) {
		give_up(tracer);
		inj_watchdog_set(&tracer->watchdog, 0);
	}
	return r;
}

static int hold_as(struct inj_tracer *tracer, const struct inj_process *const *processes, size_t n,
		   const struct hold_attempt *how, struct inj_hold **ret_holds, struct inj_why *why)
{
	int r = -EAGAIN;

	if (tracer->holds)
		return inj_broke(why, -EBUSY, "processes are being held already");
	if (n == 0)
		return inj_broke(why, -EINVAL, "no process to hold was named");
	tracer->held_ns = 0;
	for (unsigned i = 0; i < MAX_ATTEMPTS && r == -EAGAIN; i++) {
		struct hold_attempt attempt = *how;

		r = make_holds(tracer, processes, n);
		if (r < 0)
			inj_broke(why, r, "no memory for the threads of %zu processes", n);
		else
			r = try_hold(tracer, &attempt, processes);
		if (r == -ETIMEDOUT)
			r = inj_blocked_refuse(attempt.blocked_hold->process, attempt.blocked_tid,
					       tracer->held_ns, why);
		if (r != 0)
			forget_holds(tracer);
	}
	if (r == -EAGAIN)
		return inj_broke(why, r, "thread ids of process %d keep changing hands",
				 (int)processes[0]->pid);
	if (r != 0)
		return r;
	*ret_holds = tracer->holds;
	return 0;
}

int inj_tracer_hold(struct inj_tracer *tracer, const struct inj_process *const *processes,
		    size_t n, uint64_t deadline_ns, uint64_t budget_ns,
		    struct inj_hold **ret_holds, struct inj_why *why)
{
	const struct hold_attempt how = {
		.deadline_ns = deadline_ns, .budget_ns = budget_ns, .why = why};

	return hold_as(tracer, processes, n, &how, ret_holds, why);
}

int inj_tracer_hold_thread(struct inj_tracer *tracer, const struct inj_process *process, pid_t tid,
			   uint64_t deadline_ns, uint64_t budget_ns, struct inj_hold **ret_hold,
			   struct inj_why *why)
{
	const struct hold_attempt how = {
		.only_tid = tid, .deadline_ns = deadline_ns, .budget_ns = budget_ns, .why = why};

	return hold_as(tracer, &process, 1, &how, ret_hold, why);
}

void inj_tracer_release(struct inj_tracer *tracer, uint64_t *ret_held_ns)
{
	if (tracer->holds) {
		inj_agent_stay_awake(tracer->agent, false);
		/* There is a thread already, so this cannot fail. */
		inj_agent_run(tracer->agent, detach_all, tracer);
		if (tracer->unclean)
			inj_agent_end(tracer->agent);
		inj_watchdog_set(&tracer->watchdog, 0);
		forget_holds(tracer);
	}
	if (ret_held_ns)
		*ret_held_ns = tracer->held_ns;
}

void inj_tracer_free(struct inj_tracer *tracer)
{
	if (!tracer)
		return;
	inj_tracer_release(tracer, NULL);
	inj_agent_free(tracer->agent);
	inj_watchdog_deinit(&tracer->watchdog);
	pthread_mutex_destroy(&tracer->lock);
	free(tracer);
}

int inj_tracer_run(struct inj_tracer *tracer, int (*function)(void *), void *argument)
{
	return inj_agent_run_watched(tracer->agent, function, argument, rescue, tracer);
}

struct inj_agent *inj_tracer_agent(struct inj_tracer *tracer)
{
	return tracer->agent;
}

struct inj_hold *inj_tracer_own_hold(struct inj_tracer *tracer, const struct inj_hold *hold)
{
	for (size_t i = 0; tracer->holds && i < tracer->n_holds; i++)
		if (&tracer->holds[i] == hold)
			return &tracer->holds[i];
	return NULL;
}

struct set_pc_request {
	pid_t tid;
	struct user_regs_struct regs;
};

/* Runs on the agent. */
static int set_pc(void *argument)
{
	const struct set_pc_request *request = argument;

	return inj_pt_set_regs(request->tid, &request->regs);
}

int inj_thread_set_pc(struct inj_tracer *tracer, struct inj_hold *hold, size_t index, inj_addr pc)
{
	if (!tracer->holds || index >= hold->n_threads)
		return -EINVAL;

	struct inj_thread *thread = &hold->threads[index];
	struct set_pc_request request = {thread->tid, thread->regs};

	if (pc == thread->regs.rip)
		return 0;
	if (hold_note(hold, index)->repaired || inj_regs_restarting(&thread->regs))
		return -EBUSY;
	request.regs.rip = pc;
	request.regs.orig_rax = (uint64_t)-1;

	int r = inj_agent_run(tracer->agent, set_pc, &request);

	if (r < 0)
		return r;
	thread->regs = request.regs;
	thread->in_syscall = false;
	inj_fault_point("hold-pc-set");
	return 0;
}

struct set_gs_request {
	pid_t tid;
	uint64_t base;
};

/* Runs on the agent. */
static int set_gs(void *argument)
{
	const struct set_gs_request *request = argument;

	return inj_pt_set_gs_base(request->tid, request->base);
}

int inj_thread_set_gs_base(struct inj_tracer *tracer, struct inj_hold *hold, size_t index,
			   uint64_t base)
{
	if (!tracer->holds || index >= hold->n_threads)
		return -EINVAL;

	struct inj_thread *thread = &hold->threads[index];
	struct set_gs_request request = {thread->tid, base};

	if (base == thread->regs.gs_base)
		return 0;

	int r = inj_agent_run(tracer->agent, set_gs, &request);

	if (r < 0)
		return r;
	thread->regs.gs_base = base;
	inj_fault_point("gs-base-set");
	return 0;
}
