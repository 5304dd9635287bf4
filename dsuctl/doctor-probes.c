/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a host allows one process to do to another, tried on a child of our own that does nothing
 * and is killed and reaped on every path out. No other process is touched: this is the one place
 * outside the injector that traces, because asking the kernel is the only honest answer and no
 * daemon may be there to ask.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dsuctl/doctor.h"
#include "injector/base/cleanup.h"
#include "injector/base/sandbox.h"
#include "injector/base/types.h"

#ifndef PTRACE_O_SUSPEND_SECCOMP
#define PTRACE_O_SUSPEND_SECCOMP (1 << 21)
#endif

#define FIND(health, ...) (snprintf(value, CTL_FINDING_MAX, __VA_ARGS__), (health))

/* At the same address in the child; lies in read-only memory. */
static const uint64_t landmark = 0x6473756374726c21;

/* Everything is allowed: what counts is that there is a filter. */
static int install_filter(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {.len = 1, .filter = &allow};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

__attribute__((noreturn))
static void live(int ready, bool is_filtered)
{
	char word = 'y';

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (is_filtered && install_filter() < 0)
		word = 'n';
	if (write(ready, &word, 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static void child_end(pid_t *child)
{
	if (*child <= 0)
		return;
	kill(*child, SIGKILL);
	while (waitpid(*child, NULL, __WALL) < 0 && errno == EINTR)
		;
}
#define CHILD INJ_CLEANUP(child_end) pid_t

/* Return: its pid, ready; negative errno. */
static pid_t child_start(bool is_filtered)
{
	INJ_CLOSE int mine = -1, its = -1;
	int ends[2];
	char word;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	mine = ends[0];
	its = ends[1];
	CHILD child = fork();

	if (child < 0)
		return -errno;
	if (child == 0)
		live(its, is_filtered);
	close(inj_take_fd(&its));
	if (read(mine, &word, 1) != 1)
		return -EIO;
	if (word != 'y')
		return -EOPNOTSUPP;
	pid_t ready = child;

	child = -1;
	return ready;
}

static int hold(pid_t child, unsigned long options)
{
	int status;

	if (ptrace(PTRACE_SEIZE, child, NULL, options) < 0 ||
	    ptrace(PTRACE_INTERRUPT, child, NULL, NULL) < 0)
		return -errno;
	if (waitpid(child, &status, __WALL) != child || !WIFSTOPPED(status))
		return -EIO;
	return 0;
}

enum ctl_health ctl_doctor_ptrace(const struct ctl_options *options, char value[CTL_FINDING_MAX])
{
	CHILD child = child_start(false);
	int r = child < 0 ? child : hold(child, 0);

	if (r == 0 && ptrace(PTRACE_DETACH, child, NULL, NULL) < 0)
		r = -errno;
	return r < 0 ? FIND(CTL_HEALTH_MISSING, "%s", strerror(-r))
		     : FIND(CTL_HEALTH_OK, "seized, stopped and released a child");
}

enum ctl_health ctl_doctor_suspend_seccomp(const struct ctl_options *options,
					   char value[CTL_FINDING_MAX])
{
	CHILD child = child_start(true);
	int r = child < 0 ? child : hold(child, PTRACE_O_SUSPEND_SECCOMP);

	return r < 0 ? FIND(CTL_HEALTH_MISSING, "%s", strerror(-r))
		     : FIND(CTL_HEALTH_OK, "suspended the filter of a child");
}

enum ctl_health ctl_doctor_vm_read(const struct ctl_options *options, char value[CTL_FINDING_MAX])
{
	CHILD child = child_start(false);
	uint64_t copy = 0;
	struct iovec local = {.iov_base = &copy, .iov_len = sizeof(copy)};
	struct iovec remote = {.iov_base = (void *)&landmark, .iov_len = sizeof(landmark)};

	if (child < 0)
		return FIND(CTL_HEALTH_MISSING, "%s", strerror(-child));
	if (process_vm_readv(child, &local, 1, &remote, 1, 0) != sizeof(copy))
		return FIND(CTL_HEALTH_MISSING, "%s", strerror(errno));
	return copy == landmark ? FIND(CTL_HEALTH_OK, "read a child's memory")
				: FIND(CTL_HEALTH_MISSING, "read something else");
}

enum ctl_health ctl_doctor_mem_write(const struct ctl_options *options,
				     char value[CTL_FINDING_MAX])
{
	CHILD child = child_start(false);
	INJ_CLOSE int fd = -1;
	uint64_t changed = ~landmark, copy = 0;
	char path[32];
	int r = child < 0 ? child : hold(child, 0);

	if (r < 0)
		return FIND(CTL_HEALTH_MISSING, "%s", strerror(-r));
	snprintf(path, sizeof(path), "/proc/%d/mem", child);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return FIND(CTL_HEALTH_MISSING, "%s: %s", path, strerror(errno));
	if (pwrite(fd, &changed, sizeof(changed), (off_t)(uintptr_t)&landmark) != sizeof(changed))
		return FIND(CTL_HEALTH_MISSING, "read-only memory cannot be written: %s",
			    strerror(errno));
	if (pread(fd, &copy, sizeof(copy), (off_t)(uintptr_t)&landmark) != sizeof(copy) ||
	    copy != changed)
		return FIND(CTL_HEALTH_MISSING, "what was written is not there");
	return FIND(CTL_HEALTH_OK, "wrote read-only memory of a child");
}

enum ctl_health ctl_doctor_pidfd(const struct ctl_options *options, char value[CTL_FINDING_MAX])
{
	CHILD child = child_start(false);
	INJ_CLOSE int fd = -1;

	if (child < 0)
		return FIND(CTL_HEALTH_MISSING, "%s", strerror(-child));
	fd = (int)syscall(SYS_pidfd_open, child, 0);
	if (fd < 0)
		return FIND(CTL_HEALTH_MISSING, "%s", strerror(errno));
	return FIND(CTL_HEALTH_OK, "opened");
}

/* Readers of foreign files are confined in this way, and nothing is read without. */
enum ctl_health ctl_doctor_confinement(const struct ctl_options *options,
				       char value[CTL_FINDING_MAX])
{
	const struct inj_sandbox sandbox = {
		.name = "dsuctl-doctor", .memory_bytes = INJ_SANDBOX_MEMORY_BYTES,
		.cpu_seconds = 10, .max_fds = 64,
	};
	pid_t child = fork();
	int status;

	if (child == 0)
		_exit(-inj_sandbox_enter(&sandbox) & 0xff);
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return FIND(CTL_HEALTH_MISSING, "fork: %s", strerror(errno));
	if (!WIFEXITED(status))
		return FIND(CTL_HEALTH_MISSING, "the child was ended by signal %d",
			    WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		return FIND(CTL_HEALTH_MISSING, "a child could not be confined: %s",
			    strerror(WEXITSTATUS(status)));
	return FIND(CTL_HEALTH_OK, "confined a child");
}
