/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_STOP_AGENT_PRIV_H
#define INJ_STOP_AGENT_PRIV_H

#include <sys/types.h>

#include "injector/base/cleanup.h"
#include "injector/base/types.h"

/*
 * A thread that traces for us. A tracee that is not stopped cannot be detached; only the end of
 * its tracer sets it free. So whoever does not stop when asked (vfork, a dead disk) is let go by
 * ending this thread, and the next request gets a new one. The kernel does on that path what it
 * does when we are killed, which must be harmless anyway.
 */
struct inj_agent;

int inj_agent_new(struct inj_agent **ret);
/* Ends the thread, then frees. NULL is fine. */
void inj_agent_free(struct inj_agent *agent);
INJ_DEFINE_GUARD(struct inj_agent *, inj_agent_free, inj_agent_guard)

/*
 * Run `function(argument)` on the agent's thread and return what it returns; starts the thread
 * when there is none. Called on that thread it just runs the function. Negative errno when the
 * thread cannot be started.
 */
int inj_agent_run(struct inj_agent *agent, int (*function)(void *), void *argument);

/*
 * The same, and while it lasts `rescue(rescue_argument)` runs on the caller's thread every ten
 * milliseconds: for what the agent cannot do while it is stuck in the kernel.
 */
int inj_agent_run_watched(struct inj_agent *agent, int (*function)(void *), void *argument,
			  void (*rescue)(void *), void *rescue_argument);

/*
 * End the thread, and with it every ptrace relation. On return nothing is attached any more:
 * stopped threads run on, signals about to be delivered are delivered. Called on that thread,
 * this happens when the function that runs there has returned.
 */
void inj_agent_end(struct inj_agent *agent);

/* Are we on the agent's thread? */
bool inj_agent_is_me(const struct inj_agent *agent);

/* Thread id while a thread exists, else 0: what /proc shows as TracerPid. */
pid_t inj_agent_tid(const struct inj_agent *agent);

/*
 * Is the next request expected within microseconds? Then the agent stays awake for a little
 * while instead of sleeping: a wake-up would lengthen the hold.
 */
void inj_agent_stay_awake(struct inj_agent *agent, bool awake);

#endif
