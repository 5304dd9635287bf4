/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs the real dsuctl for tests. Its output is collected in memory files, so nothing blocks on a
 * full pipe. The child dies with the test.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bus/dsuctl/cli.h"
#include "tests/support/victim.h"

#define MAX_ARGUMENTS 32
#define MAX_FILES     8

static struct {
	char bus[256];
	unsigned user;
	char path[PATH_MAX];
} world = {.bus = "unix:path=/nonexistent/bus"};

static char directory[64];
static char files[MAX_FILES][PATH_MAX];
static size_t n_files;

void cli_set_bus(const char *address)
{
	snprintf(world.bus, sizeof(world.bus), "%s", address);
}

void cli_set_user(unsigned user)
{
	world.user = user;
}

void cli_set_path(const char *path)
{
	snprintf(world.path, sizeof(world.path), "%s:/usr/bin:/bin", path);
}

__attribute__((destructor)) static void remove_files(void)
{
	for (size_t i = 0; i < n_files; i++)
		unlink(files[i]);
	if (directory[0])
		rmdir(directory);
}

const char *cli_file(const char *name, const char *content)
{
	char *path = files[n_files];
	FILE *file;

	cr_assert_lt(n_files, MAX_FILES);
	if (!directory[0]) {
		strcpy(directory, "/tmp/test-dsuctl-XXXXXX");
		cr_assert_not_null(mkdtemp(directory));
	}
	snprintf(path, PATH_MAX, "%s/%s", directory, name);
	n_files++;
	if (!content)
		return path;
	file = fopen(path, "we");
	cr_assert_not_null(file, "%s", path);
	fputs(content, file);
	fclose(file);
	return path;
}

static int memory_file(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	return fd;
}

__attribute__((noreturn))
static void become_dsuctl(const char *const *arguments, int out, int err)
{
	char *argv[MAX_ARGUMENTS] = {(char *)"dsuctl"};

	/* Copied: an argument may stand in the buffer that build_path() uses again below. */
	for (size_t i = 0; arguments[i] && i < MAX_ARGUMENTS - 2; i++)
		argv[i + 1] = strdup(arguments[i]);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	setenv("DBUS_SYSTEM_BUS_ADDRESS", world.bus, 1);
	if (world.path[0])
		setenv("PATH", world.path, 1);
	setenv("TERM", "xterm", 1);
	setenv("PAGER", "cat", 1);
	unsetenv("NO_COLOR");
	/* The program is opened before, for a user who may not be let into its directory. */
	int program = open(build_path("dsuctl/dsuctl"), O_RDONLY | O_CLOEXEC);

	if (world.user && (setgroups(0, NULL) < 0 || setgid(world.user) < 0 ||
			   setuid(world.user) < 0))
		_exit(126);
	fexecve(program, argv, environ);
	_exit(127);
}

static void start(struct cli *ret, const char *const *arguments, int out, int err)
{
	ret->pid = fork();
	cr_assert_geq(ret->pid, 0);
	if (ret->pid == 0)
		become_dsuctl(arguments, out, err);
}

void cli_start(struct cli *ret, const char *const *arguments)
{
	*ret = (struct cli){.out_fd = memory_file("out"), .err_fd = memory_file("err")};
	start(ret, arguments, ret->out_fd, ret->err_fd);
}

int cli_start_on_terminal(struct cli *ret, const char *const *arguments, bool both)
{
	struct winsize size = {.ws_col = 100, .ws_row = 40};
	int master, slave;

	cr_assert_eq(openpty(&master, &slave, NULL, NULL, &size), 0);
	*ret = (struct cli){.out_fd = memory_file("out"), .err_fd = memory_file("err")};
	start(ret, arguments, both ? slave : ret->out_fd, slave);
	close(slave);
	return master;
}

static char *content_of(int fd)
{
	struct stat status;
	char *text;

	cr_assert_eq(fstat(fd, &status), 0);
	text = calloc(1, (size_t)status.st_size + 1);
	cr_assert_eq(pread(fd, text, (size_t)status.st_size, 0), status.st_size);
	return text;
}

void cli_wait(struct cli *cli)
{
	int status;

	while (waitpid(cli->pid, &status, 0) < 0)
		cr_assert_eq(errno, EINTR);
	cli->pid = 0;
	cli->code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
	cli->out = content_of(cli->out_fd);
	cli->err = content_of(cli->err_fd);
}

void cli_done(struct cli *cli)
{
	if (cli->pid > 0) {
		kill(cli->pid, SIGKILL);
		waitpid(cli->pid, NULL, 0);
	}
	free(cli->out);
	free(cli->err);
	if (cli->out_fd > 0)
		close(cli->out_fd);
	if (cli->err_fd > 0)
		close(cli->err_fd);
	*cli = (struct cli){0};
}

void cli_run(struct cli *ret, const char *const *arguments)
{
	cli_start(ret, arguments);
	cli_wait(ret);
}

json_t *cli_document(const struct cli *cli)
{
	json_error_t error;
	json_t *document = json_loads(cli->out, JSON_REJECT_DUPLICATES, &error);

	cr_assert_not_null(document, "%s in: %s", error.text, cli->out);
	return document;
}

json_t *cli_expect_target(const struct cli *cli, const char *result, const char *error)
{
	json_t *document = cli_document(cli);
	json_t *targets = json_object_get(document, "targets");
	json_t *target = json_array_get(targets, 0);
	const char *found = json_string_value(json_object_get(target, "error"));
	const char *message = json_string_value(json_object_get(target, "message"));

	cr_assert_eq(json_array_size(targets), 1, "%s", cli->out);
	cr_assert_str_eq(json_string_value(json_object_get(target, "result")), result, "%s",
			 cli->out);
	cr_assert_eq(found != NULL, *error != '\0', "%s", cli->out);
	if (found) {
		cr_assert_eq(strncmp(found, "org.dsud1.Error.", 16), 0, "%s", cli->out);
		cr_assert_str_eq(found + 16, error, "%s", cli->out);
		cr_assert(message && strlen(message) > 20, "%s", cli->out);
	}
	return document;
}

void cli_expect_code(const struct cli *cli, int code)
{
	cr_assert_eq(cli->code, code, "ended with %d, not %d; out: %s err: %s", cli->code, code,
		     cli->out, cli->err);
}

void cli_expect_out(const struct cli *cli, const char *part)
{
	cr_assert(strstr(cli->out, part), "standard output lacks \"%s\": %s", part, cli->out);
}

void cli_expect_err(const struct cli *cli, const char *part)
{
	cr_assert(strstr(cli->err, part), "standard error lacks \"%s\": %s", part, cli->err);
}
