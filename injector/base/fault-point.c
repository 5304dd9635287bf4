/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the named points at which a test lets a process die. Nothing happens unless DSUD_FAULT
 * is set. A specification that cannot be read kills at the first point that is passed: a test
 * with a spelling mistake must fail loudly, not pass because nothing was tried.
 */
#include "injector/base/fault-point.h"

#ifdef DSU_FAULT_POINTS

#include <signal.h>
#include <stdatomic.h>
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

static const struct {
	const char *name;
	void (*run)(void);
} actions[] = {
	{"kill", die},
	{"kill-both", die_with_parent},
	{"kill-parent", kill_parent},
	{"hang", hang},
};

/* NULL when there is no such action. */
static void (*find_action(const char *name))(void)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(actions); i++)
		if (strcmp(actions[i].name, name) == 0)
			return actions[i].run;
	return NULL;
}

void inj_fault_point(const char *name)
{
	static atomic_ulong n_passed;
	const char *armed = getenv("DSUD_FAULT");

	if (!armed || !*armed)
		return;

	size_t length = strcspn(armed, ":");
	const char *rest = armed + length;
	unsigned long count = 1;

	if (rest[0] == ':' && rest[1] >= '0' && rest[1] <= '9') {
		char *end = NULL;

		count = strtoul(rest + 1, &end, 10);
		rest = end;
	}

	void (*action)(void) = *rest == ':' ? find_action(rest + 1) : *rest ? NULL : die;

	if (length == 0 || count == 0 || !action)
		die();
	if (strlen(name) == length && memcmp(name, armed, length) == 0 &&
	    atomic_fetch_add(&n_passed, 1) + 1 == count)
		action();
}

#endif
