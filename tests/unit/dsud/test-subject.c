/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The identity of processes, and the way to them from what an operator names. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dsud/registry/select.h"
#include "injector/base/cleanup.h"
#include "tests/support/child.h"

static const struct {
	const char *text;
	uint64_t ticks;
} stats[] = {
	{"1 (a) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9", 4711},
	{"1 (a) b) (c) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9", 4711},
	{"1 (a) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711", 4711},
	{"1 (a) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 18446744073709551616", 0},
	{"1 (a) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 -1", 0},
	{"1 (a) S 0 1", 0},
	{"1 (a", 0},
	{"", 0},
};

Test(subject, start_time_stands_in_field_22)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(stats); i++)
		cr_assert_eq(dsud_subject_parse_stat(stats[i].text), stats[i].ticks, "%s",
			     stats[i].text);
}

static void rest(void *argument)
{
	if (argument)
		prctl(PR_SET_NAME, argument);
	child_ready();
	child_rest();
}

Test(subject, a_process_is_the_same_until_it_ends)
{
	pid_t pid = child_start(rest, NULL);
	struct dsud_subject subject = dsud_subject_look(pid);
	struct dsud_subject nobody = {.pid = pid, .start_ticks = subject.start_ticks + 1};

	cr_assert_gt(subject.start_ticks, 0);
	cr_assert(dsud_subject_is_same(&subject));
	cr_assert_not(dsud_subject_is_same(&nobody));
	child_end(pid);
	cr_assert_not(dsud_subject_is_same(&subject));
	cr_assert_eq(dsud_subject_look(pid).start_ticks, 0);
}

/* A child's child: the test's own children are passed over, as the daemon's would be. */
static pid_t start_stranger(const char *name)
{
	int channel[2];
	pid_t middle;
	pid_t pid = 0;

	cr_assert_eq(pipe(channel), 0);
	middle = fork();
	if (middle == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pid = fork();
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			prctl(PR_SET_NAME, name);
			pid = getpid();
			if (write(channel[1], &pid, sizeof(pid)) != sizeof(pid))
				_exit(1);
		}
		for (;;)
			pause();
	}
	close(channel[1]);
	cr_assert_eq(read(channel[0], &pid, sizeof(pid)), (ssize_t)sizeof(pid));
	close(channel[0]);
	return pid;
}

Test(select, by_command_name_also_a_long_one)
{
	static const char *const names[] = {"dsu stranger", "dsu-stranger-12",
					    "dsu-stranger-12 and more"};
	pid_t pid = start_stranger("dsu stranger");
	pid_t other = start_stranger("dsu-stranger-12 and more");

	for (size_t i = 0; i < INJ_ARRAY_LENGTH(names); i++) {
		struct dsud_selection selection = {0};
		struct inj_why why;

		cr_assert_eq(dsud_select(&selection, DSUD_BY_COMM, names[i], &why), 0, "%s",
			     why.text);
		cr_assert_eq(selection.n, 1);
		cr_assert_eq(selection.subjects[0].pid, i == 0 ? pid : other);
	}
}

Test(select, by_executable_but_never_ourselves)
{
	struct dsud_selection selection = {0};
	struct inj_why why;
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	pid_t child = child_start(rest, NULL);
	pid_t stranger = start_stranger("stranger");

	cr_assert(n > 0);
	path[n] = '\0';
	cr_assert_eq(dsud_select(&selection, DSUD_BY_EXE, path, &why), 0, "%s", why.text);
	for (size_t i = 0; i < selection.n; i++) {
		cr_assert_neq(selection.subjects[i].pid, getpid());
		cr_assert_neq(selection.subjects[i].pid, child);
	}

	bool found = false;

	for (size_t i = 0; i < selection.n; i++)
		found = found || selection.subjects[i].pid == stranger;
	cr_assert(found);
	child_end(child);
}

Test(select, a_process_stands_in_a_selection_once)
{
	struct dsud_selection selection = {0};
	struct inj_why why;

	cr_assert_eq(dsud_select(&selection, DSUD_BY_PID, "1", &why), 0);
	cr_assert_eq(dsud_select(&selection, DSUD_BY_PID, "1", &why), 0);
	cr_assert_eq(dsud_select(&selection, DSUD_BY_PID, "0001", &why), 0);
	cr_assert_eq(selection.n, 1);
}

Test(select, ourselves_and_our_children_are_refused)
{
	struct dsud_selection selection = {0};
	pid_t child = child_start(rest, NULL);
	struct inj_why why;
	char text[16];

	snprintf(text, sizeof(text), "%d", (int)getpid());
	cr_assert_eq(dsud_select(&selection, DSUD_BY_PID, text, &why), INJ_UNSUPPORTED_PROCESS);
	snprintf(text, sizeof(text), "%d", (int)child);
	cr_assert_eq(dsud_select(&selection, DSUD_BY_PID, text, &why), INJ_UNSUPPORTED_PROCESS);
	cr_assert_eq(selection.n, 0);
	child_end(child);
}
