/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signals that arrive all the time while a program is updated again and again: a thousand SIGALRM a
 * second, children that end as fast as they can be made, real-time signals with values. None is
 * lost, doubled, put out of order, or told with other facts, and calls are interrupted by none but
 * handlers.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "tests/live/transparent/repeating.h"

TestSuite(signals, .timeout = 300);

struct sender {
	pthread_t thread;
	pid_t pid;
	atomic_bool done;
	int n_sent; /* after the end */
};

/* Bursts, of which many are waiting in the queue when their thread is stopped. */
static void *send_values(void *argument)
{
	struct sender *sender = argument;
	unsigned random = 1;

	while (!sender->done) {
		struct timespec pause = { 0, 0 };

		random = random * 1103515245u + 12345u;
		for (unsigned i = 0; i < 1 + (random >> 16) % 8; i++) {
			union sigval next = { .sival_int = sender->n_sent + 1 };

			/* EAGAIN: as many are waiting as may. */
			if (sigqueue(sender->pid, SIGRTMIN, next) == 0)
				sender->n_sent++;
		}
		pause.tv_nsec = (random >> 8) % 1000000;
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static void start_sender(struct sender *sender, pid_t pid)
{
	*sender = (struct sender){ .pid = pid };
	cr_assert_eq(pthread_create(&sender->thread, NULL, send_values, sender), 0);
}

static void stop_sender(struct sender *sender)
{
	sender->done = true;
	pthread_join(sender->thread, NULL);
}

static void expect_all_told(struct victim *victim, int n_sent)
{
	long long alarms, elapsed;

	victim_expect_above(victim, "queued", n_sent - 1);
	victim_expect(victim, "stop", "stopped");
	cr_expect_eq(victim_ask_number(victim, "queued"), n_sent);
	victim_expect(victim, "disorder", "0");
	victim_expect(victim, "unreaped", "0");
	victim_expect(victim, "interrupted", "0");
	/* An expiration is told once, at the latest as an overrun of the next one. */
	alarms = victim_ask_number(victim, "alarms");
	elapsed = victim_ask_number(victim, "elapsed");
	cr_expect(alarms >= elapsed - 2 && alarms <= elapsed + 2, "%lld alarms in %lld ms", alarms,
		  elapsed);
	cr_log_info("%d values, %lld alarms, %lld children", n_sent, alarms,
		    victim_ask_number(victim, "children"));
}

static void update_among_signals(const char *pause_us, unsigned n)
{
	VICTIM victim = victim_start("signals", pause_us, NULL);
	struct sender sender;

	start_sender(&sender, victim->pid);
	for (unsigned i = 0; i < n; i++)
		update_twice(victim);
	stop_sender(&sender);
	expect_all_told(victim, sender.n_sent);
}

Test(signals, none_is_lost_doubled_or_reordered)
{
	need_root();
	update_among_signals("2000", times(150));
}

Test(signals, none_is_lost_in_a_storm_of_children)
{
	need_root();
	update_among_signals("0", times(100));
}
