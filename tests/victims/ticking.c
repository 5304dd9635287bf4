/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ticking TIMEOUT_MS: threads that wait with a timeout, again and again, each in its own way, and
 * are woken by events at random moments; some are interrupted by a signal whose handler returns,
 * some by one that jumps out of the call. Every wait is measured. Questions:
 *   rounds    waits of the thread that has made fewest
 *   timeouts  waits that ended without an event
 *   early     those of them that ended before their time, which for sockets the kernel counts in
 *             ticks of its timer; when these come late, so begins what is counted from them
 *   unasked   waits that ended with EINTR without a handler having run
 *   which     name of the way that was early or interrupted last, "-" when none was
 *   quit
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/victims/line.h"

struct way {
	const char *name;
	long (*wait)(struct way *way); /* what the call returns */
	enum { NO_SIGNALS, SIGNALS, JUMPS } signals;
	pthread_t thread;
	int fd[2];
	int epoll;
	_Atomic long n_rounds;
};

static long timeout_ms;
static _Atomic long n_timeouts, n_early, n_unasked;
static _Atomic(const char *) which = "-";
static _Thread_local volatile sig_atomic_t n_handled;
static _Thread_local volatile bool may_jump;
static _Thread_local sigjmp_buf back;

static const struct timespec *constant_time; /* nobody can write there */

static long now_us(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static struct timespec timeout(void)
{
	return (struct timespec){timeout_ms / 1000, timeout_ms % 1000 * 1000000};
}

static long in_epoll(struct way *way)
{
	struct epoll_event event;

	return epoll_wait(way->epoll, &event, 1, (int)timeout_ms);
}

/* Lets the signal through only while it waits. */
static long in_epoll_pwait(struct way *way)
{
	struct epoll_event event;
	sigset_t none;

	sigemptyset(&none);
	return epoll_pwait(way->epoll, &event, 1, (int)timeout_ms, &none);
}

static long in_recv(struct way *way)
{
	char byte;

	return recv(way->fd[0], &byte, 1, MSG_PEEK);
}

static long in_select(struct way *way)
{
	struct timeval time = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
	fd_set set;

	FD_ZERO(&set);
	FD_SET(way->fd[0], &set);
	return select(way->fd[0] + 1, &set, NULL, NULL, &time);
}

static long in_ppoll(struct way *way)
{
	struct pollfd poller = {way->fd[0], POLLIN, 0};
	struct timespec time = timeout();

	return ppoll(&poller, 1, &time, NULL);
}

/* The kernel cannot note what is left of the time. */
static long in_ppoll_constant(struct way *way)
{
	struct pollfd poller = {way->fd[0], POLLIN, 0};

	return syscall(SYS_ppoll, &poller, 1, constant_time, NULL, 8);
}

static long in_sigtimedwait(struct way *way)
{
	struct timespec time = timeout();
	sigset_t set;

	(void)way;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	return sigtimedwait(&set, NULL, &time);
}

static struct way ways[] = {
	{.name = "epoll", .wait = in_epoll},
	{.name = "epoll-signals", .wait = in_epoll, .signals = SIGNALS},
	{.name = "epoll-jumps", .wait = in_epoll, .signals = JUMPS},
	{.name = "epoll_pwait-signals", .wait = in_epoll_pwait, .signals = SIGNALS},
	{.name = "recv", .wait = in_recv},
	{.name = "recv-signals", .wait = in_recv, .signals = SIGNALS},
	{.name = "recv-jumps", .wait = in_recv, .signals = JUMPS},
	{.name = "select", .wait = in_select},
	{.name = "select-signals", .wait = in_select, .signals = SIGNALS},
	{.name = "ppoll", .wait = in_ppoll},
	{.name = "ppoll-constant", .wait = in_ppoll_constant},
	{.name = "sigtimedwait", .wait = in_sigtimedwait},
	{.name = "sigtimedwait-signals", .wait = in_sigtimedwait, .signals = SIGNALS},
};

#define N_WAYS (sizeof(ways) / sizeof(ways[0]))

static void on_signal(int signal)
{
	(void)signal;
	n_handled++;
	if (may_jump)
		siglongjmp(back, 1);
}

static bool drain(const struct way *way)
{
	char bytes[64];

	return recv(way->fd[0], bytes, sizeof(bytes), MSG_DONTWAIT) > 0;
}

static void fail(const struct way *way, _Atomic long *counter)
{
	(*counter)++;
	which = way->name;
}

static void wait_once(struct way *way)
{
	sig_atomic_t handled = n_handled;
	long begin_us = now_us(CLOCK_MONOTONIC);
	long begin_tick_us = now_us(CLOCK_MONOTONIC_COARSE);
	long result;

	if (way->signals == JUMPS && sigsetjmp(back, 1)) {
		may_jump = false;
		return;
	}
	may_jump = way->signals == JUMPS;
	result = way->wait(way);
	may_jump = false;

	int error = errno;
	long took_us = now_us(CLOCK_MONOTONIC) - begin_us;
	long ticks_us = now_us(CLOCK_MONOTONIC_COARSE) - begin_tick_us;

	if (result < 0 && error == EINTR && handled == n_handled)
		fail(way, &n_unasked);
	if (result == 0 || (result < 0 && error == EAGAIN)) {
		n_timeouts++;
		/* The kernel counts in microseconds of its own; half a one more or less. */
		if (took_us < timeout_ms * 1000 - 1 && ticks_us < timeout_ms * 1000)
			fail(way, &n_early);
	}
	if (result > 0)
		drain(way);
}

static void *run(void *argument)
{
	struct way *way = argument;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(way->wait == in_epoll_pwait ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
	for (;;) {
		wait_once(way);
		way->n_rounds++;
	}
	return NULL;
}

/* Disturbs one way after the other; about every third wait runs into its timeout. */
static void *disturb(void *argument)
{
	unsigned random = 1;

	(void)argument;
	for (;;) {
		struct way *way = &ways[(random >> 8) % N_WAYS];
		struct timespec pause = {0, (long)(random >> 4) % (timeout_ms * 150000)};

		random = random * 1103515245u + 12345u;
		if (way->signals != NO_SIGNALS && random & 0x40000)
			pthread_kill(way->thread, SIGUSR1);
		else if (way->wait == in_sigtimedwait)
			pthread_kill(way->thread, SIGUSR2);
		else if (send(way->fd[1], "x", 1, MSG_DONTWAIT) < 0 && errno != EAGAIN)
			exit(1);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static void prepare(struct way *way)
{
	struct timeval time = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
	struct epoll_event event = {.events = EPOLLIN};

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, way->fd) != 0)
		exit(1);
	way->epoll = epoll_create1(0);
	epoll_ctl(way->epoll, EPOLL_CTL_ADD, way->fd[0], &event);
	setsockopt(way->fd[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
}

static void prepare_constant(void)
{
	struct timespec *time = mmap(NULL, sizeof(*time), PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (time == MAP_FAILED)
		exit(1);
	*time = timeout();
	mprotect(time, sizeof(*time), PROT_READ);
	constant_time = time;
}

static long fewest(void)
{
	long least = ways[0].n_rounds;

	for (size_t i = 1; i < N_WAYS; i++)
		least = ways[i].n_rounds < least ? ways[i].n_rounds : least;
	return least;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_signal};
	pthread_t disturber;
	const char *line;
	sigset_t set;

	timeout_ms = argc > 1 ? strtol(argv[1], NULL, 10) : 20;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigaction(SIGUSR1, &action, NULL);
	prepare_constant();
	for (size_t i = 0; i < N_WAYS; i++) {
		prepare(&ways[i]);
		if (pthread_create(&ways[i].thread, NULL, run, &ways[i]) != 0)
			return 1;
	}
	if (pthread_create(&disturber, NULL, disturb, NULL) != 0)
		return 1;
	line_ready();
	while ((line = line_next())) {
		if (strcmp(line, "rounds") == 0)
			printf("%ld\n", fewest());
		else if (strcmp(line, "timeouts") == 0)
			printf("%ld\n", (long)n_timeouts);
		else if (strcmp(line, "early") == 0)
			printf("%ld\n", (long)n_early);
		else if (strcmp(line, "unasked") == 0)
			printf("%ld\n", (long)n_unasked);
		else if (strcmp(line, "which") == 0)
			puts(which);
		else
			puts("?");
	}
	return 0;
}
