/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the clients. Always holds: one connection each, never opened again; an answer counts only
 * when every byte of it is that of one version. Threads of clients never fail the test themselves:
 * they note the first thing that went wrong and end; the test's own thread finds it.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "injector/base/clock.h"
#include "injector/base/io.h"
#include "tests/real/client.h"

#define ANSWER_SECONDS 30
#define WAIT_SECONDS   60
#define N_SHOWN	       200

struct client {
	struct clients *all;
	pthread_t thread;
	int fd;
	pid_t server_pid;
	/* Guarded by all->lock. */
	enum version expected; /* of the request that is under way */
	bool stopped;
	struct client_totals totals;
	char trouble[512];
	uint64_t goal; /* answers that clients_await() waits for */
	/* Of the thread alone. */
	uint64_t last_ns;
	size_t used;
	char text[CLIENT_ROOM];
	char answer[CLIENT_ROOM];
};

struct clients {
	struct dialogue dialogue; /* a copy: threads may outlive a test that failed */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum version wanted;
	bool stop;
	unsigned n;
	struct client *items;
};

/* --- talking ---------------------------------------------------------------------------------- */

static int connect_to(unsigned short port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct timeval limit = {ANSWER_SECONDS, 0};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0,
		     "no connection to port %u: %s", port, strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

static bool ask(int fd, const struct dialogue *dialogue)
{
	size_t n = dialogue->n_request_bytes;

	return send(fd, dialogue->request, n, MSG_NOSIGNAL) == (ssize_t)n;
}

/* Make the first answer complete. Return: its length; 0 when the connection broke, see errno. */
static size_t hear(int fd, const struct dialogue *dialogue, char *text, size_t *used)
{
	for (;;) {
		size_t length = *used ? dialogue->measure(text, *used) : 0;

		if (length)
			return length;
		if (*used == CLIENT_ROOM) {
			errno = EMSGSIZE;
			return 0;
		}

		ssize_t n = recv(fd, text + *used, CLIENT_ROOM - *used, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = ECONNRESET;
		if (n <= 0)
			return 0;
		*used += (size_t)n;
	}
}

/* --- dialogues -------------------------------------------------------------------------------- */

void dialogue_set(struct dialogue *dialogue, enum version version, const char *text, size_t n)
{
	free(dialogue->texts[version]);
	dialogue->texts[version] = malloc(n + 1);
	cr_assert_not_null(dialogue->texts[version]);
	memcpy(dialogue->texts[version], text, n);
	dialogue->texts[version][n] = '\0';
	dialogue->n_bytes[version] = n;
}

void dialogue_learn(struct dialogue *dialogue, unsigned short port, enum version version)
{
	INJ_CLOSE int fd = connect_to(port);
	INJ_FREE char *text = malloc(CLIENT_ROOM);
	size_t used = 0;
	pid_t pid;

	cr_assert(!dialogue->greet || dialogue->greet(fd, &pid), "the server does not greet");
	cr_assert(text && ask(fd, dialogue));

	size_t n = hear(fd, dialogue, text, &used);

	cr_assert_gt(n, 0, "no answer from port %u: %s", port, strerror(errno));
	if (dialogue->normalise)
		n = dialogue->normalise(text, n);
	dialogue_set(dialogue, version, text, n);
}

void dialogue_derive(struct dialogue *dialogue, enum version version, enum version other,
		     const char *from, const char *to)
{
	const char *text = dialogue->texts[other];
	size_t n = dialogue->n_bytes[other];
	const char *place = memmem(text, n, from, strlen(from));
	char derived[CLIENT_ROOM];

	cr_assert_not_null(place, "no \"%s\" in \"%s\"", from, text);

	size_t before = (size_t)(place - text);
	size_t behind = n - before - strlen(from);

	cr_assert_lt(before + strlen(to) + behind, sizeof(derived));
	memcpy(derived, text, before);
	memcpy(derived + before, to, strlen(to));
	memcpy(derived + before + strlen(to), place + strlen(from), behind);
	dialogue_set(dialogue, version, derived, before + strlen(to) + behind);
}

void dialogue_deinit(struct dialogue *dialogue)
{
	for (size_t i = 0; i < N_VERSIONS; i++)
		free(dialogue->texts[i]);
}

/* --- threads ---------------------------------------------------------------------------------- */

static void note_trouble(struct client *client, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void note_trouble(struct client *client, const char *format, ...)
{
	va_list arguments;

	pthread_mutex_lock(&client->all->lock);
	va_start(arguments, format);
	vsnprintf(client->trouble, sizeof(client->trouble), format, arguments);
	va_end(arguments);
	client->totals.n_failed++;
	pthread_mutex_unlock(&client->all->lock);
}

static enum version recognise(const struct dialogue *dialogue, const char *answer, size_t n)
{
	for (enum version version = OLD; version < N_VERSIONS; version++)
		if (n == dialogue->n_bytes[version] &&
		    memcmp(answer, dialogue->texts[version], n) == 0)
			return version;
	return ANY;
}

static bool take_answer(struct client *client, enum version expected)
{
	static const char *const words[] = {"neither version", "the old version",
					    "the new version"};
	const struct dialogue *dialogue = &client->all->dialogue;
	size_t length = hear(client->fd, dialogue, client->text, &client->used);
	size_t n = length;

	if (length == 0) {
		note_trouble(client, "the connection broke: %s", strerror(errno));
		return false;
	}
	memcpy(client->answer, client->text, length);
	client->used -= length;
	memmove(client->text, client->text + length, client->used);
	if (dialogue->normalise)
		n = dialogue->normalise(client->answer, n);

	enum version version = recognise(dialogue, client->answer, n);
	uint64_t now = inj_now_ns();

	if (version == ANY || (expected != ANY && version != expected)) {
		note_trouble(client, "an answer of %s, expected %s: %.*s", words[version],
			     words[expected], (int)(n < N_SHOWN ? n : N_SHOWN), client->answer);
		return false;
	}
	pthread_mutex_lock(&client->all->lock);
	client->totals.n_answers[version]++;
	if (client->last_ns && now - client->last_ns > client->totals.longest_gap_ns)
		client->totals.longest_gap_ns = now - client->last_ns;
	pthread_mutex_unlock(&client->all->lock);
	client->last_ns = now;
	return true;
}

/* Return: what the next request is to be answered by; -1: no more requests. */
static int begin(struct client *client)
{
	struct clients *all = client->all;
	int expected = -1;

	pthread_mutex_lock(&all->lock);
	if (!all->stop)
		expected = (int)(client->expected = all->wanted);
	pthread_cond_broadcast(&all->changed);
	pthread_mutex_unlock(&all->lock);
	return expected;
}

static bool exchange(struct client *client, enum version expected)
{
	const struct dialogue *dialogue = &client->all->dialogue;

	if (!ask(client->fd, dialogue)) {
		note_trouble(client, "a request could not be sent: %s", strerror(errno));
		return false;
	}
	for (unsigned i = 0; i < dialogue->n_answers; i++)
		if (!take_answer(client, expected))
			return false;
	return true;
}

static void *converse(void *argument)
{
	struct client *client = argument;
	int expected;

	while ((expected = begin(client)) >= 0 && exchange(client, (enum version)expected))
		;
	pthread_mutex_lock(&client->all->lock);
	client->stopped = true;
	pthread_cond_broadcast(&client->all->changed);
	pthread_mutex_unlock(&client->all->lock);
	return NULL;
}

/* --- in the test's thread --------------------------------------------------------------------- */

struct clients *clients_start(const struct dialogue *dialogue, unsigned short port, unsigned n)
{
	struct clients *clients = calloc(1, sizeof(*clients));
	pthread_condattr_t attributes;

	cr_assert(clients && (clients->items = calloc(n, sizeof(*clients->items))));
	clients->dialogue = *dialogue;
	for (enum version version = OLD; version < N_VERSIONS; version++) {
		clients->dialogue.texts[version] = NULL;
		if (dialogue->texts[version])
			dialogue_set(&clients->dialogue, version, dialogue->texts[version],
				     dialogue->n_bytes[version]);
	}
	clients->n = n;
	pthread_mutex_init(&clients->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&clients->changed, &attributes);
	for (unsigned i = 0; i < n; i++) {
		struct client *client = &clients->items[i];

		client->all = clients;
		client->fd = connect_to(port);
		cr_assert(!dialogue->greet || dialogue->greet(client->fd, &client->server_pid),
			  "the server does not greet");
	}
	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(pthread_create(&clients->items[i].thread, NULL, converse,
					    &clients->items[i]), 0);
	return clients;
}

static void fail_on_trouble(const struct clients *clients)
{
	for (unsigned i = 0; i < clients->n; i++)
		cr_assert_eq(clients->items[i].totals.n_failed, 0, "client %u: %s", i,
			     clients->items[i].trouble);
}

/* Wait for a change, with the lock held; fails the test (without it) when there was trouble. */
static void await_change(struct clients *clients, const struct timespec *deadline)
{
	bool late = pthread_cond_timedwait(&clients->changed, &clients->lock, deadline) != 0;
	bool trouble = false;

	for (unsigned i = 0; i < clients->n; i++)
		trouble |= clients->items[i].totals.n_failed > 0;
	if (!late && !trouble)
		return;
	pthread_mutex_unlock(&clients->lock);
	fail_on_trouble(clients);
	cr_assert_fail("the clients got no answers for %d s", WAIT_SECONDS);
}

static struct timespec in_seconds(int seconds)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	time.tv_sec += seconds;
	return time;
}

static bool all_expect(const struct clients *clients, enum version version)
{
	for (unsigned i = 0; i < clients->n; i++)
		if (clients->items[i].expected != version)
			return false;
	return true;
}

void clients_expect(struct clients *clients, enum version version)
{
	const struct timespec deadline = in_seconds(WAIT_SECONDS);

	pthread_mutex_lock(&clients->lock);
	clients->wanted = version;
	while (!all_expect(clients, version))
		await_change(clients, &deadline);
	pthread_mutex_unlock(&clients->lock);
}

static uint64_t count_answers(const struct client *client)
{
	return client->totals.n_answers[OLD] + client->totals.n_answers[NEW];
}

void clients_await(struct clients *clients, unsigned n_answers)
{
	const struct timespec deadline = in_seconds(WAIT_SECONDS);

	pthread_mutex_lock(&clients->lock);
	for (unsigned i = 0; i < clients->n; i++)
		clients->items[i].goal = count_answers(&clients->items[i]) + n_answers;
	for (unsigned i = 0; i < clients->n; i++)
		while (count_answers(&clients->items[i]) < clients->items[i].goal)
			await_change(clients, &deadline);
	pthread_mutex_unlock(&clients->lock);
}

void clients_pids(const struct clients *clients, pid_t *pids)
{
	for (unsigned i = 0; i < clients->n; i++)
		pids[i] = clients->items[i].server_pid;
}

struct client_totals clients_totals(struct clients *clients)
{
	struct client_totals totals = {0};

	pthread_mutex_lock(&clients->lock);
	for (unsigned i = 0; i < clients->n; i++) {
		const struct client_totals *one = &clients->items[i].totals;

		for (size_t k = 0; k < N_VERSIONS; k++)
			totals.n_answers[k] += one->n_answers[k];
		totals.n_failed += one->n_failed;
		if (one->longest_gap_ns > totals.longest_gap_ns)
			totals.longest_gap_ns = one->longest_gap_ns;
	}
	pthread_mutex_unlock(&clients->lock);
	return totals;
}

void clients_free(struct clients *clients)
{
	if (!clients)
		return;
	pthread_mutex_lock(&clients->lock);
	clients->stop = true;
	pthread_mutex_unlock(&clients->lock);
	for (unsigned i = 0; i < clients->n; i++) {
		pthread_join(clients->items[i].thread, NULL);
		close(clients->items[i].fd);
	}
	fail_on_trouble(clients);
	dialogue_deinit(&clients->dialogue);
	free(clients->items);
	free(clients);
}
