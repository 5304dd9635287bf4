/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the daemon's processes may do while an update is under way, as the kernel tells it, and who
 * ever had the bytes of the patch in its memory.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "injector/base/io.h"
#include "tests/bus/bus-fixture.h"
#include "tests/support/need.h"
#include "tests/support/victim.h"

#define HOT_PATCH "tests/patches/live/hot-v2.so"
#define MARK_BYTES 64

#define BIT(capability) (UINT64_C(1) << (capability))

/* The line of a process's status that begins so, after the tab. */
static const char *status_of(pid_t pid, const char *field, char *line, size_t size)
{
	char path[64];
	size_t n = strlen(field);
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	cr_assert(file, "process %d is gone", pid);
	while (fgets(line, (int)size, file))
		if (strncmp(line, field, n) == 0 && line[n] == ':') {
			fclose(file);
			return line + n + 2;
		}
	fclose(file);
	cr_assert_fail("%s says nothing of %s", path, field);
	return NULL;
}

static uint64_t number_of(pid_t pid, const char *field, int base)
{
	char line[256];

	return strtoull(status_of(pid, field, line, sizeof(line)), NULL, base);
}

/* The child of that name; 0 when there is none. */
static pid_t child_of(pid_t parent, const char *name)
{
	char path[64], text[4096] = "", line[256];
	FILE *file;
	char *at = text, *end;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", parent, parent);
	file = fopen(path, "re");
	cr_assert(file);
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	for (pid_t pid; (pid = (pid_t)strtol(at, &end, 10)) > 0; at = end)
		if (strncmp(status_of(pid, "Name", line, sizeof(line)), name, strlen(name)) == 0)
			return pid;
	return 0;
}

/* Files that a process has open, but for /dev/null, sockets and the like that are named. */
static void expect_descriptors(pid_t pid, const char *const *allowed)
{
	char path[64], target[256];

	for (int fd = 0; fd < 256; fd++) {
		bool known = false;
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
		n = readlink(path, target, sizeof(target) - 1);
		if (n < 0)
			continue;
		target[n] = '\0';
		for (size_t i = 0; allowed[i]; i++)
			known |= strncmp(target, allowed[i], strlen(allowed[i])) == 0;
		cr_expect(known, "descriptor %d of process %d is %s", fd, pid, target);
	}
}

static bool same_network(pid_t a, pid_t b)
{
	struct stat one, other;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", a);
	cr_assert_eq(stat(path, &one), 0);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", b);
	cr_assert_eq(stat(path, &other), 0);
	return one.st_ino == other.st_ino;
}

static void check_worker(pid_t worker)
{
	const uint64_t most = BIT(CAP_SYS_PTRACE) | BIT(CAP_DAC_READ_SEARCH) |
			      BIT(CAP_DAC_OVERRIDE) | BIT(CAP_CHECKPOINT_RESTORE) | BIT(CAP_KILL) |
			      BIT(CAP_PERFMON) | BIT(CAP_SETUID) | BIT(CAP_SETGID) |
			      BIT(CAP_SYS_ADMIN);

	cr_expect_eq(number_of(worker, "CapEff", 16) & ~most, 0);
	cr_expect_eq(number_of(worker, "CapPrm", 16) & ~most, 0);
	cr_expect_eq(number_of(worker, "CapInh", 16), 0);
	cr_expect_eq(number_of(worker, "CapAmb", 16), 0);
	cr_expect_neq(number_of(worker, "CapEff", 16) & BIT(CAP_SYS_PTRACE), 0);
	cr_expect_eq(number_of(worker, "NoNewPrivs", 10), 1);
	/* A filter would forbid it to change sandboxed programs. */
	cr_expect_eq(number_of(worker, "Seccomp", 10), 0);
	cr_expect_not(same_network(worker, getpid()), "a worker has a network");
}

static void check_reader(pid_t reader)
{
	static const char *const allowed[] = {
		"/dev/null", "socket:", "/memfd:dsud-patch", "/proc/", "/usr/lib/", "/lib/", NULL};
	static const char *const sets[] = { "CapInh", "CapPrm", "CapEff", "CapAmb" };
	const char *const victims[] = { build_path("tests/victims/"), NULL };
	const char *all[INJ_ARRAY_LENGTH(allowed) + 1];

	memcpy(all, allowed, sizeof(allowed));
	all[INJ_ARRAY_LENGTH(allowed) - 1] = victims[0];
	all[INJ_ARRAY_LENGTH(allowed)] = NULL;
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(sets); i++)
		cr_expect_eq(number_of(reader, sets[i], 16), 0, "%s", sets[i]);
	cr_expect_eq(number_of(reader, "NoNewPrivs", 10), 1);
	cr_expect_eq(number_of(reader, "Seccomp", 10), 2);
	cr_expect_neq(number_of(reader, "Uid", 10), 0);
	cr_expect_neq(number_of(reader, "Gid", 10), 0);
	cr_expect_eq(number_of(reader, "Groups", 10), 0);
	cr_expect_eq(number_of(reader, "Threads", 10), 1);
	cr_expect_not(same_network(reader, getpid()), "a reader has a network");
	expect_descriptors(reader, all);
}

/* A patch with bytes at its end that stand nowhere else. */
static int marked_patch(uint8_t mark[MARK_BYTES])
{
	INJ_CLOSE int from = open(build_path(HOT_PATCH), O_RDONLY | O_CLOEXEC);
	int fd = memfd_create("patch", MFD_CLOEXEC);
	struct stat status;

	cr_assert(from >= 0 && fd >= 0 && fstat(from, &status) == 0);
	cr_assert_eq(sendfile(fd, from, NULL, (size_t)status.st_size), status.st_size);
	cr_assert_eq(getrandom(mark, MARK_BYTES, 0), MARK_BYTES);
	cr_assert_eq(inj_write_full(fd, mark, MARK_BYTES), 0);
	return fd;
}

/* Does any memory of a process hold these bytes? */
static bool holds(pid_t pid, const uint8_t mark[MARK_BYTES])
{
	char path[64], line[512];
	unsigned long long start, end;
	INJ_CLOSE int mem = -1;
	bool found = false;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	cr_assert(mem >= 0 && maps);
	while (!found && fgets(line, sizeof(line), maps)) {
		INJ_FREE uint8_t *bytes = NULL;
		ssize_t n;

		cr_assert_eq(sscanf(line, "%llx-%llx", &start, &end), 2);
		if (strstr(line, "[v") || end - start > (1ull << 30))
			continue;
		bytes = malloc(end - start);
		cr_assert(bytes);
		n = pread(mem, bytes, end - start, (off_t)start);
		found = n > 0 && memmem(bytes, (size_t)n, mark, MARK_BYTES);
	}
	fclose(maps);
	return found;
}

Test(rights, of_worker_and_reader_while_an_update_waits, .timeout = 120)
{
	BUS_FIXTURE fixture = NULL;
	BUS_ERROR error = SD_BUS_ERROR_NULL;
	uint8_t mark[MARK_BYTES];
	VICTIM victim = NULL;
	const char *path;
	pid_t worker, reader;
	BUS bus = NULL;

	need_root();
	fixture = bus_fixture_new("dsud/dsud", false);
	bus = bus_fixture_private(fixture);
	victim = victim_start("hot", "1", NULL);
	victim_ask(victim, "stuck");
	INJ_CLOSE int fd = marked_patch(mark);

	cr_assert_eq(bus_apply(bus, fd, victim->pid, &path, &error), 0, "%s", error.message);
	bus_await_string(bus, path, DSUD_IFACE_UPDATE, "Phase", "wait");
	worker = child_of(fixture->daemon_pid, "dsud-worker");
	cr_assert_gt(worker, 0, "there is no worker");
	reader = child_of(worker, "dsud-reader");
	cr_assert_gt(reader, 0, "there is no reader");
	check_worker(worker);
	check_reader(reader);
	cr_expect(holds(reader, mark),
		  "the reader has not read the patch: the test proves nothing");
	cr_expect_not(holds(fixture->daemon_pid, mark), "the daemon has read the patch");
	cr_expect_not(holds(worker, mark), "the worker has read the patch");
}
