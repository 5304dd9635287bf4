/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dsuctl and every outcome that a daemon may report. */
#include <criterion/criterion.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "injector/base/types.h"
#include "tests/bus/dsuctl/cli.h"
#include "tests/support/victim.h"

static struct victim *fake;
static char socket_option[256];

static void setup(void)
{
	const char *path = cli_file("socket", NULL);
	char *argv[] = {(char *)build_path("tests/bus/dsuctl/fake-dsud"), (char *)path, NULL};

	snprintf(socket_option, sizeof(socket_option), "--socket=%s", path);
	fake = victim_spawn(argv);
	cr_assert_str_eq(victim_hear(fake), "ready");
}

static void teardown(void)
{
	victim_free(fake);
}

TestSuite(dsuctl, .init = setup, .fini = teardown);

static const char *scene(const char *name)
{
	char file[64];

	snprintf(file, sizeof(file), "%s.so", name);
	return cli_file(file, "12345");
}

/* Every word that the daemon said, in order. */
static void hear(const char *word)
{
	cr_assert_str_eq(victim_hear(fake), word);
}

Test(dsuctl, apply_hands_over_everything)
{
	CLI cli = {0};

	RUN(&cli, socket_option, "apply", scene("good"), "--pid=4711,4712", "--comm=server",
	    "--timeout=2.5", "--protocol=safe-redefine");
	cli_expect_code(&cli, 0);
	cli_expect_out(&cli, "4711 (server): hello-v2 applied");
	cli_expect_out(&cli, "held for 81 us, 2 attempts, 4.12 ms in all");
	cli_expect_out(&cli, "hello_v2");
	cli_expect_err(&cli, "patch=good.so bytes=5 pid=4711 pid=4712 comm=server timeout=2500000 "
			     "protocol=safe-redefine");
	cr_assert_null(strchr(cli.out, '\033'));
}

Test(dsuctl, no_time_at_all_is_a_time)
{
	CLI cli = {0};

	RUN(&cli, socket_option, "apply", scene("good"), "--pid=4711", "--timeout=0");
	cli_expect_code(&cli, 0);
	/* The daemon takes no 0. */
	cli_expect_err(&cli, "timeout=1 ");
}

Test(dsuctl, apply_document)
{
	CLI cli = {0};
	json_t *document, *target, *function;

	RUN(&cli, socket_option, "apply", scene("good"), "--pid=4711", "--json=pretty");
	cli_expect_code(&cli, 0);
	document = cli_document(&cli);
	target = json_array_get(json_object_get(document, "targets"), 0);
	cr_assert_eq(json_integer_value(json_object_get(target, "pid")), 4711);
	cr_assert_str_eq(json_string_value(json_object_get(target, "result")), "applied");
	cr_assert_eq(json_integer_value(json_object_get(target, "held_ns")), 81234);
	cr_assert_null(json_object_get(target, "error"));
	function = json_array_get(json_object_get(target, "functions"), 0);
	cr_assert_str_eq(json_string_value(json_object_get(function, "address")), "0x401000");
	cr_assert_str_eq(json_string_value(json_object_get(function, "via")), "stub");
	json_decref(document);
}

Test(dsuctl, quiet_is_quiet)
{
	CLI cli = {0};

	RUN(&cli, socket_option, "-q", "apply", scene("good"), "--pid=4711");
	cli_expect_code(&cli, 0);
	cr_assert_str_eq(cli.out, "");
	cr_assert_str_eq(cli.err, "");
}

Test(dsuctl, a_report_before_the_reply_is_not_lost)
{
	CLI cli = {0};

	RUN(&cli, socket_option, "apply", scene("early"), "--pid=4711");
	cli_expect_code(&cli, 0);
	cli_expect_out(&cli, "applied");
}

Test(dsuctl, revert)
{
	CLI cli = {0};

	RUN(&cli, socket_option, "revert", "reverted", "--exe=/usr/bin/server");
	cli_expect_code(&cli, 0);
	cli_expect_out(&cli, "4711 (server): hello-v2 reverted");
	cli_expect_err(&cli, "id=reverted exe=/usr/bin/server timeout=10000000");
}

Test(dsuctl, blocked)
{
	CLI cli = {0};

	RUN(&cli, socket_option, "apply", scene("blocked"), "--pid=4711", "--json=short");
	cli_expect_code(&cli, 3);
	cli_expect_out(&cli, "\"error\":\"org.dsud1.Error.Blocked\"");
	cli_expect_out(&cli, "\"blockers\":[{\"tid\":4712,");
	cli_expect_err(&cli, "Thread 4712 stayed in hello.");
	cli_expect_err(&cli, "FUNCTION FRAME ADDRESS");
	cli_expect_err(&cli, "--timeout=");
	cr_assert_null(strchr(cli.err, '\033'), "a target's name reached the terminal raw");
}

Test(dsuctl, hostile_text_is_tamed)
{
	CLI cli = {0};

	RUN(&cli, socket_option, "apply", scene("hostile"), "--pid=4711");
	cli_expect_code(&cli, 4);
	cli_expect_err(&cli, "No function ?]0;evil? here.");
	for (const char *c = cli.err; *c; c++)
		cr_assert(*c == '\n' || (unsigned char)*c >= 0x20, "byte %#x", *c);
}

static void expect_failure(const char *name, int code, const char *error)
{
	CLI cli = {0};

	RUN(&cli, socket_option, "apply", scene(name), "--pid=4711", "--json=short");
	cli_expect_code(&cli, code);
	cli_expect_out(&cli, error);
	json_decref(cli_document(&cli));
}

Test(dsuctl, gone)
{
	expect_failure("gone", 5, "org.dsud1.Error.ProcessGone");
}

Test(dsuctl, one_of_two_refused)
{
	expect_failure("mixed", 4, "org.dsud1.Error.NoSuchSymbol");
}

Test(dsuctl, busy)
{
	expect_failure("busy", 1, "org.dsud1.Error.Busy");
}

Test(dsuctl, not_allowed)
{
	expect_failure("denied", 6, "org.dsud1.Error.AccessDenied");
}

Test(dsuctl, the_daemon_dies_in_between)
{
	expect_failure("die", 7, "org.freedesktop.DBus.Error.Disconnected");
}

Test(dsuctl, a_report_that_is_none)
{
	expect_failure("garbage", 1, "\"targets\":[]");
}

/* Ctrl-C: cancel, wait for the outcome, tell it. */
static void interrupt_when_started(struct cli *cli, const char *name)
{
	const char *arguments[] = {socket_option, "apply", scene(name), "--pid=4711", NULL};

	cli_start(cli, arguments);
	hear("connected");
	hear("started");
	cr_assert_eq(kill(cli->pid, SIGINT), 0);
	hear("cancelled");
}

Test(dsuctl, an_interrupt_cancels)
{
	CLI cli = {0};

	interrupt_when_started(&cli, "slow");
	cli_wait(&cli);
	cli_expect_code(&cli, 1);
	cli_expect_err(&cli, "Cancelling");
	cli_expect_err(&cli, "It was cancelled.");
	cli_expect_err(&cli, "The target is as it was");
}

Test(dsuctl, an_interrupt_may_come_too_late)
{
	CLI cli = {0};

	interrupt_when_started(&cli, "won");
	cli_wait(&cli);
	cli_expect_code(&cli, 0);
	cli_expect_out(&cli, "hello-v2 applied");
}

Test(dsuctl, a_second_interrupt_leaves)
{
	CLI cli = {0};

	interrupt_when_started(&cli, "stubborn");
	cr_assert_eq(kill(cli.pid, SIGTERM), 0);
	cli_wait(&cli);
	cli_expect_code(&cli, 1);
	cli_expect_err(&cli, "Left before the outcome was known");
}

Test(dsuctl, check)
{
	CLI cli = {0};

	RUN(&cli, socket_option, "check", scene("unchanged"), "--pid=4711");
	cli_expect_code(&cli, 0);
	cli_expect_out(&cli, "4711 (server): hello-v2 can be applied\n");
	cli_expect_out(&cli, "0x401000");
	cli_done(&cli);
	RUN(&cli, socket_option, "check", scene("waiting"), "--pid=4711");
	cli_expect_code(&cli, 0);
	cli_expect_out(&cli, "apply would wait now for:");
	cli_expect_out(&cli, "4712");
}

Test(dsuctl, status)
{
	CLI cli = {0};

	RUN(&cli, socket_option, "status");
	cli_expect_code(&cli, 0);
	cli_expect_out(&cli, "4711 server hello-v2 1.0     active 2024-05-06T07:08:09+00:00 hello");
	cli_expect_out(&cli, "1 apply hello-v2 running wait        3 4711,4800");
	cr_assert_null(strstr(cli.out, "old"), "an update that is over is listed");
	/* What any user's process can look like is told, but is not a failure. */
	cli_expect_err(&cli, "4712: Its records are forged.");
}

Test(dsuctl, status_document)
{
	CLI cli = {0};
	json_t *document, *process, *patch;

	RUN(&cli, socket_option, "status", "--json=short");
	cli_expect_code(&cli, 0);
	document = cli_document(&cli);
	process = json_array_get(json_object_get(document, "processes"), 0);
	cr_assert_str_eq(json_string_value(json_object_get(process, "exe")), "/usr/bin/server");
	patch = json_array_get(json_object_get(process, "patches"), 0);
	cr_assert_str_eq(json_string_value(json_object_get(patch, "id")), "hello-v2");
	cr_assert_eq(json_array_size(json_object_get(patch, "functions")), 1);
	cr_assert_eq(json_array_size(json_object_get(document, "updates")), 1);
	json_decref(document);
}

Test(dsuctl, status_of_nothing)
{
	CLI cli = {0};

	RUN(&cli, socket_option, "status", "--comm=none");
	cli_expect_code(&cli, 0);
	cli_expect_out(&cli, "No patches.");
	cli_done(&cli);
	RUN(&cli, socket_option, "status", "--pid=1");
	cli_expect_code(&cli, 5);
	cli_expect_err(&cli, "There is no process 1.");
	cr_assert_str_eq(cli.out, "");
}

Test(dsuctl, stacks)
{
	CLI cli = {0};

	RUN(&cli, socket_option, "stacks", "--pid=4711");
	cli_expect_code(&cli, 0);
	cli_expect_out(&cli, "Thread 4711 server\n");
	cli_expect_out(&cli, "hello+0x10");
	cli_expect_out(&cli, "<- old code");
	cli_expect_out(&cli, "<- to be patched");
	cli_expect_out(&cli, "Thread 4712 worker (stack not readable to its end)");
	cli_done(&cli);
	RUN(&cli, socket_option, "stacks", "--pid=4711", "--patch", scene("good"), "--json=short");
	cli_expect_code(&cli, 0);
	cli_expect_out(&cli, "patch=given");
	json_decref(cli_document(&cli));
}

static void expect_monitor(const char *mode, const char *first, const char *last)
{
	char *argv[] = {(char *)build_path("dsuctl/dsuctl"), socket_option, (char *)"monitor",
			(char *)mode, NULL};
	VICTIM monitor = victim_spawn(argv);

	hear("connected");
	victim_tell(fake, "events");
	cr_assert(strstr(victim_hear(monitor), first), "%s", monitor->line);
	cr_assert(strstr(victim_hear(monitor), "wait"), "%s", monitor->line);
	cr_assert(strstr(victim_hear(monitor), last), "%s", monitor->line);
	cr_assert_eq(kill(monitor->pid, SIGINT), 0);
	cr_assert_eq(victim_wait(monitor), 0);
}

Test(dsuctl, monitor)
{
	expect_monitor("--no-legend", "update 1: new, apply hello-v2, processes 4711,4800",
		       "update 1: completed: 4711 (server): hello-v2 applied");
}

Test(dsuctl, monitor_in_json)
{
	expect_monitor("--json=short", "\"event\":\"UpdateNew\"", "\"event\":\"UpdateCompleted\"");
}

Test(dsuctl, monitor_ends_with_the_daemon)
{
	const char *arguments[] = {socket_option, "monitor", NULL};
	CLI cli = {0};

	cli_start(&cli, arguments);
	hear("connected");
	victim_tell(fake, "die");
	cli_wait(&cli);
	cli_expect_code(&cli, 7);
}

/* What a terminal showed, and how far the test has looked. */
struct screen {
	int fd;
	size_t used, looked;
	char text[16384];
};

/* Wait until the text is there, behind what was found before. */
static void expect_on_screen(struct screen *screen, const char *text)
{
	const char *found;

	while (!(found = strstr(screen->text + screen->looked, text))) {
		struct pollfd ready = {.fd = screen->fd, .events = POLLIN};
		ssize_t n;

		cr_assert_eq(poll(&ready, 1, VICTIM_DEADLINE_MS), 1, "so far: %s", screen->text);
		n = read(screen->fd, screen->text + screen->used,
			 sizeof(screen->text) - 1 - screen->used);
		cr_assert_gt(n, 0, "the terminal never showed \"%s\", but: %s", text, screen->text);
		screen->used += (size_t)n;
		screen->text[screen->used] = '\0';
	}
	screen->looked = (size_t)(found - screen->text) + strlen(text);
}

Test(dsuctl, progress_on_a_terminal)
{
	const char *arguments[] = {socket_option, "apply", scene("slow"), "--pid=4711", NULL};
	CLI cli = {0};
	static struct screen screen;

	screen.fd = cli_start_on_terminal(&cli, arguments, false);
	expect_on_screen(&screen, "\rwait, attempt 3, 8 s left: worker(4712) is in hello\033[K");
	cr_assert_eq(kill(cli.pid, SIGINT), 0);
	expect_on_screen(&screen, "\r\033[Kdsuctl: Cancelling");
	expect_on_screen(&screen, "It was cancelled.");
	cli_wait(&cli);
	cli_expect_code(&cli, 1);
	close(screen.fd);
}

Test(dsuctl, colours_on_a_terminal)
{
	const char *arguments[] = {socket_option, "apply", scene("good"), "--pid=4711", NULL};
	CLI cli = {0};
	static struct screen screen;

	screen.fd = cli_start_on_terminal(&cli, arguments, true);
	expect_on_screen(&screen, "\033[32m4711 (server): hello-v2 applied\033[0m");
	close(screen.fd);
}
