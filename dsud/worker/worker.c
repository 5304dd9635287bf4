/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the daemon's end of one worker: its process, its channel, its deadline. The loop never
 * waits for it. Always holds: `finished` is called once, after the child was reaped and its last
 * record was read; a worker that lies or that outlives deadline plus grace is killed.
 * If the daemon dies, the cancel channel closes and the worker undoes and ends by itself.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "dsud/log.h"
#include "dsud/worker/worker.h"
#include "injector/base/cleanup.h"

/* Records read before the loop may look at others again. */
#define RECORDS_PER_TURN 32

struct dsud_worker {
	pid_t pid;
	uint64_t grace_ns;
	int channel_fd;
	int cancel_fd;
	bool cancelled;
	bool unlawful; /* said something that is not a record */
	bool overdue;
	sd_event_source *child_source;
	sd_event_source *channel_source;
	sd_event_source *deadline_source;
	struct dsud_wire_reader reader;
	const struct dsud_worker_events *events;
	void *context;
};

static void kill_worker(struct dsud_worker *worker)
{
	if (worker->child_source)
		sd_event_source_send_child_signal(worker->child_source, SIGKILL, NULL, 0);
}

/* Return: 1 a record was taken in, 0 nothing there now, -EPIPE nothing will come any more. */
static int read_record(struct dsud_worker *worker)
{
	static char buffer[DSUD_WIRE_RECORD_BYTES];
	enum dsud_wire_event event;
	ssize_t n = recv(worker->channel_fd, buffer, sizeof(buffer), MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
	if (n == 0)
		return -EPIPE;
	if (worker->unlawful)
		return 1;
	if (n > (ssize_t)sizeof(buffer) ||
	    dsud_wire_read(&worker->reader, buffer, (size_t)n, &event) < 0) {
		worker->unlawful = true;
		dsud_log(LOG_ERR, "worker %d says what is no record; it is killed",
			 (int)worker->pid);
		kill_worker(worker);
		return 1;
	}
	if (event == DSUD_WIRE_PROGRESS && worker->events->progress)
		worker->events->progress(worker->context, &worker->reader.progress);
	return 1;
}

static int on_channel(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct dsud_worker *worker = userdata;
	int r = 1;

	for (int i = 0; i < RECORDS_PER_TURN && r > 0; i++)
		r = read_record(worker);
	/* The end of the channel is not the end of the worker: that is for on_child() to tell. */
	if (r < 0)
		sd_event_source_set_enabled(source, SD_EVENT_OFF);
	return 0;
}

static int on_child(sd_event_source *source, const siginfo_t *info, void *userdata)
{
	struct dsud_worker *worker = userdata;
	bool exited = info->si_code == CLD_EXITED;

	while (read_record(worker) > 0)
		;
	struct dsud_worker_end end = {
		.complete = exited && worker->reader.done && !worker->unlawful,
		.overdue = worker->overdue,
		.signal = exited ? 0 : info->si_status,
	};

	worker->child_source = sd_event_source_disable_unref(worker->child_source);
	worker->deadline_source = sd_event_source_disable_unref(worker->deadline_source);
	worker->events->finished(worker->context, &worker->reader, &end);
	return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct dsud_worker *worker = userdata;

	worker->overdue = true;
	dsud_log(LOG_ERR, "worker %d did not end in time; it is killed", (int)worker->pid);
	kill_worker(worker);
	return 0;
}

static int watch(sd_event *event, struct dsud_worker *worker, const struct dsud_job *job)
{
	uint64_t limit_usec = (job->timeout_ns + job->grace_ns) / 1000;
	int r;

	r = sd_event_add_child(event, &worker->child_source, worker->pid, WEXITED, on_child,
			       worker);
	if (r < 0)
		return r;
	/* The last records of a worker come before its end. */
	r = sd_event_source_set_priority(worker->child_source, SD_EVENT_PRIORITY_NORMAL + 10);
	if (r < 0)
		return r;
	r = sd_event_add_io(event, &worker->channel_source, worker->channel_fd, EPOLLIN, on_channel,
			    worker);
	if (r < 0)
		return r;
	return sd_event_add_time_relative(event, &worker->deadline_source, CLOCK_MONOTONIC,
					  limit_usec, 100000, on_deadline, worker);
}

static int fork_worker(struct dsud_worker *worker, const struct dsud_job *job)
{
	INJ_CLOSE int channel_theirs = -1;
	INJ_CLOSE int cancel_theirs = -1;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	worker->channel_fd = pair[0];
	channel_theirs = pair[1];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	worker->cancel_fd = pair[0];
	cancel_theirs = pair[1];

	worker->pid = fork();
	if (worker->pid < 0)
		return -errno;
	if (worker->pid == 0)
		dsud_worker_main(job, channel_theirs, cancel_theirs);
	return 0;
}

int dsud_worker_start(sd_event *event, const struct dsud_job *job,
		      const struct dsud_worker_events *events, void *context,
		      struct dsud_worker **ret)
{
	struct dsud_worker *worker = malloc(sizeof(*worker));

	if (!worker)
		return -ENOMEM;
	*worker = (struct dsud_worker){
		.channel_fd = -1,
		.cancel_fd = -1,
		.grace_ns = job->grace_ns,
		.events = events,
		.context = context,
	};

	int r = fork_worker(worker, job);

	if (r < 0) {
		dsud_worker_free(worker);
		return r;
	}
	r = watch(event, worker, job);
	if (r < 0) {
		/* Nobody would hear from it: it may not begin. */
		kill(worker->pid, SIGKILL);
		waitpid(worker->pid, NULL, 0);
		dsud_worker_free(worker);
		return r;
	}
	*ret = worker;
	return 0;
}

void dsud_worker_cancel(struct dsud_worker *worker)
{
	if (worker->cancelled)
		return;
	worker->cancelled = true;
	shutdown(worker->cancel_fd, SHUT_WR);
	if (worker->deadline_source)
		sd_event_source_set_time_relative(worker->deadline_source,
						  worker->grace_ns / 1000);
}

void dsud_worker_free(struct dsud_worker *worker)
{
	if (!worker)
		return;
	sd_event_source_disable_unref(worker->child_source);
	sd_event_source_disable_unref(worker->channel_source);
	sd_event_source_disable_unref(worker->deadline_source);
	if (worker->channel_fd >= 0)
		close(worker->channel_fd);
	if (worker->cancel_fd >= 0)
		close(worker->cancel_fd);
	dsud_wire_reader_deinit(&worker->reader);
	free(worker);
}

pid_t dsud_worker_pid(const struct dsud_worker *worker)
{
	return worker->pid;
}
