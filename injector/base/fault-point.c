/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the named points at which a test lets a process die. Nothing happens unless DSUD_FAULT or
 * DSUD_FAULT_TRACE is set, which costs a few nanoseconds to see: points stand where a hold counts
 * in microseconds. A specification that cannot be read kills at the first point that is passed: a
 * test with a spelling mistake must fail loudly, not pass because nothing was tried.
 */
#include "injector/base/fault-point.h"

#ifdef DSU_FAULT_POINTS

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "injector/base/types.h"

static void kill_parent(void)
{
	/* An orphan's parent is init or a subreaper's concern, never ours to kill. */
	if (getppid() > 1)
		kill(getppid(), SIGKILL);
}

static void die(void)
{
	for (;;)
		raise(SIGKILL);
}

static void die_with_parent(void)
{
	kill_parent();
	die();
}

static void hang(void)
{
	for (;;)
		pause();
}

/* With all threads, until somebody sends a SIGCONT. */
static void stop(void)
{
	raise(SIGSTOP);
}

static const struct {
	const char *name;
	void (*run)(void);
} actions[] = {
	{"kill", die},
	{"kill-both", die_with_parent},
	{"kill-parent", kill_parent},
	{"hang", hang},
	{"stop", stop},
};

#define MAX_ARMED 4

/* NULL when there is no such action. */
static void (*find_action(const char *name, size_t length))(void)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(actions); i++)
		if (strlen(actions[i].name) == length && memcmp(actions[i].name, name, length) == 0)
			return actions[i].run;
	return NULL;
}

static bool is_set(const char *name)
{
	const char *value = getenv(name);

	return value && *value;
}

static size_t count_environment(void)
{
	size_t n = 0;

	while (environ && environ[n])
		n++;
	return n;
}

/* Looked up again whenever variables came or went. */
static bool is_armed(void)
{
	static atomic_size_t n_seen = SIZE_MAX;
	static atomic_bool armed;
	size_t n = count_environment();

	if (atomic_load(&n_seen) != n) {
		atomic_store(&armed, is_set("DSUD_FAULT") || is_set("DSUD_FAULT_TRACE"));
		atomic_store(&n_seen, n);
	}
	return atomic_load(&armed);
}

/* One write, so that lines of several processes do not mix. */
static void trace(const char *path, const char *name)
{
	char line[128];
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	size_t length = strlen(name);

	if (fd < 0)
		return;
	if (length < sizeof(line)) {
		memcpy(line, name, length);
		line[length] = '\n';
		if (write(fd, line, length + 1) < 0)
			die();
	}
	close(fd);
}

/* One of the armed points, name[:count][:action], up to a comma or the end. */
static void act(const char *armed, atomic_ulong *n_passed, const char *name)
{
	size_t length = strcspn(armed, ":,");
	const char *rest = armed + length;
	unsigned long count = 1;

	if (rest[0] == ':' && rest[1] >= '0' && rest[1] <= '9') {
		char *end = NULL;

		count = strtoul(rest + 1, &end, 10);
		rest = end;
	}

	size_t left = strcspn(rest, ",");
	void (*action)(void) = left == 0	? die
			       : *rest == ':' ? find_action(rest + 1, left - 1)
					      : NULL;

	if (length == 0 || count == 0 || !action)
		die();
	if (strlen(name) == length && memcmp(name, armed, length) == 0 &&
	    atomic_fetch_add(n_passed, 1) + 1 == count)
		action();
}

static void act_all(const char *armed, const char *name)
{
	static atomic_ulong n_passed[MAX_ARMED];

	for (size_t i = 0; armed; i++) {
		const char *comma = strchr(armed, ',');

		if (i == MAX_ARMED)
			die();
		act(armed, &n_passed[i], name);
		armed = comma ? comma + 1 : NULL;
	}
}

void inj_fault_point(const char *name)
{
	/* Points stand before the code has looked at errno. */
	const int saved = errno;

	if (!is_armed())
		return;
	if (is_set("DSUD_FAULT_TRACE"))
		trace(getenv("DSUD_FAULT_TRACE"), name);
	if (is_set("DSUD_FAULT"))
		act_all(getenv("DSUD_FAULT"), name);
	errno = saved;
}

#endif
