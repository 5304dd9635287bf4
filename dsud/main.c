/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dsud: reads its arguments, prepares the process, runs the manager. Refuses to run as anybody but
 * root.
 */
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "dsud/contract.h"
#include "dsud/log.h"
#include "dsud/manager.h"
#include "dsud/worker/rights.h"

/* As dsuctl's. */
enum exit_code {
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NOT_ALLOWED = 6,
};

#define DEFAULT_GRACE_SECONDS 10
#define DEFAULT_RETRY_SECONDS 1

static void print_help(void)
{
	printf("dsud [OPTIONS...]\n"
	       "\n"
	       "The daemon that changes the code of running programs; dsuctl talks to it.\n"
	       "\n"
	       "  --socket=PATH         private socket (default %s, or 'private' in the\n"
	       "                        directory named by --state-dir)\n"
	       "  --state-dir=DIR       undo journals of running updates (default %s)\n"
	       "  --system-bus=MODE     own %s on the system bus: auto (if there is a\n"
	       "                        bus, now or later), yes (or fail), no (default auto)\n"
	       "  --no-system-bus       the same as --system-bus=no\n"
	       "  --grace=SECONDS       time for undoing beyond an update's deadline (default %d)\n"
	       "  --retry=SECONDS       until what could not be settled is tried again, then four\n"
	       "                        times as long each time, five times in all (default %d)\n"
	       "  --help                show this\n"
	       "  --version             show the version\n"
	       "\n"
	       "It runs in the foreground, as root, until SIGTERM or SIGINT. See dsud(8).\n",
	       DSUD_SOCKET_PATH, DSUD_STATE_DIR, DSUD_BUS_NAME, DEFAULT_GRACE_SECONDS,
	       DEFAULT_RETRY_SECONDS);
}

static int usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int usage(const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "dsud: ");
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "; see dsud --help\n");
	return EXIT_USAGE;
}

static int parse_system_bus(const char *word, enum dsud_system_bus *ret)
{
	static const char *const words[] = {
		[DSUD_SYSTEM_BUS_AUTO] = "auto",
		[DSUD_SYSTEM_BUS_YES] = "yes",
		[DSUD_SYSTEM_BUS_NO] = "no",
	};

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(words); i++) {
		if (strcmp(word, words[i]) == 0) {
			*ret = (enum dsud_system_bus)i;
			return 0;
		}
	}
	return usage("--system-bus is auto, yes or no, not '%s'", word);
}

static int parse_seconds(const char *option, const char *word, double least, uint64_t *ret_ns)
{
	char *end;
	double seconds = strtod(word, &end);

	if (end == word || *end != '\0' || !(seconds >= least && seconds <= 3600))
		return usage("%s is a number of seconds from %g to 3600, not '%s'", option, least,
			     word);
	*ret_ns = (uint64_t)(seconds * 1e9);
	return 0;
}

static int parse_path(const char *option, const char *word, const char **ret)
{
	if (word[0] != '/' || strlen(word) >= PATH_MAX - 64)
		return usage("%s needs an absolute path", option);
	*ret = word;
	return 0;
}

/* Return: 0 go on, -1 all is said, else an exit code. */
static int parse_arguments(int argc, char **argv, struct dsud_config *config)
{
	enum { SOCKET = 1, STATE_DIR, SYSTEM_BUS, NO_SYSTEM_BUS, GRACE, RETRY, HELP, VERSION };
	static const struct option options[] = {
		{"socket", required_argument, NULL, SOCKET},
		{"state-dir", required_argument, NULL, STATE_DIR},
		{"system-bus", required_argument, NULL, SYSTEM_BUS},
		{"no-system-bus", no_argument, NULL, NO_SYSTEM_BUS},
		{"grace", required_argument, NULL, GRACE},
		{"retry", required_argument, NULL, RETRY},
		{"help", no_argument, NULL, HELP},
		{"version", no_argument, NULL, VERSION},
		{0},
	};
	int option;
	int r = 0;

	while (r == 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case SOCKET:
			r = parse_path("--socket", optarg, &config->socket_path);
			break;
		case STATE_DIR:
			r = parse_path("--state-dir", optarg, &config->state_dir);
			break;
		case SYSTEM_BUS:
			r = parse_system_bus(optarg, &config->system_bus);
			break;
		case NO_SYSTEM_BUS:
			config->system_bus = DSUD_SYSTEM_BUS_NO;
			break;
		case GRACE:
			r = parse_seconds("--grace", optarg, 0.1, &config->grace_ns);
			break;
		case RETRY:
			r = parse_seconds("--retry", optarg, 0.01, &config->retry_ns);
			break;
		case HELP:
			print_help();
			return -1;
		case VERSION:
			printf("dsud %s\n", DSU_VERSION);
			return -1;
		default:
			return EXIT_USAGE; /* getopt_long() told why */
		}
	}
	if (r == 0 && optind < argc)
		return usage("'%s' is too much: dsud takes options only", argv[optind]);
	return r;
}

/* Signals come through the loop; files are ours alone; many processes are watched by descriptor. */
static void prepare_process(void)
{
	struct rlimit limit;
	sigset_t blocked;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGCHLD);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGINT);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	signal(SIGPIPE, SIG_IGN);
	dsud_leave_network();
	umask(0077);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int run(const struct dsud_config *config)
{
	struct dsud_manager manager;
	struct inj_why why = {0};
	int r = dsud_manager_init(&manager, config, &why);

	if (r != 0)
		dsud_log(LOG_ERR, "%s", why.text);
	else
		r = dsud_manager_run(&manager);
	dsud_manager_deinit(&manager);
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILED;
}

/* What was not named. dsuctl looks for a daemon of whom only the state directory is known there. */
static void choose_paths(struct dsud_config *config, char *buffer, size_t size)
{
	if (!config->socket_path && config->state_dir) {
		snprintf(buffer, size, "%s/" DSUD_SOCKET_IN_STATE_DIR, config->state_dir);
		config->socket_path = buffer;
	}
	if (!config->socket_path)
		config->socket_path = DSUD_SOCKET_PATH;
	if (!config->state_dir)
		config->state_dir = DSUD_STATE_DIR;
}

int main(int argc, char **argv)
{
	char socket_path[PATH_MAX];
	struct dsud_config config = {
		.grace_ns = DEFAULT_GRACE_SECONDS * UINT64_C(1000000000),
		.retry_ns = DEFAULT_RETRY_SECONDS * UINT64_C(1000000000),
	};
	int r = parse_arguments(argc, argv, &config);

	if (r != 0)
		return r < 0 ? EXIT_SUCCESS : r;
	if (geteuid() != 0) {
		fprintf(stderr,
			"dsud: only root may change other people's programs; start dsud as root\n");
		return EXIT_NOT_ALLOWED;
	}
	choose_paths(&config, socket_path, sizeof(socket_path));
	prepare_process();
	return run(&config);
}
