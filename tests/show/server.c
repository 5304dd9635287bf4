/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An ordinary server, as anybody might write one: a line protocol on TCP, eight worker threads,
 * each with its own connections. It knows nothing of being changed while it runs.
 *
 *   hello NAME    ->  Hello, NAME.
 *   count         ->  how many greetings were given
 *   quit          ->  closes the connection
 *
 *   server PORT   (0: any; the port is printed)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define N_WORKERS 8
#define LINE_MAX_BYTES 512

struct connection {
	int fd;
	size_t used;
	char line[LINE_MAX_BYTES];
};

struct command {
	const char *name;
	void (*run)(const char *argument, char *reply, size_t size);
};

static atomic_ulong greeted;

static void greet(const char *name, char *reply, size_t size)
{
	atomic_fetch_add(&greeted, 1);
	snprintf(reply, size, "Hello, %s.\n", name);
}

static void count(const char *argument, char *reply, size_t size)
{
	snprintf(reply, size, "%lu\n", atomic_load(&greeted));
}

/* Sorted by name. */
static const struct command commands[] = {{"count", count}, {"hello", greet}};

static int by_name(const void *name, const void *command)
{
	return strcmp(name, ((const struct command *)command)->name);
}

/* Return: -1 to close the connection. */
static int answer(struct connection *connection, char *line)
{
	char reply[LINE_MAX_BYTES] = "What?\n";
	char *argument = strchr(line, ' ');
	const struct command *command;

	if (argument)
		*argument++ = '\0';
	if (strcmp(line, "quit") == 0)
		return -1;
	command = bsearch(line, commands, sizeof(commands) / sizeof(commands[0]),
			  sizeof(commands[0]), by_name);
	if (command)
		command->run(argument ? argument : "stranger", reply, sizeof(reply));
	return send(connection->fd, reply, strlen(reply), MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static int serve(struct connection *connection)
{
	ssize_t n = read(connection->fd, connection->line + connection->used,
			 sizeof(connection->line) - 1 - connection->used);
	char *end;

	if (n <= 0)
		return -1;
	connection->used += (size_t)n;
	connection->line[connection->used] = '\0';
	while ((end = strchr(connection->line, '\n'))) {
		*end = '\0';
		if (answer(connection, connection->line) < 0)
			return -1;
		connection->used -= (size_t)(end + 1 - connection->line);
		memmove(connection->line, end + 1, connection->used + 1);
	}
	return connection->used == sizeof(connection->line) - 1 ? -1 : 0;
}

static void *work(void *context)
{
	int epoll = *(int *)context;
	struct epoll_event event;

	for (;;) {
		/* Not repeated after EINTR, as in many a program: being held must not show. */
		if (epoll_wait(epoll, &event, 1, -1) != 1) {
			perror("epoll_wait");
			abort();
		}
		struct connection *connection = event.data.ptr;

		if (serve(connection) < 0) {
			close(connection->fd);
			free(connection);
		}
	}
	return NULL;
}

static int listen_on(unsigned short port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 256) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) < 0) {
		perror("listen");
		exit(1);
	}
	printf("%u\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

int main(int argc, char **argv)
{
	int listener = listen_on(argc > 1 ? (unsigned short)atoi(argv[1]) : 0);
	static int epolls[N_WORKERS];
	pthread_t thread;

	for (int i = 0; i < N_WORKERS; i++) {
		epolls[i] = epoll_create1(0);
		pthread_create(&thread, NULL, work, &epolls[i]);
	}
	for (unsigned next = 0;; next++) {
		struct connection *connection = calloc(1, sizeof(*connection));
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};

		connection->fd = accept(listener, NULL, NULL);
		if (connection->fd < 0) {
			perror("accept");
			return 1;
		}
		epoll_ctl(epolls[next % N_WORKERS], EPOLL_CTL_ADD, connection->fd, &event);
	}
}
