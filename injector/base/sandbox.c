/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Giving up rights. Owns the list of system calls that reading needs; what is not in it ends the
 * process at once. Order
 * matters: descriptors, limits and identity while that is still allowed, the filter last. Always
 * holds: nothing fails silently but what only a privileged caller can give up (another user) or
 * what is a courtesy to the system (being the first to go when memory is short).
 */
#include "injector/base/sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "injector/base/cleanup.h"
#include "injector/base/types.h"

/* Nobody's number, and no other reader's: they shall not be able to signal each other. Below 2^31,
 * above what is handed out. */
#define FIRST_USER 0x7fff0000u
#define NOBODY 65534u

static int compare_fds(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static int keep_descriptors(const struct inj_sandbox *sandbox)
{
	INJ_FREE int *fds = calloc(sandbox->n_fds + 1, sizeof(*fds));
	unsigned next = STDERR_FILENO + 1;
	int null;

	if (!fds)
		return -ENOMEM;
	for (size_t i = 0; i < sandbox->n_fds; i++)
		fds[i] = sandbox->fds[i];
	qsort(fds, sandbox->n_fds, sizeof(*fds), compare_fds);
	for (size_t i = 0; i < sandbox->n_fds; i++) {
		if (fds[i] < (int)next)
			continue;
		if (fds[i] > (int)next && close_range(next, (unsigned)fds[i] - 1, 0) < 0)
			return -errno;
		next = (unsigned)fds[i] + 1;
	}
	if (close_range(next, ~0u, 0) < 0)
		return -errno;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return -errno;
	for (int i = 0; i <= STDERR_FILENO; i++)
		if (dup2(null, i) < 0)
			return -errno;
	if (null > STDERR_FILENO)
		close(null);
	return 0;
}

static int limit(int resource, rlim_t value)
{
	const struct rlimit both = { value, value };
	struct rlimit now;

	if (getrlimit(resource, &now) == 0 && now.rlim_max < value)
		return setrlimit(resource, &(struct rlimit){now.rlim_max, now.rlim_max}) < 0
			       ? -errno
			       : 0;
	return setrlimit(resource, &both) < 0 ? -errno : 0;
}

static int set_limits(const struct inj_sandbox *sandbox)
{
	int r = limit(RLIMIT_CORE, 0);

	if (r == 0)
		r = limit(RLIMIT_FSIZE, 0);
	if (r == 0)
		r = limit(RLIMIT_NOFILE, sandbox->max_fds);
	if (r == 0)
		r = limit(RLIMIT_CPU, sandbox->cpu_seconds);
#if !defined(__SANITIZE_ADDRESS__)
	/* Its shadow alone is larger than any bound. */
	if (r == 0)
		r = limit(RLIMIT_AS, sandbox->memory_bytes);
#endif
	return r;
}

/* When memory is short, whoever reads a hostile file goes first. */
static void be_first_to_go(void)
{
	INJ_CLOSE int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "1000", 4) < 0)
		return;
}

/* Another user, where the caller may choose; in a user namespace not every number exists. */
static void leave_root(void)
{
	const uid_t users[] = { FIRST_USER + ((unsigned)getpid() & 0xffff), NOBODY };

	if (geteuid() != 0 || setgroups(0, NULL) < 0)
		return;
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(users); i++)
		if (setresgid(users[i], users[i], users[i]) == 0 &&
		    setresuid(users[i], users[i], users[i]) == 0)
			return;
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[2] = {};

	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

/* Memory that is both writable and executable, or becomes executable, is no data of a reader. */
static int allow_memory(scmp_filter_ctx filter)
{
	static const int calls[] = { SCMP_SYS(mmap), SCMP_SYS(mprotect) };
	int r = 0;

	for (size_t i = 0; r == 0 && i < INJ_ARRAY_LENGTH(calls); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 1,
				     SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return r;
}

static int allow_descriptors(scmp_filter_ctx filter)
{
	static const unsigned commands[] = { F_DUPFD_CLOEXEC, F_GETFD, F_GETFL };
	/* fstat() of glibc: a path is never looked at with an empty one. */
	int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
				 SCMP_A3(SCMP_CMP_EQ, AT_EMPTY_PATH));

	for (size_t i = 0; r == 0 && i < INJ_ARRAY_LENGTH(commands); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
				     SCMP_A1(SCMP_CMP_EQ, commands[i]));
	return r;
}

static int fill_filter(scmp_filter_ctx filter)
{
	static const int calls[] = {
		SCMP_SYS(read),	       SCMP_SYS(pread64),	SCMP_SYS(write),
		SCMP_SYS(recvmsg),     SCMP_SYS(sendmsg),	SCMP_SYS(recvfrom),
		SCMP_SYS(sendto),      SCMP_SYS(poll),		SCMP_SYS(ppoll),
		SCMP_SYS(close),       SCMP_SYS(fstat),		SCMP_SYS(lseek),
		SCMP_SYS(munmap),      SCMP_SYS(mremap),	SCMP_SYS(madvise),
		SCMP_SYS(brk),	       SCMP_SYS(futex),		SCMP_SYS(clock_gettime),
		SCMP_SYS(gettimeofday), SCMP_SYS(getrandom),	SCMP_SYS(sched_yield),
		SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(sigaltstack),
		SCMP_SYS(restart_syscall), SCMP_SYS(exit),	SCMP_SYS(exit_group),
		SCMP_SYS(sysinfo), /* qsort() of glibc asks how much memory there is */
	};
	/* libdw wants to know the path of every file, even of one in memory, and does without. */
	int r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOENT), SCMP_SYS(readlink), 0);

	for (size_t i = 0; r == 0 && i < INJ_ARRAY_LENGTH(calls); i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	if (r == 0)
		r = allow_memory(filter);
	return r == 0 ? allow_descriptors(filter) : r;
}

static int close_the_door(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int r;

	if (!filter)
		return -ENOMEM;
	r = fill_filter(filter);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

int inj_sandbox_enter(const struct inj_sandbox *sandbox)
{
	int r;

	prctl(PR_SET_NAME, sandbox->name, 0, 0, 0);
	be_first_to_go();
	r = keep_descriptors(sandbox);
	if (r == 0)
		r = set_limits(sandbox);
	if (r < 0)
		return r;
	leave_root();
	r = drop_capabilities();
	if (r < 0)
		return r;
	/* Changing the user clears both. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return close_the_door();
}
