/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the wait for stops and what is done to a thread at its stop. Always holds: a thread
 * counts as stopped when its registers have been read, and by then a call that would report
 * EINTR because of us has been set to be repeated, so that our death changes nothing any more.
 * Refuses a process that runs another program by now; gives up, with the name of the thread,
 * when the time is over.
 */
#include <errno.h>

#include "injector/base/clock.h"
#include "injector/process/mem.h"
#include "injector/stop/hold-priv.h"
#include "injector/stop/repair-priv.h"

/* Waits for one thread after which the others are looked at, too: about two milliseconds. */
#define WAITS_PER_SURVEY 16

int inj_hold_out_of_time(struct hold_attempt *attempt, const struct inj_hold *hold, pid_t tid)
{
	if (inj_now_ns() < attempt->limit_ns)
		return 0;
	attempt->blocked_hold = hold;
	attempt->blocked_tid = tid;
	return -ETIMEDOUT;
}

int inj_hold_refuse_replaced(const struct inj_hold *hold, struct inj_why *why)
{
	int r = inj_refuse(why, INJ_PROCESS_GONE,
			   "process %d (%s) started another program with execve while it was "
			   "being stopped; look at it again",
			   (int)hold->process->pid, hold->process->comm);

	if (why)
		why->pid = hold->process->pid;
	return r;
}

/* Was the interrupted call made by a `syscall` instruction? Threads often share one place. */
static bool made_by_syscall(struct inj_hold *hold, inj_addr rip)
{
	struct hold_notes *notes = hold_notes(hold);
	uint8_t bytes[INJ_SYSCALL_BYTES];

	if (notes->checked_syscall == rip)
		return true;
	if (rip < INJ_SYSCALL_BYTES ||
	    inj_mem_read(hold->process, rip - INJ_SYSCALL_BYTES, bytes, sizeof(bytes)) < 0 ||
	    !inj_repair_is_syscall(bytes))
		return false;
	notes->checked_syscall = rip;
	return true;
}

static int repair_thread(struct inj_hold *hold, size_t index)
{
	const struct inj_thread *thread = &hold->threads[index];
	struct user_regs_struct regs = thread->regs;

	if (!inj_repair_applies(&regs) || !made_by_syscall(hold, regs.rip))
		return 0;
	inj_repair(&regs);

	int r = inj_pt_set_regs(thread->tid, &regs);

	hold_note(hold, index)->repaired = r == 0;
	return r;
}

/* The stop is there: read the registers. -ESRCH: it is being killed, its end is to follow. */
static int take_stopped(struct inj_hold *hold, size_t index, struct inj_stop stop)
{
	struct inj_thread *thread = &hold->threads[index];
	struct thread_note *note = hold_note(hold, index);
	int r = inj_pt_get_regs(thread->tid, &thread->regs);

	if (r < 0)
		return r;
	thread->in_syscall = inj_regs_in_syscall(&thread->regs);
	r = repair_thread(hold, index);
	if (r < 0)
		return r;
	inj_wait_confirm(note->wait, &thread->regs);
	note->stop = stop;
	note->state = THREAD_STOPPED;
	return 0;
}

/*
 * A child that clone made with us attached. A thread of the process is waited for with the
 * others. A child that only shares the memory is none of our business: it is let go as soon as
 * it stops, which is before its first instruction.
 */
static int meet_child(struct hold_attempt *attempt, struct inj_hold *hold, pid_t parent)
{
	unsigned long message = 0;
	int r = inj_pt_get_message(parent, &message);
	pid_t child = (pid_t)message;
	struct inj_stop stop;

	if (r < 0 || child <= 0)
		return 0;
	if (inj_pt_belongs(hold->process->pid, child)) {
		r = inj_hold_add(hold, child);
		return r == -EEXIST ? 0 : r;
	}
	r = inj_pt_wait(child, attempt->limit_ns, &stop);
	if (r == -ETIMEDOUT)
		return inj_hold_out_of_time(attempt, hold, child);
	if (r == 0 && stop.kind == INJ_STOP_ENDED)
		inj_pt_reap(child);
	else if (r == 0)
		inj_pt_detach(child, stop.kind == INJ_STOP_SIGNAL ? stop.signal : 0);
	return 0;
}

/*
 * A thread ended: take the report, so that its process can go on without it. Not the main
 * thread's, which is the end of the process and belongs to the parent; the kernel hands it over
 * when the tracer ends.
 */
static void bury(struct hold_attempt *attempt, struct inj_hold *hold, size_t index)
{
	if (hold->threads[index].tid == hold->process->pid)
		attempt->unclean = true;
	else
		inj_pt_reap(hold->threads[index].tid);
	hold_note(hold, index)->state = THREAD_GONE;
}

/* A zombie that is not reported while other threads live? */
static bool is_dead_leader(const struct inj_hold *hold, size_t index)
{
	struct inj_status status;

	return hold->threads[index].tid == hold->process->pid &&
	       inj_status_read(hold->process, hold->process->pid, &status) == 0 &&
	       status.state == 'Z';
}

/* Return: 0; INJ_PROCESS_GONE when another program runs. */
static int survey_thread(struct hold_attempt *attempt, struct inj_hold *hold, size_t index)
{
	struct thread_note *note = hold_note(hold, index);
	struct inj_stop stop;
	int r = inj_pt_peek(hold->threads[index].tid, &stop);

	if (r < 0) {
		note->state = THREAD_GONE;
		/* The id of the main thread never vanishes; but an execve gives it away. */
		return hold->threads[index].tid == hold->process->pid
			       ? inj_hold_refuse_replaced(hold, attempt->why)
			       : 0;
	}
	if (stop.kind == INJ_STOP_EXEC)
		return inj_hold_refuse_replaced(hold, attempt->why);
	if (stop.kind == INJ_STOP_ENDED) {
		bury(attempt, hold, index);
	} else if (stop.kind == INJ_STOP_NONE && is_dead_leader(hold, index)) {
		note->state = THREAD_GONE;
		hold_notes(hold)->dead_leader = true;
		attempt->unclean = true;
	} else if (stop.kind == INJ_STOP_NONE) {
		/* Stopped no more: killed, its end is to follow. */
		note->state = THREAD_WAITING;
	}
	return 0;
}

/*
 * Threads that were stopped may end all the same: killed, or swept away by an execve of one that
 * still runs, and that cannot go on before they are reaped.
 */
int inj_hold_survey(struct hold_attempt *attempt, struct inj_hold *hold)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < hold->n_threads; i++)
		if (hold_note(hold, i)->state != THREAD_GONE)
			r = survey_thread(attempt, hold, i);
	return r;
}

static int await_report(struct hold_attempt *attempt, struct inj_hold *hold, size_t index,
			struct inj_stop *ret)
{
	pid_t tid = hold->threads[index].tid;
	int r = inj_pt_peek(tid, ret);

	for (unsigned n = 0; r == 0 && ret->kind == INJ_STOP_NONE; n++) {
		r = inj_hold_out_of_time(attempt, hold, tid);
		if (r < 0)
			return r;
		inj_pt_pause(n, attempt->limit_ns);
		if (n % WAITS_PER_SURVEY == WAITS_PER_SURVEY - 1)
			r = inj_hold_survey(attempt, hold);
		if (r != 0)
			return r;
		if (hold_note(hold, index)->state == THREAD_GONE)
			return -ECHILD;
		r = inj_pt_peek(tid, ret);
	}
	return r;
}

/* One report of a thread that is waited for. */
static int collect_report(struct hold_attempt *attempt, struct inj_hold *hold, size_t index)
{
	pid_t tid = hold->threads[index].tid;
	struct inj_stop stop = {INJ_STOP_NONE, 0};
	int r = await_report(attempt, hold, index, &stop);

	if (r == -ECHILD)
		return survey_thread(attempt, hold, index);
	if (r != 0)
		return r;
	switch (stop.kind) {
	case INJ_STOP_ENDED:
		bury(attempt, hold, index);
		return 0;
	case INJ_STOP_EXEC:
		return inj_hold_refuse_replaced(hold, attempt->why);
	case INJ_STOP_CLONE:
		r = take_stopped(hold, index, stop);
		/* The list may move: the index means nothing after this. */
		if (r == 0)
			r = meet_child(attempt, hold, tid);
		break;
	default:
		r = take_stopped(hold, index, stop);
	}
	/* Being killed: it ends, which is the next report. */
	if (r == -ESRCH)
		return inj_hold_out_of_time(attempt, hold, tid);
	return r;
}

bool inj_hold_meet(struct hold_attempt *attempt, struct inj_hold *hold, size_t index)
{
	struct inj_stop stop = {INJ_STOP_NONE, 0};

	if (inj_pt_peek(hold->threads[index].tid, &stop) < 0)
		hold_note(hold, index)->state = THREAD_GONE;
	else if (stop.kind == INJ_STOP_ENDED)
		bury(attempt, hold, index);
	else if (stop.kind != INJ_STOP_NONE)
		/* Being killed: its end is the next report. */
		take_stopped(hold, index, stop);
	return hold_note(hold, index)->state == THREAD_STOPPED;
}

bool inj_thread_is_on_its_way(const struct inj_process *process, pid_t tid)
{
	struct inj_status status;

	return inj_status_read(process, tid, &status) == 0 && status.state != 'D';
}

static size_t find_waiting(const struct inj_hold *hold, size_t from)
{
	while (from < hold->n_threads && hold_note(hold, from)->state != THREAD_WAITING)
		from++;
	return from;
}

int inj_hold_collect(struct hold_attempt *attempt, struct inj_hold *hold)
{
	size_t at = find_waiting(hold, 0);

	while (at < hold->n_threads) {
		size_t n_before = hold->n_threads;
		int r = collect_report(attempt, hold, at);

		if (r != 0)
			return r;
		/* A child may have been put in front of us. */
		at = find_waiting(hold, hold->n_threads == n_before ? at : 0);
	}
	return 0;
}
