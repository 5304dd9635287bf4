/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the question whether a held process is stopped by signals. Always holds: the answer is the
 * kernel's of this very moment. A thread in a ptrace stop shows what was true when it stopped, and
 * a SIGCONT since then has changed it; made to listen and interrupted again it stops anew, without
 * an instruction or a signal in between.
 */
#include <signal.h>

#include "injector/base/clock.h"
#include "injector/stop/agent-priv.h"
#include "injector/stop/hold-priv.h"
#include "injector/stop/tracer-priv.h"

#define ANSWER_NS 100000000u

static bool is_job_signal(int number)
{
	return number == SIGSTOP || number == SIGTSTP || number == SIGTTIN || number == SIGTTOU ||
	       number == SIGCONT;
}

/* Return: 0, and the stop of the thread is that of now. */
static int stop_anew(struct inj_hold *hold, size_t index)
{
	pid_t tid = hold->threads[index].tid;
	int r = inj_pt_listen(tid);

	if (r == 0)
		r = inj_pt_interrupt(tid);
	return r == 0 ? inj_pt_wait(tid, inj_now_ns() + ANSWER_NS, &hold_note(hold, index)->stop)
		      : r;
}

struct question {
	struct inj_hold *hold;
	enum inj_job job;
};

/* Runs on the agent. */
static int ask(void *argument)
{
	struct question *question = argument;
	struct inj_hold *hold = question->hold;

	question->job = INJ_JOB_RUNS;
	for (size_t i = 0; i < hold->n_threads; i++) {
		struct inj_stop *stop = &hold_note(hold, i)->stop;

		if (stop->kind == INJ_STOP_GROUP && stop_anew(hold, i) < 0)
			question->job = INJ_JOB_CHANGING;
		if (stop->kind == INJ_STOP_GROUP) {
			/* One is enough: all stop, or none does. */
			question->job = INJ_JOB_STOPPED;
			return 0;
		}
		if (stop->kind == INJ_STOP_SIGNAL && is_job_signal(stop->signal))
			question->job = INJ_JOB_CHANGING;
	}
	return 0;
}

enum inj_job inj_tracer_job(struct inj_tracer *tracer, const struct inj_hold *hold)
{
	struct question question = {inj_tracer_own_hold(tracer, hold), INJ_JOB_CHANGING};

	if (question.hold)
		inj_agent_run(inj_tracer_agent(tracer), ask, &question);
	return question.job;
}
