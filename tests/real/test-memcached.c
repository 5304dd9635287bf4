/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memcached under memcslap. The program exports nothing; what is patched is a function of a library
 * it uses, which clients see in its statistics.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "injector/base/types.h"
#include "tests/real/rounds.h"
#include "tests/real/server.h"
#include "tests/support/need.h"

#define PROGRAM	  "/usr/bin/memcached"
#define BENCHMARK "/usr/bin/memcslap"
#define N_GETS	  (4 * 5000)
#define STATS	  "stats\r\n"
#define PAIR	  "set key 0 0 5\r\nvalue\r\nget key\r\n"
#define PAIR_DONE "STORED\r\nVALUE key 0 5\r\nvalue\r\nEND\r\n"

static void prepare(const struct scene *scene, const struct server *server, const char **argv)
{
	static const char *const options[] = {PROGRAM, "-l", "127.0.0.1", "-t", "4", "-U", "0",
					      "-p"};

	memcpy(argv, options, sizeof(options));
	argv[INJ_ARRAY_LENGTH(options)] = server->port_text;
}

static size_t measure_until_end(const char *text, size_t n)
{
	static const char end[] = "END\r\n";
	const char *place = memmem(text, n, end, strlen(end));

	return place ? (size_t)(place - text) + strlen(end) : 0;
}

/* Of all the statistics only the line about libevent stays as it is. */
static size_t keep_version(char *answer, size_t n)
{
	static const char label[] = "STAT libevent ";
	char *line = memmem(answer, n, label, strlen(label));
	char *end = line ? memmem(line, (size_t)(answer + n - line), "\r\n", 2) : NULL;

	if (!end)
		return n;
	memmove(answer, line, (size_t)(end - line));
	return (size_t)(end - line);
}

/* It prints what it has done, and nothing else unless something went wrong. */
static uint64_t read_benchmark(const char *text)
{
	cr_assert(load_has_line(text, "Time total:"), "%s", text);
	cr_assert(!strcasestr(text, "error") && !strcasestr(text, "fail"), "%s", text);
	return N_GETS;
}

Test(real_memcached, libevent_under_memcslap, .timeout = 140)
{
	static const struct server_order order = {"memcached", "memcache", SIGTERM, prepare};
	char servers[64];

	need_file(PROGRAM, "memcached");
	need_file(BENCHMARK, "libmemcached-tools");

	SCENE scene = scene_new();
	SERVER server = server_start(scene, &order);
	DIALOGUE stats = {
		.request = STATS, .n_request_bytes = strlen(STATS), .n_answers = 1,
		.measure = measure_until_end, .normalise = keep_version,
	};
	DIALOGUE pairs = {
		.request = PAIR, .n_request_bytes = strlen(PAIR), .n_answers = 1,
		.measure = measure_until_end,
	};

	dialogue_learn(&stats, server->port, OLD);
	dialogue_derive(&stats, NEW, OLD, "-stable", "-patched");
	dialogue_set(&pairs, OLD, PAIR_DONE, strlen(PAIR_DONE));
	snprintf(servers, sizeof(servers), "--servers=127.0.0.1:%u", server->port);

	const char *const argv[] = {BENCHMARK, servers, "--concurrency=4",
				    "--execute-number=5000", "--test=get", NULL};
	LOAD load = {.scene = scene, .argv = argv, .n_expected = N_GETS, .read = read_benchmark};
	CLIENTS clients = clients_start(&stats, server->port, 4);
	CLIENTS others = clients_start(&pairs, server->port, 4);
	const struct rounds rounds = {
		.name = "memcached", .scene = scene,
		.patch = "tests/patches/real/memcached-libevent.so",
		.patch_id = "memcached-libevent", .pids = &server->pid, .n_pids = 1, .load = &load,
		.clients = {clients},
	};

	rounds_run(&rounds);
	clients_await(others, 10);
	load_finish(&load);
	rounds_print(&rounds);
}
