/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Clients of the demo's server: keeps persistent connections busy with one request each, and
 * checks every answer. An answer that is wrong, missing or from the wrong version is a failure; so
 * is a connection that breaks. Talks to the demo in lines:
 *
 *   report        ->  SERVED FAILED OLD NEW LONGEST-GAP-IN-US   (the gap without any answer)
 *   more N        ->  the report, after N more answers
 *   expect old|new|any  ->  "ok"; requests sent from now on must be answered by this version
 *   (end of input ends)
 *
 *   load PORT CONNECTIONS
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "injector/base/clock.h"

#define MAX_CONNECTIONS 1024
#define MAX_COMMAND 128

enum version {
	ANY,
	OLD,
	NEW,
};

struct client {
	int fd; /* -1 once it broke */
	unsigned number;
	enum version expected;
	size_t used;
	char answer[256];
};

static struct client clients[MAX_CONNECTIONS];
static struct {
	uint64_t served, failed, by_version[3];
	uint64_t last_ns, longest_ns;
} totals;
static enum version expected = ANY;
static uint64_t report_at = UINT64_MAX;
static unsigned n_alive;

static void fail(const char *what, const struct client *client)
{
	totals.failed++;
	fprintf(stderr, "load: client %u: %s\n", client->number, what);
}

static void ask(struct client *client)
{
	char request[64];
	int length = snprintf(request, sizeof(request), "hello client-%u\n", client->number);

	client->expected = expected;
	client->used = 0;
	if (send(client->fd, request, (size_t)length, MSG_NOSIGNAL) != length)
		fail("could not send a request", client);
}

/* Whose answer is it? ANY: nobody's. */
static enum version recognise(const struct client *client)
{
	char text[64];

	snprintf(text, sizeof(text), "Hello, client-%u.\n", client->number);
	if (strcmp(client->answer, text) == 0)
		return OLD;
	snprintf(text, sizeof(text), "Good day, client-%u! You are guest number ", client->number);
	return strncmp(client->answer, text, strlen(text)) == 0 ? NEW : ANY;
}

static void note_gap(void)
{
	uint64_t now = inj_now_ns();

	if (totals.last_ns && now - totals.last_ns > totals.longest_ns)
		totals.longest_ns = now - totals.last_ns;
	totals.last_ns = now;
}

static void check(struct client *client)
{
	enum version version = recognise(client);

	note_gap();
	totals.served++;
	totals.by_version[version]++;
	if (version == ANY)
		fail("wrong answer", client);
	else if (client->expected != ANY && client->expected != version)
		fail("answer of the wrong version", client);
}

static void hear(struct client *client)
{
	ssize_t n = read(client->fd, client->answer + client->used,
			 sizeof(client->answer) - 1 - client->used);

	if (n <= 0) {
		fail("lost its connection", client);
		close(client->fd);
		client->fd = -1;
		/* Nobody is left to answer: what was waited for never comes. */
		if (--n_alive == 0)
			report_at = 0;
		return;
	}
	client->used += (size_t)n;
	client->answer[client->used] = '\0';
	if (client->answer[client->used - 1] != '\n' && client->used < sizeof(client->answer) - 1)
		return;
	check(client);
	ask(client);
}

static void report(void)
{
	printf("%llu %llu %llu %llu %llu\n", (unsigned long long)totals.served,
	       (unsigned long long)totals.failed, (unsigned long long)totals.by_version[OLD],
	       (unsigned long long)totals.by_version[NEW],
	       (unsigned long long)totals.longest_ns / 1000);
	fflush(stdout);
	report_at = UINT64_MAX;
}

static void obey(const char *command)
{
	if (strcmp(command, "report") == 0) {
		report();
	} else if (strncmp(command, "more ", 5) == 0) {
		report_at = n_alive > 0 ? totals.served + strtoull(command + 5, NULL, 10) : 0;
	} else if (strncmp(command, "expect ", 7) == 0) {
		expected = strcmp(command + 7, "old") == 0   ? OLD
			   : strcmp(command + 7, "new") == 0 ? NEW
							     : ANY;
		puts("ok");
		fflush(stdout);
	} else {
		fprintf(stderr, "load: unknown command \"%s\"\n", command);
		exit(2);
	}
}

/* The demo sends one command and waits for its answer, so a read never holds two. */
static bool obey_input(void)
{
	char command[MAX_COMMAND];
	ssize_t n = read(STDIN_FILENO, command, sizeof(command) - 1);

	if (n <= 0)
		return false;
	command[n] = '\0';
	command[strcspn(command, "\n")] = '\0';
	obey(command);
	return true;
}

static int connect_to(unsigned short port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		perror("load: connect");
		exit(1);
	}
	return fd;
}

static void start(int epoll, unsigned short port, unsigned n_clients)
{
	for (unsigned i = 0; i < n_clients; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};

		clients[i] = (struct client){.fd = connect_to(port), .number = i + 1};
		epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i].fd, &event);
		n_alive++;
		ask(&clients[i]);
	}
}

int main(int argc, char **argv)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	unsigned n_clients = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;

	if (n_clients < 1 || n_clients > MAX_CONNECTIONS) {
		fprintf(stderr, "usage: load PORT CONNECTIONS\n");
		return 2;
	}
	start(epoll, (unsigned short)strtoul(argv[1], NULL, 10), n_clients);
	epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
	for (;;) {
		if (epoll_wait(epoll, &event, 1, -1) != 1) {
			if (errno == EINTR)
				continue;
			return 1;
		}
		if (event.data.ptr)
			hear(event.data.ptr);
		else if (!obey_input())
			return 0;
		if (totals.served >= report_at)
			report();
	}
}
