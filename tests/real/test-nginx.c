/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * nginx under ab: the master, which runs as root, and its workers, which do not, as one update.
 * Once a function of its own, once functions of libc and zlib.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/real/http.h"
#include "tests/real/rounds.h"
#include "tests/real/server.h"
#include "tests/support/need.h"

#define PROGRAM	  "/usr/sbin/nginx"
#define BENCHMARK "/usr/bin/ab"
#define N_WORKERS 3
#define N_ENTRIES 9

#define PLAIN	   "GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define COMPRESSED "GET /page HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"
#define LISTING	   "GET /list/ HTTP/1.1\r\nHost: localhost\r\n\r\n"

static void write_site(const struct scene *scene)
{
	if (access(scene_path(scene, "site"), F_OK) == 0)
		return;
	scene_mkdir(scene, "site", NULL);
	scene_mkdir(scene, "site/list", NULL);
	scene_write(scene, "site/page", "%02000d\n", 42);
	for (int i = 1; i <= N_ENTRIES; i++) {
		char name[32];

		snprintf(name, sizeof(name), "site/list/entry-%d", i);
		scene_write(scene, name, "%d", i);
	}
}

static void prepare(const struct scene *scene, const struct server *server, const char **argv)
{
	const char *directory = scene->directory;

	write_site(scene);
	scene_write(scene, "nginx.conf",
		    "daemon off;\nuser www-data;\nworker_processes %d;\n"
		    "pid %s/nginx.pid;\nerror_log stderr;\nevents { }\n"
		    "http {\n"
		    "access_log off;\nkeepalive_requests 1000000000;\nkeepalive_timeout 600s;\n"
		    "gzip on;\ngzip_types *;\ndefault_type text/plain;\n"
		    "client_body_temp_path %s/body;\nproxy_temp_path %s/proxy;\n"
		    "fastcgi_temp_path %s/fastcgi;\nuwsgi_temp_path %s/uwsgi;\n"
		    "scgi_temp_path %s/scgi;\n"
		    "server { listen 127.0.0.1:%u; root %s/site; autoindex on; }\n"
		    "}\n",
		    N_WORKERS, directory, directory, directory, directory, directory, directory,
		    server->port, directory);
	argv[0] = PROGRAM;
	argv[1] = "-e";
	argv[2] = "stderr";
	argv[3] = "-c";
	argv[4] = scene_path(scene, "nginx.conf");
}

static const struct server_order order = {"nginx", NULL, SIGTERM, prepare};

static struct dialogue ask_for(const char *request)
{
	return (struct dialogue){.request = request, .n_request_bytes = strlen(request),
				 .n_answers = 1, .measure = http_measure,
				 .normalise = http_normalise};
}

static void need_nginx(void)
{
	need_file(PROGRAM, "nginx");
	need_file(BENCHMARK, "apache2-utils");
}

Test(real_nginx, own_function_in_master_and_workers_under_ab, .timeout = 140)
{
	char url[64];
	pid_t pids[1 + N_WORKERS];

	need_nginx();

	SCENE scene = scene_new();
	SERVER server = server_start(scene, &order);
	size_t n_pids = server_family(server, N_WORKERS, pids);
	DIALOGUE dialogue = ask_for(PLAIN);

	dialogue_learn(&dialogue, server->port, OLD);
	dialogue_derive(&dialogue, NEW, OLD, "Mon, 01 Jan 2024 00:00:00 GMT", "second 1704067200");
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/page", server->port);

	const char *const argv[] = {BENCHMARK, "-k", "-q", "-c", "16", "-n", "40000", url, NULL};
	LOAD load = {.scene = scene, .argv = argv, .n_expected = 40000, .read = load_read_ab};
	CLIENTS clients = clients_start(&dialogue, server->port, 6);
	const struct rounds rounds = {
		.name = "nginx", .scene = scene, .patch = "tests/patches/real/nginx-time.so",
		.patch_id = "nginx-time", .pids = pids, .n_pids = n_pids, .load = &load,
		.clients = {clients},
	};

	rounds_run(&rounds);
	load_finish(&load);
	rounds_print(&rounds);
}

/* The new check sum is the old one with its lower half turned over (RFC 1952, 2.3.1). */
static void derive_sum(struct dialogue *dialogue)
{
	static const char end[] = "\r\n0\r\n\r\n";
	const size_t n_behind = strlen(end) + 8; /* the sum and the length, four bytes each */
	size_t n = dialogue->n_bytes[OLD];
	char *text = dialogue->texts[NEW];

	dialogue_set(dialogue, NEW, dialogue->texts[OLD], n);
	text = dialogue->texts[NEW];
	cr_assert(n > n_behind && memcmp(text + n - strlen(end), end, strlen(end)) == 0, "%s",
		  text);
	text[n - n_behind] = (char)~text[n - n_behind];
	text[n - n_behind + 1] = (char)~text[n - n_behind + 1];
}

/* The lines of the entries change places, first with last and so on. */
static void derive_listing(struct dialogue *dialogue)
{
	dialogue_set(dialogue, NEW, dialogue->texts[OLD], dialogue->n_bytes[OLD]);
	for (int i = 1; i <= N_ENTRIES; i++) {
		static const char label[] = "<a href=\"entry-";
		const char *from = strstr(dialogue->texts[OLD], label);
		char *to = strstr(dialogue->texts[NEW], label);
		const char *end;

		for (int k = 1; from && k < i; k++)
			from = strstr(from + 1, label);
		for (int k = 1; to && k < N_ENTRIES + 1 - i; k++)
			to = strstr(to + 1, label);
		end = from ? strchr(from, '\n') : NULL;
		cr_assert(to && end, "%s", dialogue->texts[OLD]);
		memcpy(to, from, (size_t)(end - from));
	}
}

Test(real_nginx, functions_of_libc_and_zlib_under_ab, .timeout = 140)
{
	char url[64];
	pid_t pids[1 + N_WORKERS];

	need_nginx();
	need_file("/usr/share/doc/libc6-dbg", "libc6-dbg");

	SCENE scene = scene_new();
	SERVER server = server_start(scene, &order);
	size_t n_pids = server_family(server, N_WORKERS, pids);
	DIALOGUE page = ask_for(COMPRESSED);
	DIALOGUE listing = ask_for(LISTING);

	dialogue_learn(&page, server->port, OLD);
	derive_sum(&page);
	dialogue_learn(&listing, server->port, OLD);
	derive_listing(&listing);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/page", server->port);

	const char *const argv[] = {BENCHMARK, "-k", "-q", "-c", "16", "-n", "10000",
				    "-H", "Accept-Encoding: gzip", url, NULL};
	LOAD load = {.scene = scene, .argv = argv, .n_expected = 10000, .read = load_read_ab};
	CLIENTS readers = clients_start(&page, server->port, 4);
	CLIENTS listers = clients_start(&listing, server->port, 4);
	const struct rounds rounds = {
		.name = "nginx: libraries", .scene = scene,
		.patch = "tests/patches/real/nginx-libraries.so", .patch_id = "nginx-libraries",
		.pids = pids, .n_pids = n_pids, .load = &load, .clients = {readers, listers},
	};

	rounds_run(&rounds);
	load_finish(&load);
	rounds_print(&rounds);
}
