/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* apache2 with the event MPM under ab: parent and children of many threads as one update. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/real/http.h"
#include "tests/real/rounds.h"
#include "tests/real/server.h"
#include "tests/support/need.h"

#define PROGRAM	   "/usr/sbin/apache2"
#define MODULES	   "/usr/lib/apache2/modules"
#define BENCHMARK  "/usr/bin/ab"
#define N_CHILDREN 2

#define REQUEST "GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n"

static void prepare(const struct scene *scene, const struct server *server, const char **argv)
{
	const char *directory = scene->directory;

	if (access(scene_path(scene, "site"), F_OK) != 0)
		scene_mkdir(scene, "site", NULL);
	scene_write(scene, "site/page", "%02000d\n", 42);
	scene_write(scene, "apache.conf",
		    "ServerRoot %s\nServerName localhost\nListen 127.0.0.1:%u\n"
		    "PidFile %s/apache.pid\nDefaultRuntimeDir %s\nErrorLog %s/error.log\n"
		    "User www-data\nGroup www-data\nDocumentRoot %s/site\n"
		    "LoadModule mpm_event_module " MODULES "/mod_mpm_event.so\n"
		    "LoadModule authz_core_module " MODULES "/mod_authz_core.so\n"
		    /* As many as there will ever be: none comes or goes because of the load. */
		    "StartServers %d\nServerLimit %d\nThreadsPerChild 25\nMaxRequestWorkers %d\n"
		    "MinSpareThreads 1\nMaxSpareThreads %d\nMaxConnectionsPerChild 0\n"
		    "KeepAlive On\nMaxKeepAliveRequests 0\nKeepAliveTimeout 600\n",
		    directory, server->port, directory, directory, directory, directory,
		    N_CHILDREN, N_CHILDREN, 25 * N_CHILDREN, 25 * N_CHILDREN);
	argv[0] = PROGRAM;
	argv[1] = "-f";
	argv[2] = scene_path(scene, "apache.conf");
	argv[3] = "-DFOREGROUND";
}

Test(real_apache, banner_of_parent_and_children_under_ab, .timeout = 140)
{
	static const struct server_order order = {"apache2", NULL, SIGTERM, prepare};
	char url[64];
	char banner[128];
	pid_t pids[1 + N_CHILDREN];

	need_file(PROGRAM, "apache2");
	need_file(MODULES "/mod_mpm_event.so", "apache2");
	need_file(BENCHMARK, "apache2-utils");

	SCENE scene = scene_new();
	SERVER server = server_start(scene, &order);
	size_t n_pids = server_family(server, N_CHILDREN, pids);
	DIALOGUE dialogue = {
		.request = REQUEST, .n_request_bytes = strlen(REQUEST), .n_answers = 1,
		.measure = http_measure, .normalise = http_normalise,
	};

	dialogue_learn(&dialogue, server->port, OLD);

	const char *line = strstr(dialogue.texts[OLD], "Server: ");

	cr_assert_not_null(line, "%s", dialogue.texts[OLD]);
	snprintf(banner, sizeof(banner), "%.*s", (int)strcspn(line, "\r"), line);
	dialogue_derive(&dialogue, NEW, OLD, banner, "Server: Apache, patched");
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/page", server->port);

	const char *const argv[] = {BENCHMARK, "-k", "-q", "-c", "16", "-n", "20000", url, NULL};
	LOAD load = {.scene = scene, .argv = argv, .n_expected = 20000, .read = load_read_ab};
	CLIENTS clients = clients_start(&dialogue, server->port, 6);
	const struct rounds rounds = {
		.name = "apache2", .scene = scene, .patch = "tests/patches/real/apache-banner.so",
		.patch_id = "apache-banner", .pids = pids, .n_pids = n_pids, .load = &load,
		.clients = {clients},
	};

	rounds_run(&rounds);
	load_finish(&load);
	rounds_print(&rounds);
}
