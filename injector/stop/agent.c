/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the thread that traces. Always holds: at any time either the caller or the agent has the
 * turn and the other one waits, so nothing here needs a lock; the agent blocks all signals, so
 * no handler of the program runs in it. Refuses nothing.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "injector/base/clock.h"
#include "injector/stop/agent-priv.h"

enum turn {
	TURN_CALLER,
	TURN_AGENT,
	TURN_END,
};

struct inj_agent {
	pthread_t thread;
	bool has_thread;
	bool must_end; /* as soon as the function returns */
	atomic_bool awake;
	pid_t tid;
	_Atomic uint32_t turn;
	int (*function)(void *);
	void *argument;
	int result;
};

/* As usual for threads: whole attempts of an update run on it. */
#define STACK_BYTES (8u << 20)
#define AWAKE_NS 100000u
#define END_NS 1000000000u
#define RESCUE_NS 10000000

static void give_turn(struct inj_agent *agent, uint32_t turn)
{
	atomic_store(&agent->turn, turn);
	syscall(SYS_futex, &agent->turn, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Wait while it is the turn of somebody else. Return: the turn that ended the wait. */
static uint32_t await_turn(struct inj_agent *agent, uint32_t other, bool awake)
{
	uint64_t sleep_at_ns = awake ? inj_now_ns() + AWAKE_NS : 0;

	for (;;) {
		uint32_t turn = atomic_load(&agent->turn);

		if (turn != other)
			return turn;
		if (sleep_at_ns && inj_now_ns() < sleep_at_ns)
			__builtin_ia32_pause();
		else
			syscall(SYS_futex, &agent->turn, FUTEX_WAIT_PRIVATE, other, NULL, NULL, 0);
	}
}

static void *serve(void *argument)
{
	struct inj_agent *agent = argument;

	agent->tid = gettid();
	while (await_turn(agent, TURN_CALLER, atomic_load(&agent->awake)) == TURN_AGENT) {
		agent->result = agent->function(agent->argument);
		give_turn(agent, TURN_CALLER);
	}
	return NULL;
}

static int start(struct inj_agent *agent)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	int r = pthread_attr_init(&attributes);

	if (r != 0)
		return -r;
	sigfillset(&all);
	atomic_store(&agent->turn, TURN_CALLER);
	r = pthread_attr_setstacksize(&attributes, STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (r == 0)
		r = pthread_create(&agent->thread, &attributes, serve, agent);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	agent->has_thread = r == 0;
	return -r;
}

int inj_agent_new(struct inj_agent **ret)
{
	struct inj_agent *agent = calloc(1, sizeof(*agent));

	if (!agent)
		return -ENOMEM;
	*ret = agent;
	return 0;
}

static void await_watching(struct inj_agent *agent, void (*rescue)(void *), void *argument)
{
	struct timespec patience = {0, RESCUE_NS};

	while (atomic_load(&agent->turn) == TURN_AGENT)
		if (syscall(SYS_futex, &agent->turn, FUTEX_WAIT_PRIVATE, TURN_AGENT, &patience,
			    NULL, 0) < 0 && errno == ETIMEDOUT)
			rescue(argument);
}

int inj_agent_run_watched(struct inj_agent *agent, int (*function)(void *), void *argument,
			  void (*rescue)(void *), void *rescue_argument)
{
	if (inj_agent_is_me(agent))
		return function(argument);

	int r = agent->has_thread ? 0 : start(agent);

	if (r < 0)
		return r;
	agent->function = function;
	agent->argument = argument;
	give_turn(agent, TURN_AGENT);
	if (rescue)
		await_watching(agent, rescue, rescue_argument);
	else
		await_turn(agent, TURN_AGENT, false);
	r = agent->result;
	if (agent->must_end)
		inj_agent_end(agent);
	return r;
}

int inj_agent_run(struct inj_agent *agent, int (*function)(void *), void *argument)
{
	return inj_agent_run_watched(agent, function, argument, NULL, NULL);
}

bool inj_agent_is_me(const struct inj_agent *agent)
{
	return agent->has_thread && pthread_equal(agent->thread, pthread_self());
}

void inj_agent_end(struct inj_agent *agent)
{
	if (!agent->has_thread)
		return;
	agent->must_end = inj_agent_is_me(agent);
	if (agent->must_end)
		return;
	give_turn(agent, TURN_END);
	pthread_join(agent->thread, NULL);
	agent->has_thread = false;

	/*
	 * The join returns from mm_release(), before exit_notify() of the kernel lets the tracees
	 * go. The thread id disappears after that.
	 */
	uint64_t deadline_ns = inj_now_ns() + END_NS;

	while (agent->tid && tgkill(getpid(), agent->tid, 0) == 0 && inj_now_ns() < deadline_ns)
		sched_yield();
	agent->tid = 0;
	atomic_store(&agent->awake, false);
}

void inj_agent_free(struct inj_agent *agent)
{
	if (!agent)
		return;
	inj_agent_end(agent);
	free(agent);
}

pid_t inj_agent_tid(const struct inj_agent *agent)
{
	return agent->has_thread ? agent->tid : 0;
}

void inj_agent_stay_awake(struct inj_agent *agent, bool awake)
{
	atomic_store(&agent->awake, awake);
}
