/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the way from what an operator names (pid, executable, command name, unit) to processes. It
 * reads /proc only. Always holds: every process stands in a selection once; neither the daemon nor
 * one of its workers is ever in it.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-login.h>
#include <unistd.h>

#include "dsud/registry/select.h"
#include "injector/base/cleanup.h"

static const char *const selector_words[] = {
	[DSUD_BY_PID] = DSUD_SELECT_PID,
	[DSUD_BY_EXE] = DSUD_SELECT_EXE,
	[DSUD_BY_COMM] = DSUD_SELECT_COMM,
	[DSUD_BY_UNIT] = DSUD_SELECT_UNIT,
};

int dsud_selector_from_word(const char *word, enum dsud_selector *ret)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(selector_words); i++) {
		if (strcmp(word, selector_words[i]) == 0) {
			*ret = (enum dsud_selector)i;
			return 0;
		}
	}
	return -EINVAL;
}

static pid_t parent_of(pid_t pid)
{
	char text[1024];
	const char *at;
	int parent;

	if (dsud_proc_read(pid, "stat", text, sizeof(text)) < 0)
		return 0;
	at = strrchr(text, ')');
	return at && sscanf(at, ") %*c %d", &parent) == 1 ? parent : 0;
}

static bool is_ourselves(pid_t pid)
{
	return pid == getpid() || parent_of(pid) == getpid();
}

static int add(struct dsud_selection *selection, pid_t pid, struct inj_why *why)
{
	for (size_t i = 0; i < selection->n; i++)
		if (selection->subjects[i].pid == pid)
			return 0;
	if (selection->n == DSUD_MAX_TARGETS_PER_UPDATE)
		return inj_refuse(
			why, INJ_BUSY,
			"More than %d processes are named. Split them into several updates.",
			DSUD_MAX_TARGETS_PER_UPDATE);
	selection->subjects[selection->n++] = dsud_subject_look(pid);
	return 0;
}

static int select_pid(struct dsud_selection *selection, const char *value, struct inj_why *why)
{
	char *end;

	errno = 0;

	long pid = strtol(value, &end, 10);

	if (*value < '0' || *value > '9' || *end != '\0' || errno || pid < 1 || pid > INT_MAX) {
		inj_refuse(why, INJ_NO_SUCH_PROCESS,
			   "'%s' is no process id. Name a positive decimal number.", value);
		return -EINVAL;
	}
	if (is_ourselves((pid_t)pid))
		return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
				  "Process %ld is dsud itself or one of its workers, which cannot "
				  "change themselves. Name another process.",
				  pid);
	return add(selection, (pid_t)pid, why);
}

/* What is compared, made ready once for a walk over all processes. */
struct wanted {
	enum dsud_selector by;
	const char *value;
	char resolved[PATH_MAX];
};

static bool is_wanted_path(const char *path, const struct wanted *wanted)
{
	return strcmp(path, wanted->value) == 0 || strcmp(path, wanted->resolved) == 0;
}

static bool exe_matches(pid_t pid, const struct wanted *wanted)
{
	static const char deleted[] = " (deleted)";
	char link[64];
	char path[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return false;
	path[n] = '\0';
	if (is_wanted_path(path, wanted))
		return true;
	/* A program replaced by an upgrade runs on from the deleted file. No path of a process is
	 * looked at that nobody asked for: it may lie where that takes for ever. */
	if ((size_t)n <= strlen(deleted) || strcmp(path + n - strlen(deleted), deleted) != 0)
		return false;
	path[n - (ssize_t)strlen(deleted)] = '\0';
	if (!is_wanted_path(path, wanted))
		return false;
	path[n - (ssize_t)strlen(deleted)] = ' ';
	return access(path, F_OK) < 0;
}

static bool comm_matches(pid_t pid, const struct wanted *wanted)
{
	char comm[64];
	char link[64];
	char unused[1];
	char wanted_comm[16];

	/* The kernel keeps 15 bytes of a name. */
	snprintf(wanted_comm, sizeof(wanted_comm), "%s", wanted->value);
	/* A kernel thread has no executable, whatever its name. */
	snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
	return dsud_proc_read(pid, "comm", comm, sizeof(comm)) == 0 &&
	       strcmp(comm, wanted_comm) == 0 && readlink(link, unused, sizeof(unused)) > 0;
}

static bool unit_matches(pid_t pid, const struct wanted *wanted)
{
	INJ_FREE char *unit = NULL;

	return sd_pid_get_unit(pid, &unit) >= 0 && strcmp(unit, wanted->value) == 0;
}

static bool matches(pid_t pid, const struct wanted *wanted)
{
	switch (wanted->by) {
	case DSUD_BY_EXE:
		return exe_matches(pid, wanted);
	case DSUD_BY_COMM:
		return comm_matches(pid, wanted);
	case DSUD_BY_UNIT:
		return unit_matches(pid, wanted);
	default:
		return false;
	}
}

static int select_matching(struct dsud_selection *selection, const struct wanted *wanted,
			   size_t *ret_found, struct inj_why *why)
{
	INJ_CLEANUP(inj_dir_guard) DIR *proc = opendir("/proc");
	struct dirent *entry;
	size_t found = 0;

	if (!proc)
		return inj_broke(why, -errno, "Cannot list /proc");
	while ((entry = readdir(proc))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (pid <= 0 || !matches(pid, wanted) || is_ourselves(pid))
			continue;

		int r = add(selection, pid, why);

		if (r != 0)
			return r;
		found++;
	}
	*ret_found = found;
	return 0;
}

static int nothing_found(const struct wanted *wanted, struct inj_why *why)
{
	if (wanted->by == DSUD_BY_UNIT && access("/run/systemd/system", F_OK) < 0)
		return inj_refuse(
			why, INJ_NO_SUCH_PROCESS,
			"No process belongs to the unit %s, for no systemd runs here. Name "
			"the process by pid, exe or comm.",
			wanted->value);
	return inj_refuse(why, INJ_NO_SUCH_PROCESS,
			  "No running process has the %s %s. Check the spelling, and that it runs.",
			  wanted->by == DSUD_BY_EXE    ? "executable"
			  : wanted->by == DSUD_BY_COMM ? "name"
						       : "unit",
			  wanted->value);
}

int dsud_select(struct dsud_selection *selection, enum dsud_selector by, const char *value,
		struct inj_why *why)
{
	struct wanted wanted = {.by = by, .value = value};
	size_t found = 0;
	int r;

	if (by == DSUD_BY_PID)
		return select_pid(selection, value, why);
	if (by == DSUD_BY_EXE && value[0] != '/') {
		inj_refuse(why, INJ_NO_SUCH_PROCESS,
			   "'%s' is no absolute path. Name the executable with its whole path.",
			   value);
		return -EINVAL;
	}
	if (by == DSUD_BY_EXE && !realpath(value, wanted.resolved))
		wanted.resolved[0] = '\0';
	r = select_matching(selection, &wanted, &found, why);
	if (r != 0)
		return r;
	return found > 0 ? 0 : nothing_found(&wanted, why);
}
