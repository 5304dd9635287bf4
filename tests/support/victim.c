/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the programs that tests start: pipes, lines, deadlines, and their end. Always holds: a
 * victim leads a process group of its own and is known to the list below until it is reaped; the
 * list is emptied when the test process ends in an orderly way, and PR_SET_PDEATHSIG takes the
 * victim along when it does not. Waits with poll(2), never sleeps.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "injector/base/clock.h"
#include "injector/base/io.h"
#include "tests/support/victim.h"

#define MAX_VICTIMS   256
#define MAX_ARGUMENTS 16
/* How long a victim that closed its output may take to end, so that the test can say how. */
#define CLOSED_GRACE_MS 2000

/* Owner is the process that started them: a forked child must not kill its parent's. */
static struct {
	pid_t owner;
	struct victim *items[MAX_VICTIMS];
} alive;

static void remember(struct victim *victim)
{
	if (alive.owner != getpid())
		memset(&alive, 0, sizeof(alive));
	alive.owner = getpid();
	for (size_t i = 0; i < MAX_VICTIMS; i++) {
		if (!alive.items[i]) {
			alive.items[i] = victim;
			return;
		}
	}
	cr_assert_fail("more than %d victims in one test", MAX_VICTIMS);
}

static void forget(const struct victim *victim)
{
	for (size_t i = 0; i < MAX_VICTIMS; i++)
		if (alive.items[i] == victim)
			alive.items[i] = NULL;
}

static void end(struct victim *victim)
{
	if (victim->reaped)
		return;
	/* The leader is not reaped yet, so neither number can belong to anybody else. */
	kill(-victim->pid, SIGKILL);
	kill(victim->pid, SIGKILL);
	while (waitpid(victim->pid, &victim->status, __WALL) < 0 && errno == EINTR)
		;
	victim->reaped = true;
}

__attribute__((destructor)) static void end_all(void)
{
	for (size_t i = 0; alive.owner == getpid() && i < MAX_VICTIMS; i++)
		if (alive.items[i])
			end(alive.items[i]);
}

static const char *path_below(const char *variable, const char *name)
{
	static char path[PATH_MAX];
	const char *root = getenv(variable);

	cr_assert_not_null(root, "%s is not set: run the tests with `meson test`", variable);
	snprintf(path, sizeof(path), "%s/%s", root, name);
	return path;
}

const char *build_path(const char *name)
{
	return path_below("DSU_BUILD_ROOT", name);
}

const char *source_path(const char *name)
{
	return path_below("DSU_SOURCE_ROOT", name);
}

/* In the child: nothing but async-signal-safe calls. */
_Noreturn static void become(char *const argv[], int in, int out, pid_t parent)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* 0: the parent is outside of our pid namespace. */
	if ((getppid() == parent || getppid() == 0) && dup2(in, 0) == 0 && dup2(out, 1) == 1)
		execv(argv[0], argv);
	_exit(127);
}

struct victim *victim_spawn(char *const argv[])
{
	int to[2], from[2];
	struct victim *victim = calloc(1, sizeof(*victim));
	pid_t parent = getpid();
	const char *slash = strrchr(argv[0], '/');

	cr_assert(victim && pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0,
		  "no memory or descriptors for a victim");
	cr_assert_eq(access(argv[0], X_OK), 0, "%s: %s", argv[0], strerror(errno));
	snprintf(victim->name, sizeof(victim->name), "%s", slash ? slash + 1 : argv[0]);
	victim->pid = fork();
	cr_assert_geq(victim->pid, 0, "fork: %s", strerror(errno));
	if (victim->pid == 0)
		become(argv, to[0], from[1], parent);
	/* Both sides do it, so that the group exists before anybody relies on it. */
	setpgid(victim->pid, victim->pid);
	close(to[0]);
	close(from[1]);
	victim->to = to[1];
	victim->from = from[0];
	remember(victim);
	return victim;
}

struct victim *victim_start(const char *name, ...)
{
	char path[PATH_MAX];
	char *argv[MAX_ARGUMENTS + 2] = {path};
	va_list arguments;
	size_t n = 1;

	snprintf(path, sizeof(path), "%s/%s", build_path("tests/victims"), name);
	va_start(arguments, name);
	while (n <= MAX_ARGUMENTS && (argv[n] = va_arg(arguments, char *)))
		n++;
	va_end(arguments);
	cr_assert(n <= MAX_ARGUMENTS, "too many arguments for %s", name);
	if (access(path, X_OK) != 0)
		cr_skip_test("victim %s was not built; the log of `meson setup` says why", name);

	struct victim *victim = victim_spawn(argv);
	const char *greeting = victim_hear(victim);

	cr_assert_str_eq(greeting, "ready", "%s says \"%s\" instead of ready", name, greeting);
	return victim;
}

void victim_free(struct victim *victim)
{
	if (!victim)
		return;
	end(victim);
	forget(victim);
	inj_close_guard(&victim->to);
	inj_close_guard(&victim->from);
	free(victim);
}

bool victim_ended(struct victim *victim)
{
	if (!victim->reaped)
		victim->reaped =
			waitpid(victim->pid, &victim->status, WNOHANG | __WALL) == victim->pid;
	return victim->reaped;
}

static const char *how_it_ended(struct victim *victim, char *text, size_t size)
{
	if (!victim_ended(victim))
		snprintf(text, size, "it still runs");
	else if (WIFSIGNALED(victim->status))
		snprintf(text, size, "killed by signal %d (%s)", WTERMSIG(victim->status),
			 strsignal(WTERMSIG(victim->status)));
	else
		snprintf(text, size, "exit status %d", WEXITSTATUS(victim->status));
	return text;
}

void victim_tell(struct victim *victim, const char *line)
{
	char text[sizeof(victim->line)];
	int length = snprintf(text, sizeof(text), "%s\n", line);
	struct sigaction ignore = {.sa_handler = SIG_IGN}, before;

	cr_assert(length > 0 && (size_t)length < sizeof(text), "line too long");
	/* A victim that died must fail the test with words, not kill it by SIGPIPE. */
	sigaction(SIGPIPE, &ignore, &before);

	int r = inj_write_full(victim->to, text, (size_t)length);

	sigaction(SIGPIPE, &before, NULL);
	cr_assert_eq(r, 0, "%s (pid %d) does not take \"%s\": %s; %s", victim->name, victim->pid,
		     line, strerror(-r), how_it_ended(victim, text, sizeof(text)));
}

/* Move one complete line from pending to line. */
static bool take_line(struct victim *victim)
{
	char *end = memchr(victim->pending, '\n', victim->n_pending);

	if (!end)
		return false;

	size_t length = (size_t)(end - victim->pending);

	memcpy(victim->line, victim->pending, length);
	victim->line[length] = '\0';
	victim->n_pending -= length + 1;
	memmove(victim->pending, end + 1, victim->n_pending);
	return true;
}

static bool wait_readable(int fd, uint64_t deadline_ns)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};
	int n;

	do
		n = poll(&poller, 1, (int)(inj_remaining_ns(deadline_ns) / 1000000 + 1));
	while (n < 0 && errno == EINTR);
	return n > 0;
}

/* Wait for its end without reaping. Return: it has ended. */
static bool await_end(const struct victim *victim, unsigned milliseconds)
{
	INJ_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, victim->pid, 0);

	cr_assert_geq(pidfd, 0, "pidfd_open of %s: %s", victim->name, strerror(errno));
	return wait_readable(pidfd, inj_now_ns() + milliseconds * UINT64_C(1000000));
}

const char *victim_hear(struct victim *victim)
{
	uint64_t deadline_ns = inj_now_ns() + VICTIM_DEADLINE_MS * UINT64_C(1000000);
	char how[128];

	while (!take_line(victim)) {
		size_t room = sizeof(victim->pending) - victim->n_pending;

		cr_assert(room > 0, "%s prints a line that never ends", victim->name);
		cr_assert(wait_readable(victim->from, deadline_ns),
			  "%s (pid %d) has not answered within %d s", victim->name, victim->pid,
			  VICTIM_DEADLINE_MS / 1000);

		ssize_t n = read(victim->from, victim->pending + victim->n_pending, room);

		if (n < 0 && errno == EINTR)
			continue;
		/* The pipe closes a moment before the process can be reaped. */
		if (n <= 0)
			await_end(victim, CLOSED_GRACE_MS);
		cr_assert(n > 0, "%s (pid %d) closed its output: %s", victim->name, victim->pid,
			  how_it_ended(victim, how, sizeof(how)));
		victim->n_pending += (size_t)n;
	}
	return victim->line;
}

const char *victim_ask(struct victim *victim, const char *line)
{
	victim_tell(victim, line);
	return victim_hear(victim);
}

void victim_expect(struct victim *victim, const char *line, const char *answer)
{
	const char *heard = victim_ask(victim, line);

	cr_assert_str_eq(heard, answer, "%s answers \"%s\" to \"%s\", expected \"%s\"",
			 victim->name, heard, line, answer);
}

long long victim_ask_number(struct victim *victim, const char *line)
{
	const char *heard = victim_ask(victim, line);
	char *end = NULL;
	long long number = strtoll(heard, &end, 0);

	cr_assert(end != heard && *end == '\0', "%s answers \"%s\" to \"%s\", not a number",
		  victim->name, heard, line);
	return number;
}

long long victim_expect_above(struct victim *victim, const char *line, long long than)
{
	uint64_t deadline_ns = inj_now_ns() + VICTIM_DEADLINE_MS * UINT64_C(1000000);
	long long number;

	while ((number = victim_ask_number(victim, line)) <= than)
		cr_assert_gt(inj_remaining_ns(deadline_ns), 0,
			     "%s (pid %d): \"%s\" stays at %lld for %d s", victim->name,
			     victim->pid, line, number, VICTIM_DEADLINE_MS / 1000);
	return number;
}

int victim_wait(struct victim *victim)
{
	if (victim->reaped)
		return victim->status;
	cr_assert(await_end(victim, VICTIM_DEADLINE_MS), "%s (pid %d) has not ended within %d s",
		  victim->name, victim->pid, VICTIM_DEADLINE_MS / 1000);
	while (waitpid(victim->pid, &victim->status, __WALL) < 0 && errno == EINTR)
		;
	victim->reaped = true;
	return victim->status;
}

int victim_quit(struct victim *victim)
{
	inj_close_guard(&victim->to);
	victim->to = -1;
	return victim_wait(victim);
}
