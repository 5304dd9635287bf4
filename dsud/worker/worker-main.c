/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the child's life: what it keeps of the daemon, which rights it keeps, the request itself,
 * what it tells. Always holds: no descriptor of the daemon or of another worker stays open, so
 * that an end of the daemon is seen by all; a signal meant for the daemon's process group does not
 * end a worker in the middle of its work; a worker without a daemon ends by its own alarm.
 * Refuses to touch a process that is not the one the caller named.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "dsud/log.h"
#include "dsud/worker/rights.h"
#include "dsud/worker/worker.h"
#include "injector/base/cleanup.h"
#include "injector/base/clock.h"

/* Beyond the time after which the daemon would have killed it. */
#define ALARM_SLACK_SECONDS 5
/* Who waits for longer may have to wait for longer. */
#define TIMEKEEPER_NS (3600ull * 1000000000u)

static int compare_fds(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Close everything but standard streams and the given descriptors. */
static void keep_descriptors(int *fds, size_t n_fds)
{
	unsigned next = STDERR_FILENO + 1;

	qsort(fds, n_fds, sizeof(*fds), compare_fds);
	for (size_t i = 0; i < n_fds; i++) {
		if (fds[i] < (int)next)
			continue;
		if (fds[i] > (int)next)
			close_range(next, (unsigned)fds[i] - 1, 0);
		next = (unsigned)fds[i] + 1;
	}
	close_range(next, ~0u, 0);
}

static void reset_signals(void)
{
	/* Sent to the whole process group or control group; the daemon decides what they mean. */
	static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGTSTP};
	sigset_t blocked;

	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(ignored); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGCHLD);
	sigprocmask(SIG_SETMASK, &blocked, NULL);
}

static int settle_in(const struct dsud_job *job, int channel_fd, int cancel_fd)
{
	int fds[] = {channel_fd, cancel_fd, job->patch_fd, job->journal_fd};

	keep_descriptors(fds, INJ_ARRAY_LENGTH(fds));
	reset_signals();
	prctl(PR_SET_NAME, "dsud-worker", 0, 0, 0);
	alarm((unsigned)((job->timeout_ns + job->grace_ns) / 1000000000u) + ALARM_SLACK_SECONDS);
	return dsud_worker_drop_rights(job);
}

static void on_progress(void *context, const struct upd_progress *progress)
{
	dsud_wire_send_progress(*(int *)context, progress);
}

static void set_text(char **place, const char *text)
{
	char *copy = strdup(text);

	if (copy) {
		free(*place);
		*place = copy;
	}
}

/*
 * Every pid still belongs to the process that was named? Otherwise the report is filled: all or
 * none. Return: true when the job may begin.
 */
static bool subjects_are_same(const struct dsud_job *job, struct upd_report *report)
{
	size_t n_gone = 0;

	for (size_t i = 0; i < job->n_subjects; i++)
		n_gone += !dsud_subject_is_same(&job->subjects[i]);
	if (n_gone == 0 || job->kind == UPD_RECOVER)
		return true;
	for (size_t i = 0; i < job->n_subjects; i++) {
		struct upd_target *target = upd_report_add(report, job->subjects[i].pid);

		if (!target)
			_exit(EXIT_FAILURE);
		bool gone = !dsud_subject_is_same(&job->subjects[i]);

		target->result = gone ? UPD_GONE : UPD_UNCHANGED;
		target->code = gone ? INJ_PROCESS_GONE : INJ_CANCELLED;
		set_text(
			&target->message,
			gone ? "The process went away before anything was done to it."
			     : "Not changed, because another process of the same update went away. "
			       "Name the remaining ones and try again.");
	}
	return false;
}

static int run(const struct dsud_job *job, enum upd_kind kind, const pid_t *pids, size_t n_pids,
	       int *channel_fd, int cancel_fd, struct upd_timekeeper *timekeeper,
	       struct upd_report *report)
{
	bool own = kind == job->kind;
	struct upd_request request = {
		.kind = kind,
		.patch_fd = own ? job->patch_fd : -1,
		.patch_name = job->patch_name,
		.patch_id = job->patch_id,
		.protocol = job->protocol,
		.timeout_ns = job->timeout_ns,
		.hold_budget_ns = job->hold_budget_ns,
		.pids = pids,
		.n_pids = n_pids,
		.journal_fd = own ? job->journal_fd : -1,
		.cancel_fd = cancel_fd,
		.progress = on_progress,
		.context = channel_fd,
		.timekeeper = timekeeper->waits ? timekeeper : NULL,
	};

	memcpy(request.update_id, job->update_id, sizeof(request.update_id));
	return upd_run(&request, report);
}

/* A report beyond its bounds loses its long lists, never its outcome. */
static int send_report(int channel_fd, enum dsud_wire_stream stream, struct upd_report *report)
{
	int r = dsud_wire_send_report(channel_fd, stream, report);

	if (r != -E2BIG)
		return r;
	for (size_t i = 0; i < report->n_targets; i++) {
		struct upd_target *target = &report->targets[i];

		target->n_threads_listed = 0;
		target->n_functions = 0;
		target->n_blockers = target->n_blockers > 16 ? 16 : target->n_blockers;
		target->n_notes = 0;
	}
	return dsud_wire_send_report(channel_fd, stream, report);
}

/*
 * Every process but our own that carries a ledger. Whoever makes very many, or very large ones,
 * shall not keep us from telling what was found until then.
 */
static pid_t *find_patched(uint64_t deadline_ns, size_t *ret_n)
{
	INJ_CLEANUP(inj_dir_guard) DIR *proc = opendir("/proc");
	pid_t *pids = calloc(UPD_REPORT_MAX_TARGETS, sizeof(*pids));
	struct dirent *entry;
	size_t n = 0;

	while (proc && pids && n < UPD_REPORT_MAX_TARGETS && inj_now_ns() < deadline_ns &&
	       (entry = readdir(proc))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (pid > 0 && pid != getpid() && pid != getppid() && upd_is_patched(pid))
			pids[n++] = pid;
	}
	*ret_n = n;
	return pids;
}

static pid_t *list_pids(const struct dsud_job *job, size_t *ret_n)
{
	if (job->scan)
		return find_patched(inj_now_ns() + job->timeout_ns / 2, ret_n);

	pid_t *pids = calloc(job->n_subjects + 1, sizeof(*pids));

	for (size_t i = 0; pids && i < job->n_subjects; i++)
		pids[i] = job->subjects[i].pid;
	*ret_n = job->n_subjects;
	return pids;
}

static int work(const struct dsud_job *job, int channel_fd, int cancel_fd,
		struct upd_timekeeper *timekeeper)
{
	UPD_REPORT_CLEAN struct upd_report report = {0};
	UPD_REPORT_CLEAN struct upd_report ledgers = {0};
	size_t n_pids;
	INJ_FREE pid_t *pids = list_pids(job, &n_pids);
	int r = 0;

	if (!pids)
		return -ENOMEM;
	/* The worker of a daemon that died holds the lock until it has undone its work. */
	if (job->kind == UPD_RECOVER && flock(job->journal_fd, LOCK_EX) < 0)
		return -errno;
	if (!subjects_are_same(job, &report))
		return send_report(channel_fd, DSUD_WIRE_OUTCOME, &report);
	if (n_pids > 0)
		r = run(job, job->kind, pids, n_pids, &channel_fd, cancel_fd, timekeeper, &report);
	if (r < 0)
		return r;
	r = send_report(channel_fd, DSUD_WIRE_OUTCOME, &report);
	if (r < 0 || !job->ledgers_after)
		return r;
	/* The outcome stands; ledgers that cannot be read now are read when somebody asks. */
	if (run(job, UPD_STATUS, pids, n_pids, &channel_fd, -1, timekeeper, &ledgers) == 0)
		send_report(channel_fd, DSUD_WIRE_LEDGERS, &ledgers);
	return 0;
}

/*
 * Calls of targets that were interrupted have to end on time, some of them long after the worker
 * has
 * told all it has to tell: a child of its own stays for them. It holds nothing of the daemon, and
 * who ends it makes these calls end late.
 */
static void keep_time(struct upd_timekeeper *timekeeper, int channel_fd, int cancel_fd,
		      const struct dsud_job *job)
{
	const int others[] = {channel_fd, cancel_fd, job->patch_fd, job->journal_fd};

	if (!timekeeper->waits || !upd_timekeeper_is_needed(timekeeper) || fork() != 0)
		return;
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(others); i++)
		if (others[i] >= 0)
			close(others[i]);
	/* Whoever reads what the daemon says must not wait for us. */
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(nothing, fd);
	signal(SIGTERM, SIG_DFL);
	prctl(PR_SET_NAME, "dsud-timekeeper", 0, 0, 0);
	upd_timekeeper_stay(timekeeper, TIMEKEEPER_NS);
	_exit(EXIT_SUCCESS);
}

_Noreturn void dsud_worker_main(const struct dsud_job *job, int channel_fd, int cancel_fd)
{
	struct upd_timekeeper timekeeper = {0};
	int r = settle_in(job, channel_fd, cancel_fd);

	upd_timekeeper_init(&timekeeper);
	if (r == 0)
		r = work(job, channel_fd, cancel_fd, &timekeeper);
	else
		dsud_log_errno(LOG_ERR, r, "a worker cannot give up its privileges");
	keep_time(&timekeeper, channel_fd, cancel_fd, job);
	dsud_wire_send_done(channel_fd, r < -4095 ? -EIO : r);
	_exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
