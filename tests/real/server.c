/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns a server's start and end. Always holds: it listens on loopback only, on a port the kernel
 * gave away as free a moment ago, so never on one that has a meaning. Refuses servers that end with
 * anything but status 0: they were harmed.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "injector/base/clock.h"
#include "injector/base/io.h"
#include "tests/real/server.h"

#define MAX_TRIES     4
#define LOWEST_PORT   20000
#define FAMILY_NS     UINT64_C(30000000000)
#define LOOK_MS	      10

static struct sockaddr_in loopback(unsigned short port)
{
	return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static unsigned short find_port(void)
{
	for (;;) {
		INJ_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		struct sockaddr_in address = loopback(0);
		socklen_t length = sizeof(address);

		cr_assert_eq(bind(fd, (struct sockaddr *)&address, length), 0);
		cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &length), 0);
		if (ntohs(address.sin_port) >= LOWEST_PORT)
			return ntohs(address.sin_port);
	}
}

static bool try_start(const struct scene *scene, const struct server_order *order,
		      struct server *server, bool may_end)
{
	const char *argv[SERVER_MAX_ARGUMENTS + 1] = {NULL};
	char output[64];

	server->port = find_port();
	snprintf(server->port_text, sizeof(server->port_text), "%u", server->port);
	order->prepare(scene, server, argv);
	snprintf(output, sizeof(output), "%s.log", order->name);
	server->keeper = keeper_start(&(struct keeper_order){
		.argv = argv, .user = order->user, .directory = scene->directory,
		.output = scene_path(scene, output), .stop_signal = order->stop_signal,
		.keep_fd = scene->keep_fd});
	server->pid = server->keeper->pid;

	struct sockaddr_in address = loopback(server->port);

	return scene_await_listener(server->keeper, (struct sockaddr *)&address, sizeof(address),
				    may_end);
}

struct server *server_start(const struct scene *scene, const struct server_order *order)
{
	struct server *server = calloc(1, sizeof(*server));

	cr_assert_not_null(server);
	server->name = order->name;
	for (unsigned i = 1; !try_start(scene, order, server, i < MAX_TRIES); i++)
		keeper_free(server->keeper);
	return server;
}

void server_free(struct server *server)
{
	if (!server)
		return;
	cr_assert(!keeper_await_end(server->keeper, 0), "%s ended too early: %s", server->name,
		  keeper_output(server->keeper));
	keeper_stop(server->keeper);
	cr_assert_eq(server->keeper->status, 0, "%s ended with status 0x%x: %s", server->name,
		     (unsigned)server->keeper->status, keeper_output(server->keeper));
	keeper_free(server->keeper);
	free(server);
}

static size_t read_children(pid_t pid, pid_t *pids, size_t room)
{
	char path[64], text[4096] = "";
	size_t length = 0;
	size_t n = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);

	INJ_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

	cr_assert(fd >= 0 && inj_read_full(fd, text, sizeof(text) - 1, &length) == 0, "%s", path);
	text[length] = '\0';
	for (char *rest = text, *word; (word = strsep(&rest, " "));) {
		if (*word && n < room)
			pids[n] = (pid_t)atoi(word);
		n += *word != '\0';
	}
	return n;
}

size_t server_family(const struct server *server, size_t n_children, pid_t *pids)
{
	uint64_t deadline_ns = inj_now_ns() + FAMILY_NS;

	pids[0] = server->pid;
	while (read_children(server->pid, pids + 1, n_children) != n_children) {
		cr_assert(!keeper_await_end(server->keeper, LOOK_MS), "%s ended: %s", server->name,
			  keeper_output(server->keeper));
		cr_assert_gt(inj_remaining_ns(deadline_ns), 0, "%s has not got %zu children",
			     server->name, n_children);
	}
	return 1 + n_children;
}
