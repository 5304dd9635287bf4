/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_DOCTOR_H
#define CTL_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>

#include "dsuctl/options.h"

enum ctl_health {
	CTL_HEALTH_OK,
	CTL_HEALTH_LIMITED, /* works, with less */
	CTL_HEALTH_MISSING,
};

#define CTL_FINDING_MAX 160

/* What was found, in a few words. */
struct ctl_finding {
	enum ctl_health health;
	char value[CTL_FINDING_MAX];
};

struct ctl_check {
	const char *name;
	bool is_required;
	const char *purpose;
	const char *advice; /* what to do when it is not ok */
	/* Fills value, changes nothing on this host. */
	enum ctl_health (*probe)(const struct ctl_options *options, char value[CTL_FINDING_MAX]);
};

/* What can be read or tried in this process alone. */
enum ctl_health ctl_doctor_kernel(const struct ctl_options *options, char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_root(const struct ctl_options *options, char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_yama(const struct ctl_options *options, char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_cap_ptrace(const struct ctl_options *options,
				      char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_cap_admin(const struct ctl_options *options,
				     char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_cap_restore(const struct ctl_options *options,
				       char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_cap_files(const struct ctl_options *options,
				     char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_cap_bpf(const struct ctl_options *options, char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_own_seccomp(const struct ctl_options *options,
				       char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_memfd(const struct ctl_options *options, char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_map_files(const struct ctl_options *options,
				     char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_userfaultfd(const struct ctl_options *options,
				       char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_btf(const struct ctl_options *options, char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_libc_debug(const struct ctl_options *options,
				      char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_cpu(const struct ctl_options *options, char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_daemon(const struct ctl_options *options, char value[CTL_FINDING_MAX]);

/* What is tried on a child of our own, which is gone afterwards. */
enum ctl_health ctl_doctor_ptrace(const struct ctl_options *options, char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_suspend_seccomp(const struct ctl_options *options,
					   char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_vm_read(const struct ctl_options *options, char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_mem_write(const struct ctl_options *options,
				     char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_confinement(const struct ctl_options *options,
				       char value[CTL_FINDING_MAX]);
enum ctl_health ctl_doctor_pidfd(const struct ctl_options *options, char value[CTL_FINDING_MAX]);

#endif
