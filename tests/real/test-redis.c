/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* redis-server under redis-benchmark with pipelines: one busy thread, and some that wait. */
#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

#include "tests/real/rounds.h"
#include "tests/real/server.h"
#include "tests/support/need.h"

#define PROGRAM	  "/usr/bin/redis-server"
#define BENCHMARK "/usr/bin/redis-benchmark"
#define PIPELINE  16
#define N_OF_EACH 100000
#define TEXT(number) TEXT_(number)
#define TEXT_(number) #number

static const char pings[] =
	"PING\r\nPING\r\nPING\r\nPING\r\nPING\r\nPING\r\nPING\r\nPING\r\n"
	"PING\r\nPING\r\nPING\r\nPING\r\nPING\r\nPING\r\nPING\r\nPING\r\n";

static void prepare(const struct scene *scene, const struct server *server, const char **argv)
{
	scene_write(scene, "redis.conf",
		    "port %u\nbind 127.0.0.1\nsave \"\"\nappendonly no\ndaemonize no\n",
		    server->port);
	argv[0] = PROGRAM;
	argv[1] = scene_path(scene, "redis.conf");
}

static size_t measure_line(const char *text, size_t n)
{
	const char *end = memmem(text, n, "\r\n", 2);

	return end ? (size_t)(end - text) + 2 : 0;
}

/* redis-benchmark ends with an error when a connection breaks or an answer is an error. */
static uint64_t read_benchmark(const char *text)
{
	cr_assert(!strstr(text, "rror"), "%s", text);
	cr_assert(strstr(text, "PING_MBULK") && strstr(text, "SET") && strstr(text, "GET"), "%s",
		  text);
	return 3 * N_OF_EACH;
}

Test(real_redis, ping_under_redis_benchmark, .timeout = 140)
{
	static const struct server_order order = {"redis-server", "redis", SIGTERM, prepare};

	need_file(PROGRAM, "redis-server");
	need_file(BENCHMARK, "redis-tools");

	SCENE scene = scene_new();
	SERVER server = server_start(scene, &order);
	DIALOGUE dialogue = {
		.request = pings, .n_request_bytes = strlen(pings), .n_answers = PIPELINE,
		.measure = measure_line,
	};

	dialogue_set(&dialogue, OLD, "+PONG\r\n", strlen("+PONG\r\n"));
	dialogue_set(&dialogue, NEW, "+PONG2\r\n", strlen("+PONG2\r\n"));

	const char *const argv[] = {BENCHMARK, "-h", "127.0.0.1", "-p", server->port_text,
				    "-P", "16", "-c", "20", "-n", TEXT(N_OF_EACH), "-q",
				    "-t", "ping_mbulk,set,get", NULL};
	LOAD load = {.scene = scene, .argv = argv, .n_expected = 3 * N_OF_EACH,
		     .read = read_benchmark};
	CLIENTS clients = clients_start(&dialogue, server->port, 4);
	const struct rounds rounds = {
		.name = "redis-server", .scene = scene, .patch = "tests/patches/real/redis-ping.so",
		.patch_id = "redis-ping", .pids = &server->pid, .n_pids = 1, .load = &load,
		.clients = {clients},
	};

	rounds_run(&rounds);
	load_finish(&load);
	rounds_print(&rounds);
}
