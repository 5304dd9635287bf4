/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns programs that must not survive the test. Always holds: what the program starts and loses
 * becomes the keeper's child (PR_SET_CHILD_SUBREAPER), so the keeper can end all of it by number
 * before it ends itself; the test's end closes a pipe, which the keeper sees even when the test was
 * killed. Kills nobody who is not its child.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "injector/base/clock.h"
#include "injector/base/io.h"
#include "injector/base/types.h"
#include "tests/real/keeper.h"

#define STOP_NS    UINT64_C(20000000000) /* for an orderly end */
#define LEFT_NS    UINT64_C(5000000000)  /* for what the program started */
#define STOP_MS    40000
#define MAX_GROUPS 32

struct account {
	bool change;
	uid_t uid;
	gid_t gid;
	gid_t groups[MAX_GROUPS];
	int n_groups;
};

struct news {
	int status;
	int n_left;
};

/* Where the keeper finds what it needs, whatever the numbers were before. */
enum keeper_fd {
	FD_LIFE = STDERR_FILENO + 1,
	FD_NEWS,
	FD_KEEP,
	FD_SIGNALS,
	FD_BEYOND,
};

/* --- in the keeper: nothing but async-signal-safe calls --------------------------------------- */

static void take_descriptors(int life, int news, int keep)
{
	int high[] = {life, news, keep};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(high); i++)
		if (high[i] >= 0)
			high[i] = fcntl(high[i], F_DUPFD_CLOEXEC, 100);
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(high); i++)
		if (high[i] < 0 || dup3(high[i], FD_LIFE + (int)i, O_CLOEXEC) < 0)
			close(FD_LIFE + (int)i);
}

static void settle_in(void)
{
	sigset_t child;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	/* A signal for the test's process group, or its terminal, must not end us too early. */
	setsid();
	prctl(PR_SET_NAME, "keeper", 0, 0, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_SETMASK, &child, NULL);

	int signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);

	dup3(signals, FD_SIGNALS, O_CLOEXEC);
	close_range(FD_BEYOND, ~0u, 0);
}

_Noreturn static void become(const struct keeper_order *order, const struct account *account)
{
	int output = open(order->output, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	/* Some daemons signal their process group; the keeper is not to hear that. */
	setpgid(0, 0);
	if (output >= 0 && dup2(output, 1) == 1 && dup2(output, 2) == 2 &&
	    chdir(order->directory) == 0 &&
	    (!account->change ||
	     (setgroups((size_t)account->n_groups, account->groups) == 0 &&
	      setresgid(account->gid, account->gid, account->gid) == 0 &&
	      setresuid(account->uid, account->uid, account->uid) == 0)))
		execv(order->argv[0], (char *const *)order->argv);
	_exit(127);
}

/* Reap what there is. Return: nobody is left. */
static bool reap(pid_t program, struct news *news, bool *ret_ended)
{
	struct signalfd_siginfo info;
	pid_t pid;
	int status;

	while (read(FD_SIGNALS, &info, sizeof(info)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0) {
		if (pid == program) {
			news->status = status;
			*ret_ended = true;
		}
	}
	return pid < 0 && errno == ECHILD;
}

/* Every process that has become our child. */
static int kill_children(void)
{
	INJ_CLOSE int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
	char text[4096] = "";
	ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	int n_killed = 0;
	pid_t pid = 0;

	for (ssize_t i = 0; i < length; i++) {
		if (text[i] >= '0' && text[i] <= '9') {
			pid = pid * 10 + (text[i] - '0');
		} else if (pid > 0) {
			n_killed += kill(pid, SIGKILL) == 0;
			pid = 0;
		}
	}
	return n_killed;
}

static void wait_for_change(bool ended, bool stopping, uint64_t deadline_ns)
{
	/* The end of the test means nothing new any more once it was seen. */
	struct pollfd polled[] = {
		{.fd = FD_SIGNALS, .events = POLLIN},
		{.fd = stopping || ended ? -1 : FD_LIFE, .events = POLLIN},
	};
	int milliseconds = deadline_ns ? (int)(inj_remaining_ns(deadline_ns) / 1000000 + 1) : -1;

	poll(polled, INJ_ARRAY_LENGTH(polled), milliseconds);
}

static bool test_has_ended(void)
{
	struct pollfd polled = {.fd = FD_LIFE, .events = POLLIN};

	return poll(&polled, 1, 0) == 1;
}

/* Until nobody is left. */
static void watch(pid_t program, int stop_signal, struct news *news)
{
	uint64_t deadline_ns = 0;
	bool ended = false;
	bool stopping = false;
	bool counting = false;

	while (!reap(program, news, &ended)) {
		if (ended && !counting) {
			counting = true;
			deadline_ns = inj_now_ns() + LEFT_NS;
		} else if (!ended && !stopping && test_has_ended()) {
			stopping = true;
			deadline_ns = inj_now_ns() + STOP_NS;
			kill(program, stop_signal);
		} else if (deadline_ns && inj_remaining_ns(deadline_ns) == 0) {
			/* Its children become ours as they lose it, and are killed next time. */
			news->n_left += kill_children();
			deadline_ns = inj_now_ns() + 100000000;
		}
		wait_for_change(ended, stopping, deadline_ns);
	}
}

_Noreturn static void keep(const struct keeper_order *order, const struct account *account)
{
	struct news news = {0};
	pid_t program = fork();

	if (program == 0)
		become(order, account);
	if (write(FD_NEWS, &program, sizeof(program)) != sizeof(program) || program < 0)
		_exit(1);
	watch(program, order->stop_signal, &news);
	_exit(write(FD_NEWS, &news, sizeof(news)) == sizeof(news) ? 0 : 1);
}

/* --- in the test ----------------------------------------------------------------------------- */

static void look_up(const char *user, struct account *account)
{
	const struct passwd *entry = user ? getpwnam(user) : NULL;

	if (!user)
		return;
	cr_assert_not_null(entry, "there is no user %s", user);
	account->change = true;
	account->uid = entry->pw_uid;
	account->gid = entry->pw_gid;
	account->n_groups = MAX_GROUPS;
	cr_assert_geq(getgrouplist(user, entry->pw_gid, account->groups, &account->n_groups), 0);
}

struct keeper *keeper_start(const struct keeper_order *order)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));
	struct account account = {0};
	int life[2], news[2];

	look_up(order->user, &account);
	cr_assert(keeper && pipe2(life, O_CLOEXEC) == 0 && pipe2(news, O_CLOEXEC) == 0);
	snprintf(keeper->output, sizeof(keeper->output), "%s", order->output);
	keeper->keeper_pid = fork();
	cr_assert_geq(keeper->keeper_pid, 0, "fork: %s", strerror(errno));
	if (keeper->keeper_pid == 0) {
		take_descriptors(life[0], news[1], order->keep_fd);
		settle_in();
		keep(order, &account);
	}
	close(life[0]);
	close(news[1]);
	keeper->life_fd = life[1];
	keeper->news_fd = news[0];
	cr_assert(read(keeper->news_fd, &keeper->pid, sizeof(pid_t)) == sizeof(pid_t) &&
			  keeper->pid > 0, "no process for %s", order->argv[0]);
	return keeper;
}

bool keeper_await_end(struct keeper *keeper, int milliseconds)
{
	struct pollfd polled = {.fd = keeper->news_fd, .events = POLLIN};
	struct news news;
	int n;

	if (keeper->ended)
		return true;
	do
		n = poll(&polled, 1, milliseconds);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return false;
	cr_assert_eq(read(keeper->news_fd, &news, sizeof(news)), (ssize_t)sizeof(news),
		     "the keeper of %d ended without a word", (int)keeper->pid);
	keeper->ended = true;
	keeper->status = news.status;
	keeper->n_left = news.n_left;
	return true;
}

void keeper_stop(struct keeper *keeper)
{
	inj_close_guard(&keeper->life_fd);
	keeper->life_fd = -1;
	cr_assert(keeper_await_end(keeper, STOP_MS), "process %d does not end: %s",
		  (int)keeper->pid, keeper_output(keeper));
	cr_assert_eq(keeper->n_left, 0, "process %d left others behind: %s", (int)keeper->pid,
		     keeper_output(keeper));
}

void keeper_free(struct keeper *keeper)
{
	if (!keeper)
		return;
	if (!keeper->ended)
		keeper_stop(keeper);
	inj_close_guard(&keeper->life_fd);
	inj_close_guard(&keeper->news_fd);
	while (waitpid(keeper->keeper_pid, NULL, 0) < 0 && errno == EINTR)
		;
	free(keeper);
}

const char *keeper_output(const struct keeper *keeper)
{
	static char text[8192];
	INJ_CLOSE int fd = open(keeper->output, O_RDONLY | O_CLOEXEC);
	size_t length = 0;

	text[0] = '\0';
	if (fd < 0)
		return text;

	off_t size = lseek(fd, 0, SEEK_END);

	lseek(fd, size > (off_t)sizeof(text) - 1 ? size - (off_t)sizeof(text) + 1 : 0, SEEK_SET);
	if (inj_read_full(fd, text, sizeof(text) - 1, &length) == 0)
		text[length] = '\0';
	return text;
}
