/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_SUPPORT_REGISTERS_H
#define TESTS_SUPPORT_REGISTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "injector/base/cleanup.h"

/*
 * Registers, vector state and signal mask of all threads of a quiet process: the main thread waits
 * in read(2), all others in pause(2). They are read with ptrace(2) of our own and let go at once.
 */
struct registers;

/* Waits until the process is quiet. Fails the test when it never is, or is being traced. */
struct registers *registers_take(pid_t pid);
void registers_free(struct registers *registers);
INJ_DEFINE_GUARD(struct registers *, registers_free, registers_guard)
#define REGISTERS INJ_CLEANUP(registers_guard) struct registers *

/*
 * Compare thread by thread.
 * main_ran: the main thread went through other code meanwhile, so of its registers only those count
 *   that a function must keep, and where it waits. buffer: size bytes, a line for each difference.
 * Return: number of differences.
 */
size_t registers_diff(const struct registers *before, const struct registers *after, bool main_ran,
		      char *buffer, size_t size);

#endif
