/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Backends of postgres under pgbench, as one update: those that serve pgbench and those of clients
 * of our own. pgbench itself takes an answer that is neither old nor new for an error.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "injector/base/clock.h"
#include "tests/real/rounds.h"
#include "tests/real/server.h"
#include "tests/support/need.h"

#define PROGRAMS      "/usr/lib/postgresql/15/bin/"
#define USER	      "postgres"
#define N_BENCH	      6
#define N_CLIENTS     3
#define TRANSACTIONS  "2500" /* of each client of pgbench */
#define N_TRANSACTIONS (N_BENCH * 2500)
#define NEW_VERSION   "PostgreSQL, patched"
#define CONNECT_NS    UINT64_C(30000000000)
#define WIDTH	      "160"

/* Source: "Message Formats" of the PostgreSQL manual, protocol 3.0. */
#define QUERY "SELECT rpad(version(), " WIDTH ")"
struct query {
	char type;
	uint8_t n_bytes[4];
	char text[sizeof(QUERY)];
};

static const struct query query = {'Q', {0, 0, 0, 4 + sizeof(QUERY)}, QUERY};

static uint32_t read_number(const char *bytes)
{
	uint32_t number;

	memcpy(&number, bytes, sizeof(number));
	return ntohl(number);
}

/* All messages up to ReadyForQuery are one answer. */
static size_t measure_until_ready(const char *text, size_t n)
{
	size_t at = 0;

	while (n - at >= 5) {
		size_t length = 1 + read_number(text + at + 1);

		if (length < 5 || length > n - at)
			return 0;
		if (text[at] == 'Z')
			return at + length;
		at += length;
	}
	return 0;
}

static pid_t find_backend(const char *text, size_t n)
{
	for (size_t at = 0; at < n; at += 1 + read_number(text + at + 1))
		if (text[at] == 'K')
			return (pid_t)read_number(text + at + 5);
	return 0;
}

static bool greet(int fd, pid_t *ret_pid)
{
	static const char hello[] = "\0\0\0\51\0\3\0\0"
				    "user\0postgres\0database\0postgres\0";
	char text[8192];
	size_t used = 0;
	size_t length = 0;

	_Static_assert(sizeof(hello) == 051, "the first word is the length");
	if (send(fd, hello, sizeof(hello), MSG_NOSIGNAL) != (ssize_t)sizeof(hello))
		return false;
	while (length == 0) {
		ssize_t n = recv(fd, text + used, sizeof(text) - used, 0);

		if (n <= 0)
			return false;
		used += (size_t)n;
		length = measure_until_ready(text, used);
	}
	*ret_pid = find_backend(text, length);
	return *ret_pid > 0;
}

/* --- server and load -------------------------------------------------------------------------- */

static void run_as_postgres(const struct scene *scene, const char *const *argv, const char *output)
{
	KEEPER keeper = keeper_start(&(struct keeper_order){
		.argv = argv, .user = USER, .directory = scene->directory,
		.output = scene_path(scene, output), .stop_signal = SIGTERM,
		.keep_fd = scene->keep_fd});

	cr_assert(keeper_await_end(keeper, 60000), "%s does not end", argv[0]);
	cr_assert_eq(keeper->status, 0, "%s: %s", argv[0], keeper_output(keeper));
}

static void prepare(const struct scene *scene, const struct server *server, const char **argv)
{
	const char *data = scene_path(scene, "data");
	const char *const initdb[] = {PROGRAMS "initdb", "-D", data, "-A", "trust", "-U", USER,
				      "--no-sync", "--locale=C", "-E", "UTF8", NULL};

	if (access(data, F_OK) != 0) {
		scene_mkdir(scene, "data", USER);
		run_as_postgres(scene, initdb, "initdb.log");
	}

	const char *const options[] = {PROGRAMS "postgres", "-D", data, "-h", "127.0.0.1", "-k", "",
				       "-F", "-c", "autovacuum=off", "-p", server->port_text};

	memcpy(argv, options, sizeof(options));
}

static const char *run_sql(const struct scene *scene, const struct server *server, const char *sql)
{
	const char *const argv[] = {PROGRAMS "psql", "-h", "127.0.0.1", "-p", server->port_text,
				    "-U", USER, "-X", "-q", "-At", "-c", sql, NULL};

	return scene_run(scene, argv, NULL);
}

/* It listens before it is ready. */
static void await_ready(const struct scene *scene, const struct server *server)
{
	const char *const argv[] = {PROGRAMS "pg_isready", "-h", "127.0.0.1", "-p",
				    server->port_text, NULL};
	uint64_t deadline_ns = inj_now_ns() + CONNECT_NS;
	int code;

	while (scene_run(scene, argv, &code), code != 0)
		cr_assert_gt(inj_remaining_ns(deadline_ns), 0, "postgres is not ready: %s",
			     keeper_output(server->keeper));
}

/*
 * Every transaction first sleeps as long as the table says. So the transactions of pgbench, whose
 * number it wants to know beforehand, last as long as they are needed: the test sets the time to
 * nothing when it is done.
 */
static void prepare_bench(const struct scene *scene, const struct server *server)
{
	run_sql(scene, server, "CREATE TABLE pace AS SELECT 0.01::float8 AS seconds");

	char old[256];

	snprintf(old, sizeof(old), "%s", run_sql(scene, server, "SELECT version()"));
	old[strcspn(old, "\n")] = '\0';
	scene_write(scene, "bench.sql",
		    "SELECT pg_sleep(seconds) FROM pace;\n"
		    "SELECT 1 / (version() IN ('%s', '" NEW_VERSION "'))::int;\n",
		    old);
}

/* Until pgbench has all its connections. */
static void find_bench(const struct scene *scene, const struct server *server, pid_t *pids)
{
	uint64_t deadline_ns = inj_now_ns() + CONNECT_NS;
	size_t n;

	do {
		const char *text = run_sql(scene, server, "SELECT pid FROM pg_stat_activity "
							  "WHERE application_name = 'pgbench'");

		cr_assert_gt(inj_remaining_ns(deadline_ns), 0, "pgbench does not connect");
		for (n = 0; n < N_BENCH && *text; n++) {
			pids[n] = (pid_t)atoi(text);
			text = strchr(text, '\n') ? strchr(text, '\n') + 1 : "";
		}
	} while (n < N_BENCH);
}

static void learn(struct dialogue *dialogue, unsigned short port)
{
	char old[256], new[256];
	int width = atoi(WIDTH);

	dialogue_learn(dialogue, port, OLD);

	const char *place = memmem(dialogue->texts[OLD], dialogue->n_bytes[OLD], "PostgreSQL ", 11);

	cr_assert_not_null(place);
	snprintf(old, sizeof(old), "%.*s", width, place);
	snprintf(new, sizeof(new), "%-*s", width, NEW_VERSION);
	dialogue_derive(dialogue, NEW, OLD, old, new);
}

Test(real_postgres, version_in_backends_under_pgbench, .timeout = 140)
{
	static const struct server_order order = {"postgres", USER, SIGINT, prepare};
	pid_t pids[N_BENCH + N_CLIENTS];

	need_file(PROGRAMS "postgres", "postgresql");
	need_file(PROGRAMS "pgbench", "postgresql-contrib");

	SCENE scene = scene_new();
	SERVER server = server_start(scene, &order);
	DIALOGUE dialogue = {
		.request = (const char *)&query, .n_request_bytes = sizeof(query), .n_answers = 1,
		.measure = measure_until_ready, .greet = greet,
	};

	await_ready(scene, server);
	learn(&dialogue, server->port);
	prepare_bench(scene, server);

	const char *script = scene_path(scene, "bench.sql");
	const char *const argv[] = {PROGRAMS "pgbench", "-h", "127.0.0.1", "-p", server->port_text,
				    "-U", USER, "-n", "-f", script, "-c", "6", "-t", TRANSACTIONS,
				    "postgres", NULL};
	LOAD load = {.scene = scene, .argv = argv, .n_expected = N_TRANSACTIONS,
		     .read = load_read_pgbench};
	CLIENTS clients = clients_start(&dialogue, server->port, N_CLIENTS);

	load_keep_going(&load);
	find_bench(scene, server, pids);
	clients_pids(clients, pids + N_BENCH);

	const struct rounds rounds = {
		.name = "postgres", .scene = scene,
		.patch = "tests/patches/real/postgres-version.so", .patch_id = "postgres-version",
		.pids = pids, .n_pids = N_BENCH + N_CLIENTS, .load = &load, .clients = {clients},
	};

	rounds_run(&rounds);
	run_sql(scene, server, "UPDATE pace SET seconds = 0");
	load_finish(&load);
	cr_assert_eq(load.n_runs, 1, "pgbench ended before the updates did");
	rounds_print(&rounds);
}
