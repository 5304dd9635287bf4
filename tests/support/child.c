/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns forked copies of the test process. Always holds: a child dies with its parent, and the
 * parent goes on only when the child said it is ready. Refuses children that end before that.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "injector/base/clock.h"
#include "injector/base/io.h"
#include "tests/support/child.h"
#include "tests/support/victim.h"

static int ready_fd = -1;

void child_ready(void)
{
	if (write(ready_fd, "r", 1) != 1)
		_exit(1);
	close(ready_fd);
}

_Noreturn void child_rest(void)
{
	for (;;)
		pause();
}

pid_t child_start(void (*body)(void *), void *argument)
{
	int ends[2];
	char ready = 0;
	pid_t parent = getpid();

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);

	pid_t pid = fork();

	cr_assert_geq(pid, 0, "fork: %s", strerror(errno));
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* 0: the parent is outside of our pid namespace. */
		if (getppid() != parent && getppid() != 0)
			_exit(1);
		close(ends[0]);
		ready_fd = ends[1];
		body(argument);
		_exit(0);
	}
	close(ends[1]);
	cr_assert_eq(read(ends[0], &ready, 1), 1, "the child ended before it was ready");
	close(ends[0]);
	return pid;
}

void child_end(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
		;
}

void child_await_state(pid_t pid, const char *states)
{
	uint64_t deadline_ns = inj_now_ns() + VICTIM_DEADLINE_MS * UINT64_C(1000000);
	char path[64], text[1024];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	for (;;) {
		INJ_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
		size_t length = 0;

		cr_assert(fd >= 0 && inj_read_full(fd, text, sizeof(text) - 1, &length) == 0,
			  "%s: %s", path, strerror(errno));
		text[length] = '\0';

		/* The kernel has no event for a change of state; yielding lets it happen. */
		const char *end = strrchr(text, ')');

		if (end && end[1] == ' ' && end[2] && strchr(states, end[2]))
			return;
		cr_assert_gt(inj_remaining_ns(deadline_ns), 0, "%d never got to state %s: %s",
			     (int)pid, states, text);
		sched_yield();
	}
}
