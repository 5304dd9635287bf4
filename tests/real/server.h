/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_REAL_SERVER_H
#define TESTS_REAL_SERVER_H

#include "tests/real/scene.h"

#define SERVER_MAX_ARGUMENTS 24

/* A server as its package ships it, on a loopback port that was free, in the scene's directory. */
struct server {
	const char *name;
	struct keeper *keeper;
	pid_t pid;
	unsigned short port;
	char port_text[8];
};

struct server_order {
	const char *name;
	const char *user;         /* NULL: it starts as root and changes by itself */
	int stop_signal;          /* for an orderly end, after which its status is 0 */
	/*
	 * Write its files and its arguments; called again with another port when the port was taken
	 * meanwhile. argv: SERVER_MAX_ARGUMENTS, zeroed.
	 */
	void (*prepare)(const struct scene *scene, const struct server *server, const char **argv);
};

/* Return: it accepts connections. */
struct server *server_start(const struct scene *scene, const struct server_order *order);
/* Ask it to end; fails the test unless its status is 0. NULL is fine. */
void server_free(struct server *server);
INJ_DEFINE_GUARD(struct server *, server_free, server_guard)
#define SERVER INJ_CLEANUP(server_guard) struct server *

/*
 * The server's process and its children, which must be exactly so many, or become so soon.
 * pids: room for 1 + n_children. Return: 1 + n_children.
 */
size_t server_family(const struct server *server, size_t n_children, pid_t *pids);

#endif
