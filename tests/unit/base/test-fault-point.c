/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "injector/base/fault-point.h"
#include "injector/base/types.h"

#ifdef DSU_FAULT_POINTS

/* Passes one, two, two, three in a child. Return: how many were passed, or -1 for SIGKILL. */
static int pass_all(const char *armed)
{
	static const char *const names[] = {"one", "two", "two", "three"};
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		if (armed)
			setenv("DSUD_FAULT", armed, 1);
		else
			unsetenv("DSUD_FAULT");
		for (int i = 0; i < 4; i++)
			inj_fault_point(names[i]);
		_exit(4);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return -1;
	return WEXITSTATUS(status);
}

static const struct {
	const char *armed;
	bool dies;
} cases[] = {
	{NULL, false},	    {"", false},	  {"other", false}, {"tw", false},
	{"twoo", false},    {"one", true},	  {"two:1", true},  {"two:2:kill", true},
	{"two:3", false},   {"three:kill", true}, {"two:2", true},  {"one:2", false},
	{"one:1x", true},   {"one:0", true},	  {":1", true},	    {"other:1x", true},
	{"one:oops", true}, {"other:oops", true}, {"one:1:", true},
	{"a,b", false},	    {"a,three", true},	  {"two:3,two:2", true},
	{"a,", true},	    {"a:killx,b", true},  {"a,b,c,d,e", true},
};

Test(fault_point, kills_where_it_is_armed)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(cases); i++)
		cr_assert_eq(pass_all(cases[i].armed), cases[i].dies ? -1 : 4, "DSUD_FAULT=%s",
			     cases[i].armed);
}

/* Every pass is written down, whoever passes, and a fault works all the same. */
Test(fault_point, traces)
{
	char path[] = "/tmp/dsud-trace-XXXXXX";
	int fd = mkstemp(path);
	char text[256];

	cr_assert_geq(fd, 0);
	setenv("DSUD_FAULT_TRACE", path, 1);
	cr_assert_eq(pass_all(NULL), 4);
	cr_assert_eq(pass_all("two:2"), -1);
	unsetenv("DSUD_FAULT_TRACE");
	cr_assert_eq(pass_all(NULL), 4);

	ssize_t n = read(fd, text, sizeof(text) - 1);

	cr_assert_geq(n, 0);
	text[n] = '\0';
	cr_assert_str_eq(text, "one\ntwo\ntwo\nthree\none\ntwo\ntwo\n");
	close(fd);
	unlink(path);
}

Test(fault_point, keeps_errno)
{
	setenv("DSUD_FAULT", "other", 1);
	errno = EXDEV;
	inj_fault_point("here");
	cr_assert_eq(errno, EXDEV);
}

/* A parent that would live for ever, and its child that passes the point. */
static void family(const char *armed, int *ret_parent_status, bool *ret_child_lives)
{
	int report[2], go[2];
	pid_t child = 0;

	cr_assert_eq(pipe(report), 0);
	cr_assert_eq(pipe(go), 0);
	/* The orphan comes to us, so that it can be waited for. */
	cr_assert_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);

	pid_t parent = fork();

	if (parent == 0) {
		pid_t self = fork();

		if (self == 0) {
			char c;

			setenv("DSUD_FAULT", armed, 1);
			/* Not before the parent has told whose it is. */
			if (read(go[0], &c, 1) == 1)
				inj_fault_point("here");
			_exit(5);
		}
		if (write(report[1], &self, sizeof(self)) != sizeof(self))
			_exit(1);
		for (;;)
			pause();
	}
	cr_assert_eq(read(report[0], &child, sizeof(child)), sizeof(child));
	cr_assert_eq(write(go[1], "g", 1), 1);
	cr_assert_eq(waitpid(parent, ret_parent_status, 0), parent);

	int status = 0;

	cr_assert_eq(waitpid(child, &status, 0), child);
	*ret_child_lives = WIFEXITED(status) && WEXITSTATUS(status) == 5;
}

Test(fault_point, kills_the_parent)
{
	int status;
	bool child_lives;

	family("here:kill-parent", &status, &child_lives);
	cr_assert(WIFSIGNALED(status));
	cr_assert(child_lives);
}

Test(fault_point, kills_both)
{
	int status;
	bool child_lives;

	family("here:1:kill-both", &status, &child_lives);
	cr_assert(WIFSIGNALED(status));
	cr_assert(!child_lives);
}

Test(fault_point, hangs)
{
	int status = 0;
	int ends[2];
	char c;

	cr_assert_eq(pipe(ends), 0);

	pid_t child = fork();

	if (child == 0) {
		close(ends[0]);
		setenv("DSUD_FAULT", "here:hang", 1);
		if (write(ends[1], "x", 1) == 1)
			inj_fault_point("here");
		_exit(5);
	}
	close(ends[1]);
	cr_assert_eq(read(ends[0], &c, 1), 1);

	/* The pipe stays open while it hangs; would it go on, it would exit and close it. */
	struct pollfd poller = {.fd = ends[0], .events = POLLIN};

	cr_assert_eq(poll(&poller, 1, 200), 0);
	kill(child, SIGKILL);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFSIGNALED(status));
}

Test(fault_point, stops_and_goes_on)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		setenv("DSUD_FAULT", "here:stop,there:stop", 1);
		inj_fault_point("here");
		inj_fault_point("there");
		_exit(5);
	}
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(waitpid(child, &status, WUNTRACED), child);
		cr_assert(WIFSTOPPED(status));
		cr_assert_eq(kill(child, SIGCONT), 0);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 5);
}

#else

Test(fault_point, vanishes)
{
	setenv("DSUD_FAULT", "here", 1);
	inj_fault_point("here");
	cr_assert(true);
}

#endif
