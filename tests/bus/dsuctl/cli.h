/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_BUS_DSUCTL_CLI_H
#define TESTS_BUS_DSUCTL_CLI_H

#include <jansson.h>
#include <stddef.h>
#include <sys/types.h>

#include "injector/base/cleanup.h"

/* How dsuctl is started from now on. Without a bus, no daemon of the host is ever found. */
void cli_set_bus(const char *address);	/* of the system bus */
void cli_set_user(unsigned user);	/* instead of the test's own */
void cli_set_path(const char *path);	/* directory that comes first in $PATH */

/* One run of dsuctl: what it printed and how it ended. */
struct cli {
	pid_t pid;
	int out_fd, err_fd;
	int code;  /* exit code; -signal when a signal ended it */
	char *out; /* owned, after cli_wait */
	char *err;
};

/* arguments: without the program's name, ending with NULL. */
void cli_start(struct cli *ret, const char *const *arguments);
/* The same, with standard error (and output, if both) on a terminal. Return: the other side. */
int cli_start_on_terminal(struct cli *ret, const char *const *arguments, bool both);
/* Wait for the end and collect. */
void cli_wait(struct cli *cli);
void cli_done(struct cli *cli);
#define CLI INJ_CLEANUP(cli_done) struct cli

/* Start and wait. */
void cli_run(struct cli *ret, const char *const *arguments);
#define RUN(cli, ...) cli_run((cli), (const char *const[]){__VA_ARGS__, NULL})

/* Standard output must be exactly one JSON document; the caller's reference. */
json_t *cli_document(const struct cli *cli);

/*
 * One document with one target: its result and error ("" for none, else without its prefix) are
 * these. Return: the document, the caller's reference.
 */
json_t *cli_expect_target(const struct cli *cli, const char *result, const char *error);

/* The test fails, and shows what was printed. */
void cli_expect_code(const struct cli *cli, int code);
void cli_expect_out(const struct cli *cli, const char *part);
void cli_expect_err(const struct cli *cli, const char *part);

/* A file in a directory of the test's own, which goes with the test; at most 8. */
const char *cli_file(const char *name, const char *content);

#endif
