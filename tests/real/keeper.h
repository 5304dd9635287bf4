/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_REAL_KEEPER_H
#define TESTS_REAL_KEEPER_H

#include <stdbool.h>
#include <sys/types.h>

#include "injector/base/cleanup.h"

/*
 * A program with a process of our own above it, which outlives the test: when the test ends,
 * however that happens, the keeper asks the program to end, and sees to it that everything the
 * program ever started has ended, too.
 */
struct keeper {
	pid_t pid;         /* the program's */
	pid_t keeper_pid;
	int life_fd;       /* closing it ends the program */
	int news_fd;
	bool ended;
	int status;        /* of waitpid(2), once ended */
	int n_left;        /* processes that had to be killed after the program's end */
	char output[160];
};

struct keeper_order {
	const char *const *argv;  /* ends with NULL; argv[0] is a path */
	const char *user;         /* NULL: root */
	const char *directory;    /* where it runs */
	const char *output;       /* file for what it prints; written anew */
	int stop_signal;          /* asks it to end */
	int keep_fd;              /* stays open while anything of the program runs; -1: none */
};

/* Fails the test when there is no such user or no memory. Return: free with keeper_free(). */
struct keeper *keeper_start(const struct keeper_order *order);
/* Wait for the end of the program and of all that it started. Return: it has ended. */
bool keeper_await_end(struct keeper *keeper, int milliseconds);
/* Ask the program to end and wait; fails the test when it does not, or leaves others behind. */
void keeper_stop(struct keeper *keeper);
/* As keeper_stop(), unless it has ended; NULL is fine. */
void keeper_free(struct keeper *keeper);
INJ_DEFINE_GUARD(struct keeper *, keeper_free, keeper_guard)
#define KEEPER INJ_CLEANUP(keeper_guard) struct keeper *

/* The end of what it printed, in a buffer of the test process. */
const char *keeper_output(const struct keeper *keeper);

#endif
