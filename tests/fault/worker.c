/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Workers of fault tests. The exit status carries the result; messages go to standard error. */
#include "tests/fault/worker.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

pid_t worker_start(const struct update *request, const char *fault)
{
	pid_t worker = fork();

	cr_assert_geq(worker, 0);
	if (worker == 0) {
		struct update update = *request;

		setenv("DSUD_FAULT", fault, 1);
		update_run(&update);
		for (size_t i = 0; i < update.n_pids; i++)
			if (update.report.targets[i].code)
				fprintf(stderr, "%s: %s\n", fault,
					update.report.targets[i].message);
		_exit((int)update.report.targets[0].result);
	}
	return worker;
}

void worker_await_stop(pid_t worker)
{
	int status;

	cr_assert_eq(waitpid(worker, &status, WUNTRACED), worker);
	cr_assert(WIFSTOPPED(status), "the worker did not come to the point: %x", status);
}

void worker_go_on(pid_t worker)
{
	cr_assert_eq(kill(worker, SIGCONT), 0);
}

void worker_await_result(pid_t worker, enum upd_result result)
{
	int status;

	cr_assert_eq(waitpid(worker, &status, 0), worker);
	cr_assert(WIFEXITED(status), "%x", status);
	cr_assert_eq(WEXITSTATUS(status), (int)result, "%s",
		     upd_result_word((enum upd_result)WEXITSTATUS(status)));
}

void worker_await_death(pid_t worker)
{
	int status;

	cr_assert_eq(waitpid(worker, &status, 0), worker);
	cr_assert(WIFSIGNALED(status), "it did not die: %x", status);
}
