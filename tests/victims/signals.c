/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * signals [PAUSE_US]: counts what arrives. Real-time signals SIGRTMIN carry the values 1, 2, 3 ...
 * from one sender; a timer sends SIGALRM a thousand times a second to the process; children come
 * and go, one every PAUSE_US microseconds (default 2000; 0: as fast as can be).
 * One thread sleeps in epoll_wait, one computes, the main thread takes the signals in between.
 * Questions:
 *   queued    number of SIGRTMIN that came
 *   disorder  number of them with another value, code or sender than expected
 *   alarms    expirations of the timer that were told, overruns included
 *   elapsed   milliseconds since the timer was started, as of the last alarm
 *   children  number of children reaped, of those started
 *   unreaped  number of children that ended and were not told (0 when all is well)
 *   interrupted  number of times that epoll_wait reported EINTR to the thread that takes none
 *   version   1; what there is to be patched
 *   stop      stop the timer and the children; answers "stopped"
 *   quit
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/victims/line.h"

#define PERIOD_NS 1000000

static atomic_long n_queued, n_disorder, n_alarms, n_started, n_reaped, n_interrupted;
static atomic_long last_alarm_ms;
static atomic_bool stopping;
static timer_t timer;
static pid_t sender;
static long begin_ms;
static long pause_us = 2000;

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

long version(void);

static long (*volatile call_version)(void) = version;

__attribute__((noinline)) long version(void)
{
	__asm__ volatile("");
	return 1;
}

static void on_queued(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	n_queued++;
	if (info->si_value.sival_int != n_queued || info->si_code != SI_QUEUE ||
	    info->si_pid != sender)
		n_disorder++;
}

static void on_alarm(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	if (info->si_code != SI_TIMER)
		n_disorder++;
	n_alarms += 1 + timer_getoverrun(timer);
	last_alarm_ms = now_ms() - begin_ms;
}

static void on_child(int signal)
{
	int saved = errno;

	(void)signal;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		n_reaped++;
	errno = saved;
}

static void handle(int signal, void (*handler)(int, siginfo_t *, void *))
{
	struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};

	sigaction(signal, &action, NULL);
}

/* Threads inherit it: a new one that took a signal before it could block it would be out of
 * order. */
static void set_all_blocked(bool blocked)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &all, NULL);
}

static void *sleep_in_epoll(void *argument)
{
	int epoll = epoll_create1(0);
	struct epoll_event event;

	(void)argument;
	for (;;)
		if (epoll_wait(epoll, &event, 1, -1) < 0 && errno == EINTR)
			n_interrupted++;
	return NULL;
}

static void *compute(void *argument)
{
	volatile unsigned long n = 0;

	(void)argument;
	for (;;)
		n++;
	return NULL;
}

static void *make_children(void *argument)
{
	struct timespec pause = {0, pause_us * 1000};

	(void)argument;
	while (!stopping) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		if (pid > 0)
			n_started++;
		if (pause_us > 0)
			nanosleep(&pause, NULL);
	}
	return NULL;
}

static void start_timer(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
	struct itimerspec period = {{0, PERIOD_NS}, {0, PERIOD_NS}};

	if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
		exit(1);
	begin_ms = now_ms();
	timer_settime(timer, 0, &period, NULL);
}

static void stop(pthread_t maker)
{
	struct itimerspec never = {0};
	struct timespec pause = {0, PERIOD_NS};

	timer_settime(timer, 0, &never, NULL);
	stopping = true;
	pthread_join(maker, NULL);
	/* Those that ended last are told soon, unless a SIGCHLD was lost. */
	for (int i = 0; i < 1000 && n_reaped < n_started; i++)
		nanosleep(&pause, NULL);
	puts("stopped");
}

int main(int argc, char **argv)
{
	struct sigaction child = {.sa_handler = on_child, .sa_flags = SA_RESTART};
	pthread_t sleeper, computer, maker;
	const char *line;

	sender = getppid();
	if (argc > 1)
		pause_us = strtol(argv[1], NULL, 10);
	set_all_blocked(true);
	pthread_create(&sleeper, NULL, sleep_in_epoll, NULL);
	pthread_create(&computer, NULL, compute, NULL);
	handle(SIGRTMIN, on_queued);
	handle(SIGALRM, on_alarm);
	sigaction(SIGCHLD, &child, NULL);
	pthread_create(&maker, NULL, make_children, NULL);
	set_all_blocked(false);
	start_timer();
	line_ready();
	while ((line = line_next())) {
		if (strcmp(line, "queued") == 0)
			printf("%ld\n", n_queued);
		else if (strcmp(line, "disorder") == 0)
			printf("%ld\n", n_disorder);
		else if (strcmp(line, "alarms") == 0)
			printf("%ld\n", n_alarms);
		else if (strcmp(line, "elapsed") == 0)
			printf("%ld\n", last_alarm_ms);
		else if (strcmp(line, "children") == 0)
			printf("%ld\n", n_reaped);
		else if (strcmp(line, "unreaped") == 0)
			printf("%ld\n", n_started - n_reaped);
		else if (strcmp(line, "interrupted") == 0)
			printf("%ld\n", n_interrupted);
		else if (strcmp(line, "version") == 0)
			printf("%ld\n", call_version());
		else if (strcmp(line, "stop") == 0)
			stop(maker);
		else
			puts("?");
	}
	return 0;
}
