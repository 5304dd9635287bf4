/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a worker may do, by the kind of its job. Owns the table of capabilities, each with its
 * reason. A seccomp filter is
 * not among the means: the kernel refuses PTRACE_O_SUSPEND_SECCOMP to a tracer that has one.
 */
#include "dsud/worker/rights.h"

#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "injector/base/cleanup.h"

enum need {
	ALWAYS,	 /* to look at processes and files */
	READERS, /* jobs that have foreign files read */
	CHANGES, /* jobs that change targets */
};

static const struct {
	unsigned capability;
	enum need need;
} needs[] = {
	{ CAP_SYS_PTRACE, ALWAYS },
	{ CAP_DAC_READ_SEARCH, ALWAYS },	/* files and /proc of other users */
	{ CAP_CHECKPOINT_RESTORE, ALWAYS },	/* /proc/PID/map_files */
	{ CAP_KILL, ALWAYS },			/* signal 0: does a thread still belong to a
						   process? */
	{ CAP_PERFMON, ALWAYS },		/* to watch a call that is interrupted */
	{ CAP_SETUID, READERS },		/* readers become users of their own */
	{ CAP_SETGID, READERS },
	{ CAP_DAC_OVERRIDE, CHANGES },		/* /proc/PID/mem of other users, for writing */
	{ CAP_SYS_ADMIN, CHANGES },		/* PTRACE_O_SUSPEND_SECCOMP */
};

static bool changes(enum upd_kind kind)
{
	return kind == UPD_APPLY || kind == UPD_REVERT || kind == UPD_RECOVER;
}

static bool is_needed(enum need need, enum upd_kind kind)
{
	return need == ALWAYS || (need == READERS && kind != UPD_STATUS) ||
	       (need == CHANGES && changes(kind));
}

static void kept_by(enum upd_kind kind, uint32_t mask[2])
{
	mask[0] = mask[1] = 0;
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(needs); i++)
		if (is_needed(needs[i].need, kind))
			mask[needs[i].capability / 32] |= 1u << (needs[i].capability % 32);
}

static int drop_capabilities(enum upd_kind kind)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2];
	uint32_t mask[2];

	kept_by(kind, mask);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	/* Nothing that is run could have them again; where we may not say so, it has no new
	 * privileges anyway. */
	for (unsigned i = 0; i < 64; i++)
		if (!(mask[i / 32] >> (i % 32) & 1))
			prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
	if (syscall(SYS_capget, &header, sets) < 0)
		return -errno;
	for (int i = 0; i < 2; i++) {
		sets[i].permitted &= mask[i];
		sets[i].effective = sets[i].permitted;
		sets[i].inheritable = 0;
	}
	return syscall(SYS_capset, &header, sets) < 0 ? -errno : 0;
}

static int limit(int resource, rlim_t value)
{
	struct rlimit now;

	if (getrlimit(resource, &now) < 0)
		return -errno;
	if (now.rlim_max < value)
		value = now.rlim_max;
	return setrlimit(resource, &(struct rlimit){ value, value }) < 0 ? -errno : 0;
}

/* Bounds for what has gone wrong, not for what is large: they grow with the number of targets. */
static int set_limits(const struct dsud_job *job)
{
	const rlim_t n = job->scan ? UPD_REPORT_MAX_TARGETS : job->n_subjects;
	const rlim_t seconds = (job->timeout_ns + job->grace_ns) / 1000000000u + 60;
	int r = limit(RLIMIT_CORE, 0); /* it would hold memory of targets */

	if (r == 0)
		r = limit(RLIMIT_NOFILE, 256 + 32 * n);
	if (r == 0)
		r = limit(RLIMIT_CPU, 2 * seconds);
#if !defined(__SANITIZE_ADDRESS__)
	/* A blueprint and the view of its memory are 1 GiB each at most. */
	if (r == 0)
		r = limit(RLIMIT_AS, (8 + 2 * n) << 30);
#endif
	return r;
}

int dsud_worker_drop_rights(const struct dsud_job *job)
{
	int r = set_limits(job);

	if (r == 0)
		r = drop_capabilities(job->kind);
	if (r == 0 &&
	    (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0))
		r = -errno;
	return r;
}

void dsud_leave_network(void)
{
	const char *bus = getenv("DBUS_SYSTEM_BUS_ADDRESS");
	const char *notify = getenv("NOTIFY_SOCKET");

	if ((bus && bus[0] && !strstr(bus, "unix:path=")) || (notify && notify[0] == '@'))
		return;
	/* Not being allowed to is no failure: nothing here uses a network. */
	if (unshare(CLONE_NEWNET) < 0)
		return;
}
