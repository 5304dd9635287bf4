/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_SUPPORT_CHILD_H
#define TESTS_SUPPORT_CHILD_H

#include <sys/types.h>

/*
 * A forked copy of the test process, for targets that share its addresses. It dies with the
 * test. body: runs in the child, tells that it is where it should be with child_ready(), and
 * must not return before it is killed unless its end is the point.
 * Return: its pid, once it is ready.
 */
pid_t child_start(void (*body)(void *), void *argument);
/* In the child: let child_start() return. */
void child_ready(void);
/* In the child: sleep until killed. */
_Noreturn void child_rest(void);
/* Kill and reap. */
void child_end(pid_t pid);
/* Until /proc/PID/stat shows one of these states; fails the test after the deadline. */
void child_await_state(pid_t pid, const char *states);

#endif
