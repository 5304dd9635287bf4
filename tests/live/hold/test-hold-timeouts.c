/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Calls that end at a time end at that time, however often their threads were held: within ten
 * milliseconds of the same calls of a twin that nobody touched.
 */
#include <limits.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "injector/process/tasks.h"
#include "injector/stop/waits.h"
#include "tests/live/hold/holding.h"
#include "tests/support/child.h"

#define N_HOLDS 1000
#define TOLERANCE_MS 10
#define MAX_ROUNDS 6
#define MAX_CALLS 64
#define WAITS INJ_CLEANUP(inj_waits_guard) struct inj_waits *

TestSuite(hold_timeouts, .timeout = 120);

static struct inj_waits *new_waits(struct inj_process *process)
{
	struct inj_waits *waits = NULL;

	cr_assert_eq(inj_waits_new(&waits), 0);
	process->waits = waits;
	return waits;
}

static void await_asleep(struct victim *victim)
{
	while (victim_ask_number(victim, "asleep") < victim_ask_number(victim, "count"))
		;
}

/* What the call of this name returned; fails when it did not come back. */
static void find(const char *report, const char *name, size_t length, long *ret_result,
		 long *ret_error, long *ret_ms)
{
	for (const char *at = report; *at; at += strcspn(at, " "), at += *at == ' ')
		if (strncmp(at, name, length) == 0 && at[length] == '=') {
			cr_assert_eq(sscanf(at + length, "=%ld,%ld,%ld", ret_result, ret_error,
					    ret_ms), 3);
			return;
		}
	cr_assert_fail("%.*s did not come back: %s", (int)length, name, report);
}

/*
 * A thread that should run may have to wait for a busy machine, in one round or the other. A call
 * that was lengthened is late in all of them.
 */
struct lateness {
	char name[32];
	long best_ms;
};

static struct lateness *lateness_of(struct lateness *all, const char *name, size_t length)
{
	for (size_t i = 0; i < MAX_CALLS; i++) {
		if (!all[i].name[0]) {
			snprintf(all[i].name, sizeof(all[i].name), "%.*s", (int)length, name);
			all[i].best_ms = LONG_MAX;
		}
		if (strlen(all[i].name) == length && strncmp(all[i].name, name, length) == 0)
			return &all[i];
	}
	cr_assert_fail("more than %d calls", MAX_CALLS);
	return NULL;
}

/*
 * Both had the same calls, and every timed one came back, with the same result, not early. A twin
 * may be late itself: the kernel's timers of sockets are as coarse as an eighth of what they wait
 * for.
 */
static void compare(struct victim *held, struct victim *twin, struct lateness *all)
{
	char theirs[4096];

	snprintf(theirs, sizeof(theirs), "%s", victim_ask(twin, "report"));
	victim_ask(held, "report");
	for (char *rest = NULL, *word = strtok_r(theirs, " ", &rest); word;
	     word = strtok_r(NULL, " ", &rest)) {
		size_t length = strcspn(word, "=");
		struct lateness *lateness = lateness_of(all, word, length);
		long result, error, ms, our_result, our_error, our_ms;

		cr_assert_eq(sscanf(word + length, "=%ld,%ld,%ld", &result, &error, &ms), 3);
		find(held->line, word, length, &our_result, &our_error, &our_ms);
		cr_expect(our_result == result && our_error == error,
			  "%.*s returned %ld, error %ld, that of its twin %ld, error %ld",
			  (int)length, word, our_result, our_error, result, error);
		if (our_ms - ms < lateness->best_ms)
			lateness->best_ms = our_ms - ms;
	}
	victim_expect(held, "early", "0");
}

static bool all_on_time(const struct lateness *all)
{
	for (size_t i = 0; i < MAX_CALLS; i++)
		if (all[i].best_ms > TOLERANCE_MS)
			return false;
	return true;
}

static void expect_on_time(const struct lateness *all)
{
	size_t n = 0;

	for (; n < MAX_CALLS && all[n].name[0]; n++)
		cr_expect_leq(all[n].best_ms, TOLERANCE_MS,
			      "%s ended %ld ms after that of its twin, in the best of %d rounds",
			      all[n].name, all[n].best_ms, MAX_ROUNDS);
	cr_expect_gt(n, 10);
}

static void await_ended(struct victim *victim)
{
	while (victim_ask_number(victim, "late") < 0)
		pause_ns(5 * MS);
}

/* n holds, spread over total_ms. */
static void hold_at_random(struct inj_process *process, unsigned n, unsigned total_ms)
{
	TRACER tracer = new_tracer();
	uint64_t random = 88172645463325252u;
	uint64_t begin_ns = inj_now_ns();

	for (unsigned i = 0; i < n; i++) {
		hold_process(tracer, process);
		pause_ns(random_below(&random, 50000));
		inj_tracer_release(tracer, NULL);
		while (inj_now_ns() < begin_ns + (i + random_below(&random, 2)) * total_ms * MS / n)
			pause_ns(random_below(&random, 200000));
	}
}

static void hold_and_compare(const char *timeout_ms, unsigned total_ms, struct lateness *all)
{
	VICTIM twin = victim_start("blocking", timeout_ms, NULL);
	VICTIM held = victim_start("blocking", timeout_ms, NULL);
	PROCESS process = open_victim(held->pid);
	WAITS waits = new_waits(process);

	await_asleep(held);
	hold_at_random(process, N_HOLDS, total_ms);
	inj_waits_keep(waits, inj_now_ns() + 20 * SECOND, -1);
	await_ended(held);
	await_ended(twin);
	compare(held, twin, all);
	cr_expect_eq(status_field(held->pid, held->pid, "TracerPid", 10), 0);
	victim_quit(held);
	victim_quit(twin);
}

static void hold_until_on_time(const char *timeout_ms, unsigned total_ms)
{
	struct lateness all[MAX_CALLS] = {0};

	for (int round = 0; round < MAX_ROUNDS && (round == 0 || !all_on_time(all)); round++)
		hold_and_compare(timeout_ms, total_ms, all);
	expect_on_time(all);
}

/* They end after the last hold. */
Test(hold_timeouts, end_on_time_after_the_holds)
{
	need_root();
	hold_until_on_time("3000", 2000);
}

/* They end while they are held all the time. */
Test(hold_timeouts, end_on_time_among_the_holds)
{
	need_root();
	hold_until_on_time("1500", 2500);
}

/* The victim would show it. */
Test(hold_timeouts, end_late_if_nobody_keeps_their_time)
{
	need_root();

	VICTIM held = victim_start("blocking", "800", NULL);
	PROCESS process = open_victim(held->pid);

	await_asleep(held);
	hold_at_random(process, 50, 600);
	await_ended(held);
	cr_expect_gt(victim_ask_number(held, "late"), 300);
	victim_expect(held, "early", "0");
	victim_quit(held);
}

/* Who dies having written what is left of a wait has written it whole: all end, none early. */
Test(hold_timeouts, survive_a_death_in_the_middle)
{
	need_root();

	VICTIM held = victim_start("blocking", "1500", NULL);
	int status = 0;

	await_asleep(held);

	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		struct inj_process *process = open_victim(held->pid);

		new_waits(process);
		setenv("DSUD_FAULT", "rest-written:3", 1);
		hold_at_random(process, 50, 500);
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status), "no rest was written: %#x", status);
	await_ended(held);
	victim_expect(held, "early", "0");
	victim_quit(held);
}

static void expect_no_harm(struct victim *victim)
{
	cr_expect_eq(victim_ask_number(victim, "early"), 0, "%s", victim_ask(victim, "which"));
	cr_expect_eq(victim_ask_number(victim, "unasked"), 0, "%s", victim_ask(victim, "which"));
}

/* Calls that end by events and signals, and are made again: none is taken for the one before. */
Test(hold_timeouts, no_call_is_taken_for_another)
{
	need_root();

	VICTIM victim = victim_start("ticking", "20", NULL);
	PROCESS process = open_victim(victim->pid);
	WAITS waits = new_waits(process);

	hold_at_random(process, 3000, 6000);
	victim_expect_above(victim, "timeouts", 300);
	expect_no_harm(victim);
}

/* The same with pauses in which each is ended at its time. */
Test(hold_timeouts, no_call_is_ended_for_another)
{
	need_root();

	VICTIM victim = victim_start("ticking", "20", NULL);
	PROCESS process = open_victim(victim->pid);
	WAITS waits = new_waits(process);

	for (int i = 0; i < 200; i++) {
		hold_at_random(process, 3, 3);
		inj_waits_keep(waits, inj_now_ns() + 5 * SECOND, -1);
	}
	victim_expect_above(victim, "timeouts", 300);
	expect_no_harm(victim);
}

#define N_RECEIVERS 2
#define RECEIVE_MS 2000

/* Two that wait for the same socket, one each way; what they got goes to the test. */
struct receivers {
	int fd[2];
	int epoll;
	int results[2];
};

static void *in_epoll(void *argument)
{
	struct receivers *receivers = argument;
	struct epoll_event event;
	long result = epoll_wait(receivers->epoll, &event, 1, RECEIVE_MS);

	write(receivers->results[1], &result, sizeof(result));
	return NULL;
}

static void receive(void *argument)
{
	struct receivers *receivers = argument;
	pthread_t thread;
	char byte;
	long result;

	if (pthread_create(&thread, NULL, in_epoll, receivers) != 0)
		_exit(1);
	child_ready();
	result = recv(receivers->fd[0], &byte, 1, MSG_PEEK);
	write(receivers->results[1], &result, sizeof(result));
	child_rest();
}

static void make_receivers(struct receivers *ret)
{
	struct timeval time = {RECEIVE_MS / 1000, RECEIVE_MS % 1000 * 1000};
	struct epoll_event event = {.events = EPOLLIN};

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ret->fd), 0);
	cr_assert_eq(pipe(ret->results), 0);
	cr_assert_geq(ret->epoll = epoll_create1(0), 0);
	cr_assert_eq(epoll_ctl(ret->epoll, EPOLL_CTL_ADD, ret->fd[0], &event), 0);
	cr_assert_eq(setsockopt(ret->fd[0], SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time)), 0);
}

/* What arrives while its receiver is held is received, though the time is over by then. */
Test(hold_timeouts, what_arrives_in_a_hold_is_received)
{
	need_root();

	struct receivers receivers;

	make_receivers(&receivers);

	pid_t pid = child_start(receive, &receivers);
	PROCESS process = open_victim(pid);
	WAITS waits = new_waits(process);
	TRACER tracer = new_tracer();
	size_t n_known = 0;

	/* Until both sleep in their calls. */
	while (n_known < N_RECEIVERS) {
		hold_process(tracer, process);
		inj_tracer_release(tracer, NULL);
		n_known = inj_waits_pending(waits);
	}
	hold_process(tracer, process);
	cr_assert_eq(send(receivers.fd[1], "x", 1, 0), 1);
	pause_ns((RECEIVE_MS + 100) * MS);
	inj_tracer_release(tracer, NULL);
	for (int i = 0; i < N_RECEIVERS; i++) {
		long result = 0;

		cr_assert_eq(read(receivers.results[0], &result, sizeof(result)),
			     (ssize_t)sizeof(result));
		cr_expect_eq(result, 1);
	}
	child_end(pid);
}

static void *keep(void *argument)
{
	inj_waits_keep(argument, inj_now_ns() + 60 * SECOND, -1);
	return NULL;
}

/* Whoever keeps the time dies: the calls end late, with the result they would have had. */
Test(hold_timeouts, keeper_dies)
{
	need_root();

	VICTIM held = victim_start("blocking", "3000", NULL);
	int status = 0;

	await_asleep(held);

	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		PROCESS process = open_victim(held->pid);
		WAITS waits = new_waits(process);

		hold_at_random(process, 20, 300);
		/* Not a failed assertion, which belongs to the test's own process. */
		if (inj_waits_pending(waits) > 5)
			raise(SIGKILL);
		_exit(1);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	await_ended(held);
	victim_expect(held, "early", "0");
	cr_expect_null(strstr(victim_ask(held, "report"), ",4,"), "%s", held->line);
	victim_quit(held);
}

/*
 * Somebody else traces the threads when their time comes, say a debugger: the keeper tries again
 * now and then, and is there when the debugger goes.
 */
Test(hold_timeouts, keeping_waits_for_other_tracers)
{
	need_root();

	VICTIM held = victim_start("blocking", "1500", NULL);
	PROCESS process = open_victim(held->pid);
	WAITS waits = new_waits(process);
	TRACER other = new_tracer();
	PROCESS same = open_victim(held->pid);
	struct timespec ran;

	await_asleep(held);
	hold_at_random(process, 3, 3);
	cr_expect_gt(inj_waits_pending(waits), 5);
	hold_process(other, same);
	inj_waits_keep(waits, inj_now_ns() + 3 * SECOND, -1);
	cr_expect_gt(inj_waits_pending(waits), 5);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ran);
	cr_expect_lt(ran.tv_sec * 1000 + ran.tv_nsec / 1000000, 500);
	inj_tracer_release(other, NULL);
	inj_waits_keep(waits, inj_now_ns() + 20 * SECOND, -1);
	await_ended(held);
	victim_expect(held, "early", "0");
	cr_expect_null(strstr(victim_ask(held, "report"), ",4,"), "%s", held->line);
	victim_quit(held);
}

/* Nothing is left to do as soon as all calls have ended by themselves, long before their time. */
Test(hold_timeouts, keeping_ends_with_the_calls)
{
	need_root();

	VICTIM held = victim_start("blocking", "3600000", NULL);
	PROCESS process = open_victim(held->pid);
	WAITS waits = new_waits(process);
	pthread_t keeper;
	size_t n;

	await_asleep(held);
	hold_at_random(process, 3, 3);
	n = inj_waits_pending(waits);
	cr_expect_gt(n, 5);
	/* Cancelled by a pipe that is closed. */
	int ends[2];

	cr_assert_eq(pipe(ends), 0);
	close(ends[1]);
	inj_waits_keep(waits, inj_now_ns() + 60 * SECOND, ends[0]);
	cr_expect_eq(inj_waits_pending(waits), n);
	cr_assert_eq(pthread_create(&keeper, NULL, keep, waits), 0);
	kill(held->pid, SIGKILL);
	cr_assert_eq(pthread_join(keeper, NULL), 0);
	cr_expect_eq(inj_waits_pending(waits), 0);
}
