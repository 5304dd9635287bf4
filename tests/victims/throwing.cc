/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * throwing [N [US]]: N threads (default 2) that call check() four times, rest for US microseconds
 * (default 200), and so on;
 * 0: they do not rest. It throws, lets an exception of its callee through,
 * catches one itself, or returns, as its argument modulo 4 says. Questions:
 *   ask X     call check(X): "refusal VALUE", "deep VALUE" or "value VALUE"
 *   rounds    how often the slowest thread came round
 *   wrong     how many calls of the threads ended in no way that either version allows
 *   cancel    cancel a thread inside of linger(): "old" or "new", then how many of its cleanups ran
 *   quit
 */
#include <atomic>
#include <cstdlib>
#include <pthread.h>
#include <semaphore.h>
#include <stdexcept>
#include <time.h>
#include <unistd.h>

#include "tests/victims/line.h"

#define MAX_THREADS 64
/* What the new version adds to every result. */
#define NEWER 1000

struct refusal {
	long value;
};

extern "C" {
long check(long x);
void deeper(long x);
void linger(void);
extern sem_t lingering;
extern long lingered;
extern long cleaned;
}

sem_t lingering;
long lingered;
long cleaned;

static std::atomic<long> rounds[MAX_THREADS];
static std::atomic<long> wrong;
static long n_threads = 2;
static long rest_us = 200;

/* Calls through pointers: the callers know nothing of what they call. */
static long (*volatile call_check)(long x) = check;
static void (*volatile call_deeper)(long x) = deeper;
static void (*volatile call_linger)() = linger;

namespace
{
struct counted {
	~counted()
	{
		cleaned++;
	}
};
}

__attribute__((noinline)) void deeper(long x)
{
	throw std::runtime_error("deep " + std::to_string(x));
}

__attribute__((noinline)) long check(long x)
{
	switch (x % 4) {
	case 0:
		throw refusal{x};
	case 1:
		call_deeper(x);
		return -1;
	case 2:
		try {
			call_deeper(x);
		} catch (const std::runtime_error &) {
			return x;
		}
		return -1;
	default:
		return x;
	}
}

__attribute__((noinline)) void linger()
{
	counted one;

	lingered = 1;
	sem_post(&lingering);
	for (;;)
		pause();
}

static void count(void *)
{
	cleaned++;
}

static void *wait_inside(void *argument)
{
	pthread_cleanup_push(count, nullptr);
	call_linger();
	pthread_cleanup_pop(0);
	return argument;
}

static long outcome(long x)
{
	try {
		return call_check(x);
	} catch (const refusal &refused) {
		return refused.value;
	} catch (const std::runtime_error &error) {
		return std::atol(error.what() + sizeof("deep"));
	}
}

static void *run(void *argument)
{
	auto i = reinterpret_cast<long>(argument);

	for (long x = 0;; x = (x + 1) % 4) {
		long value = outcome(x);

		if (value != x && value != x + NEWER)
			wrong++;
		rounds[i]++;
		if (x == 3 && rest_us > 0) {
			struct timespec rest = {0, rest_us * 1000};

			nanosleep(&rest, nullptr);
		}
	}
	return nullptr;
}

static void ask(long x)
{
	try {
		printf("value %ld\n", call_check(x));
	} catch (const refusal &refused) {
		printf("refusal %ld\n", refused.value);
	} catch (const std::runtime_error &error) {
		puts(error.what());
	}
}

static void cancel()
{
	pthread_t thread;
	void *result = nullptr;

	cleaned = lingered = 0;
	if (pthread_create(&thread, nullptr, wait_inside, nullptr) != 0)
		exit(1);
	while (sem_wait(&lingering) != 0)
		;
	pthread_cancel(thread);
	pthread_join(thread, &result);
	printf("%s %ld%s\n", lingered == 1 ? "old" : "new", cleaned,
	       result == PTHREAD_CANCELED ? "" : " not cancelled");
}

static void answer(const char *line)
{
	long least = rounds[0];

	for (long i = 1; i < n_threads; i++)
		least = rounds[i] < least ? rounds[i].load() : least;
	if (strncmp(line, "ask ", 4) == 0)
		ask(atol(line + 4));
	else if (strcmp(line, "rounds") == 0)
		printf("%ld\n", least);
	else if (strcmp(line, "wrong") == 0)
		printf("%ld\n", wrong.load());
	else if (strcmp(line, "cancel") == 0)
		cancel();
	else
		puts("?");
}

int main(int argc, char **argv)
{
	const char *line;

	n_threads = argc > 1 ? atol(argv[1]) : n_threads;
	rest_us = argc > 2 ? atol(argv[2]) : rest_us;
	for (long i = 0; i < n_threads; i++) {
		pthread_t thread;

		if (pthread_create(&thread, nullptr, run, reinterpret_cast<void *>(i)) != 0)
			return 1;
	}
	line_ready();
	while ((line = line_next()))
		answer(line);
	/* The threads still use what exit() would destroy. */
	fflush(stdout);
	_exit(0);
}
