/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blocking TIMEOUT_MS: one thread for every way of sleeping in the kernel; waits that take a
 * timeout get this one, the others have none. Questions:
 *   count     number of threads
 *   asleep    number of threads about to make their call, or in it
 *   returned  number of calls that came back
 *   report    "name=result,errno,milliseconds" of those that came back, "-" when none did
 *   early     milliseconds that a timed call came back too early at most (0: none did), by the
 *             clock and by the ticks of the kernel's timer, which may come late
 *   late      milliseconds that a timed call came back too late at most, -1: some did not yet
 *   wake      wake all up that wait for an event; answers when they are awake: "woken"
 *   handled   number of times that the handler of SIGUSR1 ran
 *   version   1; what there is to be patched
 *   spin      start a thread that never sleeps: "spinning"
 *   laps      number of its rounds
 *   quit
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/victims/line.h"

/* What one thread sleeps on; which of these it uses is its own affair. */
struct slot {
	const struct kind *kind;
	pthread_t thread;
	int fd[2];
	sem_t semaphore;
	pthread_mutex_t mutex;
	pthread_cond_t condition;
	bool condition_met;
	int id;
	pid_t child;
	struct sockaddr_in address;
	atomic_bool entered;
	atomic_bool returned;
	long result;
	int error;
	long elapsed_us;
	long ticks_us;
};

struct kind {
	const char *name;
	bool timed;
	void (*prepare)(struct slot *slot);
	long (*call)(struct slot *slot);
	void (*wake)(struct slot *slot); /* NULL: nothing but its timeout or a signal ends it */
};

long version(void);

static long timeout_ms;
static atomic_int n_handled;
static atomic_long n_laps;

static void check(bool good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

static struct timespec timeout(void)
{
	return (struct timespec){timeout_ms / 1000, timeout_ms % 1000 * 1000000};
}

static struct timeval timeout_us(void)
{
	return (struct timeval){timeout_ms / 1000, timeout_ms % 1000 * 1000};
}

static struct timespec end(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	now.tv_sec += timeout_ms / 1000;
	now.tv_nsec += timeout_ms % 1000 * 1000000;
	if (now.tv_nsec >= 1000000000) {
		now.tv_nsec -= 1000000000;
		now.tv_sec++;
	}
	return now;
}

static void no_preparation(struct slot *slot)
{
	(void)slot;
}

static void make_pair(struct slot *slot)
{
	check(socketpair(AF_UNIX, SOCK_STREAM, 0, slot->fd) == 0, "socketpair");
}

static void write_byte(struct slot *slot)
{
	check(write(slot->fd[1], "x", 1) == 1, "write");
}

/* fd[0] becomes an epoll instance that watches the reading end of a pipe. */
static void make_epoll(struct slot *slot)
{
	struct epoll_event event = {.events = EPOLLIN};
	int ends[2];

	check(pipe(ends) == 0, "pipe");
	slot->fd[0] = epoll_create1(0);
	slot->fd[1] = ends[1];
	check(epoll_ctl(slot->fd[0], EPOLL_CTL_ADD, ends[0], &event) == 0, "epoll_ctl");
}

static long call_epoll_wait(struct slot *slot)
{
	struct epoll_event event;

	return epoll_wait(slot->fd[0], &event, 1, -1);
}

static long call_epoll_wait_timed(struct slot *slot)
{
	struct epoll_event event;

	return epoll_wait(slot->fd[0], &event, 1, (int)timeout_ms);
}

static long call_epoll_pwait(struct slot *slot)
{
	struct epoll_event event;
	sigset_t none;

	sigemptyset(&none);
	return epoll_pwait(slot->fd[0], &event, 1, -1, &none);
}

static long call_epoll_pwait2_timed(struct slot *slot)
{
	struct epoll_event event;
	struct timespec time = timeout();

	return epoll_pwait2(slot->fd[0], &event, 1, &time, NULL);
}

static long call_poll(struct slot *slot)
{
	struct pollfd poller = {slot->fd[0], POLLIN, 0};

	return poll(&poller, 1, -1);
}

static long call_poll_timed(struct slot *slot)
{
	struct pollfd poller = {slot->fd[0], POLLIN, 0};

	return poll(&poller, 1, (int)timeout_ms);
}

static long call_ppoll_timed(struct slot *slot)
{
	struct pollfd poller = {slot->fd[0], POLLIN, 0};
	struct timespec time = timeout();

	return ppoll(&poller, 1, &time, NULL);
}

static long call_select_timed(struct slot *slot)
{
	struct timeval time = timeout_us();
	fd_set set;

	FD_ZERO(&set);
	FD_SET(slot->fd[0], &set);
	return select(slot->fd[0] + 1, &set, NULL, NULL, &time);
}

static long call_pselect_timed(struct slot *slot)
{
	struct timespec time = timeout();
	sigset_t none;
	fd_set set;

	sigemptyset(&none);
	FD_ZERO(&set);
	FD_SET(slot->fd[0], &set);
	return pselect(slot->fd[0] + 1, &set, NULL, NULL, &time, &none);
}

static long call_nanosleep_timed(struct slot *slot)
{
	struct timespec time = timeout();

	(void)slot;
	return nanosleep(&time, NULL);
}

static long call_clock_nanosleep_timed(struct slot *slot)
{
	struct timespec time = timeout();

	(void)slot;
	return clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

static long call_clock_nanosleep_until_timed(struct slot *slot)
{
	struct timespec time = end(CLOCK_MONOTONIC);

	(void)slot;
	return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

static long call_read(struct slot *slot)
{
	char bytes[8];

	return read(slot->fd[0], bytes, sizeof(bytes));
}

static void make_pipe(struct slot *slot)
{
	check(pipe(slot->fd) == 0, "pipe");
}

static void make_eventfd(struct slot *slot)
{
	slot->fd[0] = slot->fd[1] = eventfd(0, 0);
}

static void write_eight(struct slot *slot)
{
	uint64_t one = 1;

	check(write(slot->fd[1], &one, sizeof(one)) == sizeof(one), "write");
}

static void make_inotify(struct slot *slot)
{
	char name[] = "/dev/shm/blocking-XXXXXX";

	slot->fd[1] = mkstemp(name);
	slot->fd[0] = inotify_init();
	check(inotify_add_watch(slot->fd[0], name, IN_MODIFY) >= 0, "inotify_add_watch");
	unlink(name);
}

static long call_read_events(struct slot *slot)
{
	char bytes[4096];

	return read(slot->fd[0], bytes, sizeof(bytes));
}

static void make_timed_pair(struct slot *slot)
{
	struct timeval time = timeout_us();

	make_pair(slot);
	setsockopt(slot->fd[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
}

static long call_recv(struct slot *slot)
{
	char byte;

	return recv(slot->fd[0], &byte, 1, 0);
}

static long call_recvmsg(struct slot *slot)
{
	char byte;
	struct iovec part = {&byte, 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	return recvmsg(slot->fd[0], &message, 0);
}

static void make_full_pair(struct slot *slot)
{
	struct timeval time = timeout_us();
	char bytes[4096] = {0};

	make_pair(slot);
	while (send(slot->fd[0], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	setsockopt(slot->fd[0], SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time));
}

static long call_send(struct slot *slot)
{
	return send(slot->fd[0], "x", 1, MSG_NOSIGNAL);
}

static void drain(struct slot *slot)
{
	char bytes[65536];

	while (recv(slot->fd[1], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
}

static void make_listener(struct slot *slot)
{
	socklen_t length = sizeof(slot->address);

	slot->address = (struct sockaddr_in){.sin_family = AF_INET,
					     .sin_addr = {htonl(INADDR_LOOPBACK)}};
	slot->fd[0] = socket(AF_INET, SOCK_STREAM, 0);
	check(bind(slot->fd[0], (struct sockaddr *)&slot->address, length) == 0, "bind");
	check(listen(slot->fd[0], 1) == 0, "listen");
	getsockname(slot->fd[0], (struct sockaddr *)&slot->address, &length);
}

static void make_timed_listener(struct slot *slot)
{
	struct timeval time = timeout_us();

	make_listener(slot);
	setsockopt(slot->fd[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
}

static long call_accept(struct slot *slot)
{
	return accept(slot->fd[0], NULL, NULL);
}

static void knock(struct slot *slot)
{
	slot->fd[1] = socket(AF_INET, SOCK_STREAM, 0);
	check(connect(slot->fd[1], (struct sockaddr *)&slot->address, sizeof(slot->address)) == 0,
	      "connect");
}

static void make_semaphores(struct slot *slot)
{
	slot->id = semget(IPC_PRIVATE, 1, 0600 | IPC_CREAT);
	check(slot->id >= 0, "semget");
}

static long call_semop(struct slot *slot)
{
	struct sembuf down = {0, -1, 0};

	return semop(slot->id, &down, 1);
}

static long call_semtimedop_timed(struct slot *slot)
{
	struct sembuf down = {0, -1, 0};
	struct timespec time = timeout();

	return semtimedop(slot->id, &down, 1, &time);
}

static void raise_semaphore(struct slot *slot)
{
	struct sembuf up = {0, 1, 0};

	check(semop(slot->id, &up, 1) == 0, "semop");
}

static void make_queue(struct slot *slot)
{
	slot->id = msgget(IPC_PRIVATE, 0600 | IPC_CREAT);
	check(slot->id >= 0, "msgget");
}

struct text_message {
	long type;
	char text[8];
};

static long call_msgrcv(struct slot *slot)
{
	struct text_message message;

	return msgrcv(slot->id, &message, sizeof(message.text), 0, 0);
}

static void send_message(struct slot *slot)
{
	struct text_message message = {1, "hello"};

	check(msgsnd(slot->id, &message, sizeof(message.text), 0) == 0, "msgsnd");
}

static long wait_for_signal(const struct timespec *time)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	return time ? sigtimedwait(&set, NULL, time) : sigwaitinfo(&set, NULL);
}

static long call_sigtimedwait_timed(struct slot *slot)
{
	struct timespec time = timeout();

	(void)slot;
	return wait_for_signal(&time);
}

static long call_sigwaitinfo(struct slot *slot)
{
	(void)slot;
	return wait_for_signal(NULL);
}

static void send_signal(struct slot *slot)
{
	pthread_kill(slot->thread, SIGUSR2);
}

static long call_sem_wait(struct slot *slot)
{
	return sem_wait(&slot->semaphore);
}

static long call_sem_timedwait_timed(struct slot *slot)
{
	struct timespec time = end(CLOCK_REALTIME);

	return sem_timedwait(&slot->semaphore, &time);
}

static void post(struct slot *slot)
{
	sem_post(&slot->semaphore);
}

static long call_cond_wait(struct slot *slot)
{
	pthread_mutex_lock(&slot->mutex);
	while (!slot->condition_met)
		pthread_cond_wait(&slot->condition, &slot->mutex);
	pthread_mutex_unlock(&slot->mutex);
	return 0;
}

static long call_cond_timedwait_timed(struct slot *slot)
{
	struct timespec time = end(CLOCK_REALTIME);
	int r = 0;

	pthread_mutex_lock(&slot->mutex);
	while (r == 0 && !slot->condition_met)
		r = pthread_cond_timedwait(&slot->condition, &slot->mutex, &time);
	pthread_mutex_unlock(&slot->mutex);
	return r;
}

static void meet(struct slot *slot)
{
	pthread_mutex_lock(&slot->mutex);
	slot->condition_met = true;
	pthread_cond_signal(&slot->condition);
	pthread_mutex_unlock(&slot->mutex);
}

static void lock_mutex(struct slot *slot)
{
	pthread_mutex_lock(&slot->mutex);
}

static long call_mutex_lock(struct slot *slot)
{
	return pthread_mutex_lock(&slot->mutex);
}

static void unlock_mutex(struct slot *slot)
{
	pthread_mutex_unlock(&slot->mutex);
}

static void make_mail(struct slot *slot)
{
	struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 8};
	char name[32];

	snprintf(name, sizeof(name), "/blocking-%d", (int)getpid());
	slot->id = mq_open(name, O_CREAT | O_RDWR, 0600, &attributes);
	check(slot->id >= 0, "mq_open");
	mq_unlink(name);
}

static long call_mq_receive(struct slot *slot)
{
	char bytes[8];

	return mq_receive(slot->id, bytes, sizeof(bytes), NULL);
}

static void mail(struct slot *slot)
{
	check(mq_send(slot->id, "x", 1, 0) == 0, "mq_send");
}

static long call_pause(struct slot *slot)
{
	(void)slot;
	return pause();
}

static void make_lock(struct slot *slot)
{
	struct flock lock = {.l_type = F_WRLCK, .l_len = 1};
	char name[] = "/dev/shm/blocking-XXXXXX";

	slot->fd[0] = mkstemp(name);
	slot->fd[1] = open(name, O_RDWR);
	check(slot->fd[1] >= 0, "open");
	unlink(name);
	check(fcntl(slot->fd[1], F_OFD_SETLK, &lock) == 0, "fcntl");
}

static long call_lock(struct slot *slot)
{
	struct flock lock = {.l_type = F_WRLCK, .l_len = 1};

	return fcntl(slot->fd[0], F_OFD_SETLKW, &lock);
}

static void unlock(struct slot *slot)
{
	struct flock lock = {.l_type = F_UNLCK, .l_len = 1};

	check(fcntl(slot->fd[1], F_OFD_SETLK, &lock) == 0, "fcntl");
}

static void make_child(struct slot *slot)
{
	slot->child = fork();
	if (slot->child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
}

static long call_waitpid(struct slot *slot)
{
	return waitpid(slot->child, NULL, 0) == slot->child ? 0 : -1;
}

static void end_child(struct slot *slot)
{
	kill(slot->child, SIGKILL);
}

static long call_io_getevents_timed(struct slot *slot)
{
	struct timespec time = timeout();
	struct io_event event;
	aio_context_t context = 0;

	(void)slot;
	check(syscall(SYS_io_setup, 1, &context) == 0, "io_setup");
	return syscall(SYS_io_getevents, context, 1, 1, &event, &time);
}

__attribute__((noinline)) long version(void)
{
	__asm__ volatile("");
	return 1;
}

static const struct kind kinds[] = {
	{"epoll_wait", false, make_epoll, call_epoll_wait, write_byte},
	{"epoll_wait-timed", true, make_epoll, call_epoll_wait_timed, write_byte},
	{"epoll_pwait", false, make_epoll, call_epoll_pwait, write_byte},
	{"epoll_pwait2-timed", true, make_epoll, call_epoll_pwait2_timed, write_byte},
	{"poll", false, make_pair, call_poll, write_byte},
	{"poll-timed", true, make_pair, call_poll_timed, write_byte},
	{"ppoll-timed", true, make_pair, call_ppoll_timed, write_byte},
	{"select-timed", true, make_pair, call_select_timed, write_byte},
	{"pselect-timed", true, make_pair, call_pselect_timed, write_byte},
	{"nanosleep-timed", true, no_preparation, call_nanosleep_timed, NULL},
	{"clock_nanosleep-timed", true, no_preparation, call_clock_nanosleep_timed, NULL},
	{"clock_nanosleep-until-timed", true, no_preparation, call_clock_nanosleep_until_timed,
	 NULL},
	{"read-socket", false, make_pair, call_read, write_byte},
	{"read-pipe", false, make_pipe, call_read, write_byte},
	{"read-eventfd", false, make_eventfd, call_read, write_eight},
	{"read-inotify", false, make_inotify, call_read_events, write_byte},
	{"recv-timed", true, make_timed_pair, call_recv, write_byte},
	{"recvmsg-timed", true, make_timed_pair, call_recvmsg, write_byte},
	{"send-timed", true, make_full_pair, call_send, drain},
	{"accept", false, make_listener, call_accept, knock},
	{"accept-timed", true, make_timed_listener, call_accept, knock},
	{"semop", false, make_semaphores, call_semop, raise_semaphore},
	{"semtimedop-timed", true, make_semaphores, call_semtimedop_timed, raise_semaphore},
	{"msgrcv", false, make_queue, call_msgrcv, send_message},
	{"sigtimedwait-timed", true, no_preparation, call_sigtimedwait_timed, send_signal},
	{"sigwaitinfo", false, no_preparation, call_sigwaitinfo, send_signal},
	{"sem_wait", false, no_preparation, call_sem_wait, post},
	{"sem_timedwait-timed", true, no_preparation, call_sem_timedwait_timed, post},
	{"cond_wait", false, no_preparation, call_cond_wait, meet},
	{"cond_timedwait-timed", true, no_preparation, call_cond_timedwait_timed, meet},
	{"mutex_lock", false, lock_mutex, call_mutex_lock, unlock_mutex},
	{"mq_receive", false, make_mail, call_mq_receive, mail},
	{"pause", false, no_preparation, call_pause, NULL},
	{"lock-file", false, make_lock, call_lock, unlock},
	{"waitpid", false, make_child, call_waitpid, end_child},
	{"io_getevents-timed", true, no_preparation, call_io_getevents_timed, NULL},
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static struct slot slots[N_KINDS];

static long now_us(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void *run(void *argument)
{
	struct slot *slot = argument;

	slot->entered = true;

	long begin_us = now_us(CLOCK_MONOTONIC);
	long begin_tick_us = now_us(CLOCK_MONOTONIC_COARSE);

	slot->result = slot->kind->call(slot);
	slot->error = slot->result < 0 ? errno : 0;
	slot->elapsed_us = now_us(CLOCK_MONOTONIC) - begin_us;
	slot->ticks_us = now_us(CLOCK_MONOTONIC_COARSE) - begin_tick_us;
	slot->returned = true;
	return NULL;
}

static void start(void)
{
	/* Children first: they shall not inherit threads' locks or much else. */
	for (size_t i = 0; i < N_KINDS; i++) {
		struct slot *slot = &slots[i];

		slot->kind = &kinds[i];
		slot->fd[0] = slot->fd[1] = slot->id = -1;
		sem_init(&slot->semaphore, 0, 0);
		pthread_mutex_init(&slot->mutex, NULL);
		pthread_cond_init(&slot->condition, NULL);
		slot->kind->prepare(slot);
	}
	for (size_t i = 0; i < N_KINDS; i++)
		check(pthread_create(&slots[i].thread, NULL, run, &slots[i]) == 0, "thread");
}

static void *spin(void *argument)
{
	(void)argument;
	for (;;)
		n_laps++;
	return NULL;
}

static void start_spinning(void)
{
	pthread_t thread;

	check(pthread_create(&thread, NULL, spin, NULL) == 0, "thread");
	puts("spinning");
}

static void on_signal(int signal)
{
	(void)signal;
	n_handled++;
}

static long (*volatile call_version)(void) = version;

static int count(bool returned)
{
	int n = 0;

	for (size_t i = 0; i < N_KINDS; i++)
		n += returned ? slots[i].returned : slots[i].entered;
	return n;
}

static void report(void)
{
	const char *separator = "";

	for (size_t i = 0; i < N_KINDS; i++) {
		if (!slots[i].returned)
			continue;
		printf("%s%s=%ld,%d,%ld", separator, kinds[i].name, slots[i].result,
		       slots[i].error, slots[i].elapsed_us / 1000);
		separator = " ";
	}
	puts(*separator ? "" : "-");
}

/* Largest deviation of a timed call from its timeout, rounded up, in the given direction. */
static long deviation_ms(int direction)
{
	long worst_us = 0;

	for (size_t i = 0; i < N_KINDS; i++) {
		if (!kinds[i].timed)
			continue;
		if (!slots[i].returned)
			return -1;

		long took_us = slots[i].elapsed_us;

		if (direction < 0 && took_us < slots[i].ticks_us)
			took_us = slots[i].ticks_us;

		long by_us = direction * (took_us - timeout_ms * 1000);

		worst_us = by_us > worst_us ? by_us : worst_us;
	}
	return (worst_us + 999) / 1000;
}

static void wake(void)
{
	for (size_t i = 0; i < N_KINDS; i++)
		if (kinds[i].wake && !slots[i].returned)
			kinds[i].wake(&slots[i]);
	for (size_t i = 0; i < N_KINDS; i++)
		while (kinds[i].wake && !slots[i].returned)
			sched_yield();
	puts("woken");
}

static void remove_queues(void)
{
	for (size_t i = 0; i < N_KINDS; i++) {
		if (kinds[i].prepare == make_semaphores)
			semctl(slots[i].id, 0, IPC_RMID);
		if (kinds[i].prepare == make_queue)
			msgctl(slots[i].id, IPC_RMID, NULL);
	}
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	const char *line;
	sigset_t set;

	timeout_ms = argc > 1 ? strtol(argv[1], NULL, 10) : 3600000;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigaction(SIGUSR1, &action, NULL);
	start();
	line_ready();
	while ((line = line_next())) {
		if (strcmp(line, "count") == 0)
			printf("%zu\n", N_KINDS);
		else if (strcmp(line, "asleep") == 0)
			printf("%d\n", count(false));
		else if (strcmp(line, "returned") == 0)
			printf("%d\n", count(true));
		else if (strcmp(line, "report") == 0)
			report();
		else if (strcmp(line, "early") == 0)
			printf("%ld\n", deviation_ms(-1));
		else if (strcmp(line, "late") == 0)
			printf("%ld\n", deviation_ms(1));
		else if (strcmp(line, "wake") == 0)
			wake();
		else if (strcmp(line, "handled") == 0)
			printf("%d\n", n_handled);
		else if (strcmp(line, "version") == 0)
			printf("%ld\n", call_version());
		else if (strcmp(line, "spin") == 0)
			start_spinning();
		else if (strcmp(line, "laps") == 0)
			printf("%ld\n", n_laps);
		else
			puts("?");
	}
	remove_queues();
	for (size_t i = 0; i < N_KINDS; i++) {
		if (slots[i].child > 0) {
			kill(slots[i].child, SIGKILL);
			/* Its own thread reaps it, or has done so. */
			while (!slots[i].returned)
				sched_yield();
		}
	}
	return 0;
}
