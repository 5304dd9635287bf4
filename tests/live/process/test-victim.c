/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The harness itself: victims answer, in every variant, and snapshots see what changes. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "injector/base/io.h"
#include "tests/support/need.h"
#include "tests/support/snapshot.h"
#include "tests/support/victim.h"

struct variant {
	char name[32];
	bool threads;
};

ParameterizedTestParameters(victim, answers)
{
	static struct variant variants[] = {
		{"single", false},	    {"single-nopie", false},
		{"single-static", false},   {"single-static-pie", false},
		{"single-stripped", false}, {"single-m32", false},
		{"threads", true},	    {"threads-nopie", true},
		{"threads-static", true},   {"threads-static-pie", true},
		{"threads-stripped", true},
	};

	return cr_make_param_array(struct variant, variants,
				   sizeof(variants) / sizeof(variants[0]));
}

ParameterizedTest(struct variant *variant, victim, answers)
{
	VICTIM victim = victim_start(variant->name, NULL);

	victim_expect(victim, "greet", "hello");
	victim_expect(victim, "nonsense", "?");
	if (variant->threads)
		victim_expect_above(victim, "slowest", 10);
	else
		victim_expect(victim, "add", "5");
	cr_assert(!victim_ended(victim));

	int status = victim_quit(victim);

	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status 0x%x", status);
	cr_assert(victim_ended(victim));
}

Test(victim, quits_when_asked)
{
	VICTIM victim = victim_start("single", NULL);

	victim_tell(victim, "quit");
	cr_assert_eq(victim_wait(victim), 0);
}

Test(victim, is_gone_after_free)
{
	struct victim *victim = victim_start("threads", "2", NULL);
	pid_t pid = victim->pid;

	victim_free(victim);
	cr_assert_eq(kill(pid, 0), -1);
}

/* A test process that dies in the midst of a test takes its victims along. */
Test(victim, dies_with_its_test)
{
	int report[2];
	pid_t pid = 0;

	cr_assert_eq(pipe(report), 0);

	pid_t tester = fork();

	if (tester == 0) {
		struct victim *victim = victim_start("single", NULL);

		if (write(report[1], &victim->pid, sizeof(pid)) == sizeof(pid))
			raise(SIGKILL);
		_exit(1);
	}
	close(report[1]);
	cr_assert_eq(read(report[0], &pid, sizeof(pid)), sizeof(pid));
	cr_assert_eq(waitpid(tester, NULL, 0), tester);

	/* It is init's now: either reaped already, or its pidfd tells. */
	INJ_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd poller = {.fd = pidfd, .events = POLLIN};

	cr_assert(pidfd >= 0 || errno == ESRCH);
	cr_assert(pidfd < 0 || poll(&poller, 1, VICTIM_DEADLINE_MS) == 1);
}

Test(snapshot, of_a_quiet_program_stays_the_same)
{
	need_root();

	VICTIM victim = victim_start("single", NULL);

	victim_expect(victim, "greet", "hello");

	SNAPSHOT before = snapshot_take(victim->pid);

	victim_expect(victim, "greet", "hello");
	snapshot_expect_same(before, SNAPSHOT_EXACT);
}

static inj_addr first_code(pid_t pid)
{
	char path[64];
	char line[512];

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);

	FILE *file = fopen(path, "re");
	inj_addr start = 0;

	cr_assert_not_null(file);
	while (!start && fgets(line, sizeof(line), file))
		if (strstr(line, " r-xp "))
			start = strtoull(line, NULL, 16);
	fclose(file);
	return start;
}

Test(snapshot, sees_changed_code)
{
	need_root();

	VICTIM victim = victim_start("single", NULL);
	SNAPSHOT before = snapshot_take(victim->pid);
	inj_addr address = first_code(victim->pid);
	unsigned char bytes[2];
	char path[64], text[1024], expected[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)victim->pid);

	INJ_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);

	cr_assert_eq(inj_pread_full(fd, bytes, 2, (off_t)address + 64), 0);
	bytes[0] ^= 0xff;
	bytes[1] ^= 0xff;
	cr_assert_eq(pwrite(fd, bytes, 2, (off_t)address + 64), 2);

	SNAPSHOT after = snapshot_take(victim->pid);

	cr_assert_eq(snapshot_diff(before, after, SNAPSHOT_DATA, text, sizeof(text)), 1);
	snprintf(expected, sizeof(expected), "~ %lx (", address + 64);
	cr_assert_eq(strncmp(text, expected, strlen(expected)), 0, "%s", text);
	cr_assert_not_null(strstr(text, ") 2 bytes:"), "%s", text);
}

Test(snapshot, sees_other_mappings)
{
	need_root();

	VICTIM few = victim_start("single", NULL);
	VICTIM many = victim_start("single", NULL);
	SNAPSHOT one = snapshot_take(few->pid);
	SNAPSHOT other = snapshot_take(many->pid);
	char text[8192];

	/* Two runs of a program differ by their random addresses. */
	cr_assert_gt(snapshot_diff(one, other, SNAPSHOT_DATA, text, sizeof(text)), 4);
	cr_assert_eq(text[0] == '-' || text[0] == '+', 1, "%s", text);
	cr_assert_eq(snapshot_diff(one, one, SNAPSHOT_EXACT, text, sizeof(text)), 0);
	cr_assert_str_empty(text);
}
