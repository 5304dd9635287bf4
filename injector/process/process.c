/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns a process as an object that cannot turn into another one. Always holds: proc_fd was
 * opened before pidfd, and the process behind proc_fd was still there afterwards, with the same
 * start time; so the number had not been recycled in between and both mean one process. Files
 * below proc_fd fail once it is reaped, whoever has the number by then. Refuses what
 * support.c refuses.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "injector/base/io.h"
#include "injector/process/support-priv.h"

#define STATUS_MAX_BYTES 65536
#define LOOKS 20

int inj_process_openat(const struct inj_process *process, const char *name, int flags)
{
	int fd;

	if (process->door)
		return process->door->open(process->door->context, name);
	fd = openat(process->proc_fd, name, flags | O_CLOEXEC);

	if (fd >= 0)
		return fd;

	int error = errno;

	/* A process that is gone has not even a stat file: then nothing about the name is wrong. */
	if (error == ENOENT && faccessat(process->proc_fd, "stat", F_OK, 0) < 0)
		return -ESRCH;
	return -error;
}

int inj_process_read_file(const struct inj_process *process, const char *name, size_t max_bytes,
			  char **ret_text, size_t *ret_length)
{
	INJ_CLOSE int fd = -1;

	if (process->door)
		return process->door->read(process->door->context, name, max_bytes, ret_text,
					   ret_length);
	fd = inj_process_openat(process, name, O_RDONLY);
	return fd < 0 ? fd : inj_read_whole(fd, max_bytes, ret_text, ret_length);
}

void inj_process_close(struct inj_process *process)
{
	if (!process)
		return;
	inj_close_guard(&process->pidfd);
	inj_close_guard(&process->proc_fd);
	free(process);
}

static int refuse_missing(pid_t pid, struct inj_why *why)
{
	int r = inj_refuse(why, INJ_NO_SUCH_PROCESS,
			   "there is no process %d; see `ps -e` for those that run", (int)pid);

	if (why)
		why->pid = pid;
	return r;
}

/* One place that tells "it went away" from "the world broke". */
static int failed(pid_t pid, int negative_errno, const char *what, struct inj_why *why)
{
	if (negative_errno == -ESRCH || negative_errno == -ENOENT)
		return refuse_missing(pid, why);

	int r = inj_broke(why, negative_errno, "cannot %s process %d", what, (int)pid);

	if (why)
		why->pid = pid;
	return r;
}

static int open_proc_fd(pid_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);

	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int read_exe(struct inj_process *process)
{
	ssize_t n = readlinkat(process->proc_fd, "exe", process->exe, sizeof(process->exe) - 1);

	/* Kernel threads and zombies have none; whether that is a refusal is not decided here. */
	if (n < 0 && errno != ENOENT && errno != ESRCH)
		return -errno;
	process->exe[n < 0 ? 0 : n] = '\0';
	inj_printable(process->exe);
	return 0;
}

/* Everything that is asked of /proc, in one go, before the identity is confirmed. */
static int read_facts(struct inj_process *process, struct inj_stat *ret_stat,
		      struct inj_status *ret_status)
{
	INJ_FREE char *text = NULL;
	int r = inj_stat_read(process, ret_stat);

	if (r == 0)
		r = inj_process_read_file(process, "status", STATUS_MAX_BYTES, &text, NULL);
	if (r == 0)
		r = inj_status_parse(text, ret_status, &process->ns_pid);
	if (r == 0)
		r = read_exe(process);
	if (r < 0)
		return r;
	process->start_ticks = ret_stat->start_ticks;
	memcpy(process->comm, ret_status->comm, sizeof(process->comm));
	return 0;
}

static int pin(struct inj_process *process)
{
	struct inj_stat again;
	int fd = (int)syscall(SYS_pidfd_open, process->pid, 0);

	if (fd < 0)
		return -errno;
	process->pidfd = fd;

	int r = inj_stat_read(process, &again);

	if (r < 0)
		return r;
	return again.start_ticks == process->start_ticks ? 0 : -ESRCH;
}

/* In an execve of another thread the main thread waits to be replaced. */
static bool is_changing(const struct inj_stat *stat)
{
	return stat->state == 'Z' && stat->n_threads > 1;
}

/*
 * What is over in microseconds is waited for: an execve, and tracers that stay for a moment, ours
 * that end a call in time among them. A debugger is still there afterwards.
 */
static int await_settled(struct inj_process *process, struct inj_stat *stat,
			 struct inj_status *status)
{
	const struct timespec pause = {0, 1000000};
	int r = read_facts(process, stat, status);

	for (unsigned i = 0; r == 0 && i < LOOKS && (status->tracer_pid != 0 || is_changing(stat));
	     i++) {
		nanosleep(&pause, NULL);
		r = read_facts(process, stat, status);
	}
	return r;
}

static int find(pid_t pid, struct inj_process **ret, struct inj_stat *ret_stat,
		struct inj_status *ret_status, struct inj_why *why)
{
	INJ_CLEANUP(inj_process_guard) struct inj_process *process = NULL;

	if (pid <= 0)
		return refuse_missing(pid, why);
	process = calloc(1, sizeof(*process));
	if (!process)
		return failed(pid, -ENOMEM, "remember", why);
	process->pid = pid;
	process->pidfd = -1;
	process->proc_fd = open_proc_fd(pid);
	if (process->proc_fd < 0)
		return failed(pid, process->proc_fd, "open /proc of", why);

	int r = await_settled(process, ret_stat, ret_status);

	if (r < 0)
		return failed(pid, r, "read /proc of", why);
	if (ret_status->tgid != pid) {
		r = inj_refuse(why, INJ_NO_SUCH_PROCESS,
			       "%d is a thread (%s) of process %d, not a process; name %d instead",
			       (int)pid, process->comm, (int)ret_status->tgid,
			       (int)ret_status->tgid);
		if (why)
			why->pid = ret_status->tgid;
		return r;
	}
	r = pin(process);
	if (r < 0)
		return failed(pid, r, "pin", why);
	*ret = INJ_TAKE(process);
	return 0;
}

int inj_process_look(pid_t pid, struct inj_process **ret, struct inj_why *why)
{
	struct inj_stat stat;
	struct inj_status status;

	return find(pid, ret, &stat, &status, why);
}

int inj_process_open(pid_t pid, struct inj_process **ret, struct inj_why *why)
{
	INJ_CLEANUP(inj_process_guard) struct inj_process *process = NULL;
	struct inj_stat stat;
	struct inj_status status;
	int r = find(pid, &process, &stat, &status, why);

	if (r != 0)
		return r;
	r = inj_support_check(process, &stat, &status, why);
	if (r != 0)
		return r;
	*ret = INJ_TAKE(process);
	return 0;
}

static bool has_exited(const struct inj_process *process)
{
	struct pollfd poller = {.fd = process->pidfd, .events = POLLIN};
	int n;

	do
		n = poll(&poller, 1, 0);
	while (n < 0 && errno == EINTR);
	return n > 0;
}

int inj_process_check(const struct inj_process *process, struct inj_why *why)
{
	struct inj_stat stat;
	int r = has_exited(process) ? -ESRCH : inj_stat_read(process, &stat);

	if (r < 0 && r != -ESRCH && r != -ENOENT)
		return failed(process->pid, r, "read the state of", why);
	/* A main thread that ended takes the way into the memory with it, though others go on. */
	if (r == 0 && stat.start_ticks == process->start_ticks && stat.state != 'Z' &&
	    stat.state != 'X')
		return 0;
	r = inj_refuse(why, INJ_PROCESS_GONE,
		       "process %d (%s) went away; nothing is left to change", (int)process->pid,
		       process->comm);
	if (why)
		why->pid = process->pid;
	return r;
}
