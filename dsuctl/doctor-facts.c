/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a host allows, as far as one process can find out alone: by reading what the kernel says
 * about itself and by trying things that leave no trace. A file that does not exist usually means
 * that the restriction it describes does not exist either; each probe says which it is.
 */
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <linux/capability.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "dsuctl/client.h"
#include "dsuctl/doctor.h"
#include "dsud/contract.h"
#include "injector/base/cleanup.h"
#include "injector/base/types.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#define HWCAP2_FSGSBASE_X86 (1UL << 1) /* arch/x86/include/uapi/asm/hwcap2.h */

#define FIND(health, ...) (snprintf(value, CTL_FINDING_MAX, __VA_ARGS__), (health))

/* One number in a file of /proc/sys; -1 when there is none. */
static long read_number(const char *path)
{
	INJ_CLEANUP(inj_file_guard) FILE *file = fopen(path, "re");
	long number;

	if (!file || fscanf(file, "%ld", &number) != 1)
		return -1;
	return number;
}

/* The value of a line "NAME:\tvalue" of /proc/self/status; false when there is no such line. */
static bool read_status(const char *name, char *value, size_t size)
{
	INJ_CLEANUP(inj_file_guard) FILE *file = fopen("/proc/self/status", "re");
	size_t length = strlen(name);
	char line[512];

	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, name, length) == 0 && line[length] == ':') {
			const char *start = line + length + 1;

			start += strspn(start, " \t");
			snprintf(value, size, "%.*s", (int)strcspn(start, "\n"), start);
			return true;
		}
	return false;
}

enum ctl_health ctl_doctor_kernel(const struct ctl_options *options, char value[CTL_FINDING_MAX])
{
	unsigned major = 0, minor = 0;
	struct utsname name;

	if (uname(&name) < 0)
		return FIND(CTL_HEALTH_MISSING, "unknown");
	/* pidfd_open and PTRACE_GET_SYSCALL_INFO came with 5.3; 5.10 is the oldest kept alive. */
	if (sscanf(name.release, "%u.%u", &major, &minor) != 2 || major < 5 ||
	    (major == 5 && minor < 3))
		return FIND(CTL_HEALTH_MISSING, "%s, older than 5.3", name.release);
	if (major == 5 && minor < 10)
		return FIND(CTL_HEALTH_LIMITED, "%s, older than 5.10", name.release);
	return FIND(CTL_HEALTH_OK, "Linux %s", name.release);
}

enum ctl_health ctl_doctor_root(const struct ctl_options *options, char value[CTL_FINDING_MAX])
{
	if (geteuid() != 0)
		return FIND(CTL_HEALTH_LIMITED, "user %u; the rows below are this user's",
			    geteuid());
	return FIND(CTL_HEALTH_OK, "root");
}

static bool has_capability(unsigned number)
{
	char text[32];

	if (!read_status("CapEff", text, sizeof(text)))
		return false;
	return strtoull(text, NULL, 16) >> number & 1;
}

enum ctl_health ctl_doctor_yama(const struct ctl_options *options, char value[CTL_FINDING_MAX])
{
	long scope = read_number("/proc/sys/kernel/yama/ptrace_scope");

	if (scope < 0)
		return FIND(CTL_HEALTH_OK, "no Yama");
	if (scope >= 3)
		return FIND(CTL_HEALTH_MISSING, "%ld: no tracing until reboot", scope);
	if (scope > 0 && !has_capability(CAP_SYS_PTRACE))
		return FIND(CTL_HEALTH_MISSING, "%ld, and no CAP_SYS_PTRACE", scope);
	return FIND(CTL_HEALTH_OK, "%ld%s", scope, scope > 0 ? ", CAP_SYS_PTRACE passes" : "");
}

static enum ctl_health capability(unsigned number, char value[CTL_FINDING_MAX])
{
	return has_capability(number) ? FIND(CTL_HEALTH_OK, "held")
				      : FIND(CTL_HEALTH_MISSING, "not held");
}

enum ctl_health ctl_doctor_cap_ptrace(const struct ctl_options *options,
				      char value[CTL_FINDING_MAX])
{
	return capability(CAP_SYS_PTRACE, value);
}

enum ctl_health ctl_doctor_cap_admin(const struct ctl_options *options,
				     char value[CTL_FINDING_MAX])
{
	return capability(CAP_SYS_ADMIN, value);
}

enum ctl_health ctl_doctor_cap_restore(const struct ctl_options *options,
				       char value[CTL_FINDING_MAX])
{
	if (!has_capability(CAP_CHECKPOINT_RESTORE) && has_capability(CAP_SYS_ADMIN))
		return FIND(CTL_HEALTH_OK, "not held, CAP_SYS_ADMIN stands in");
	return capability(CAP_CHECKPOINT_RESTORE, value);
}

enum ctl_health ctl_doctor_cap_files(const struct ctl_options *options,
				     char value[CTL_FINDING_MAX])
{
	if (!has_capability(CAP_DAC_READ_SEARCH) && has_capability(CAP_DAC_OVERRIDE))
		return FIND(CTL_HEALTH_OK, "not held, CAP_DAC_OVERRIDE stands in");
	return capability(CAP_DAC_READ_SEARCH, value);
}

enum ctl_health ctl_doctor_cap_bpf(const struct ctl_options *options, char value[CTL_FINDING_MAX])
{
	if (!has_capability(CAP_BPF) && has_capability(CAP_SYS_ADMIN))
		return FIND(CTL_HEALTH_OK, "not held, CAP_SYS_ADMIN stands in");
	return capability(CAP_BPF, value);
}

enum ctl_health ctl_doctor_own_seccomp(const struct ctl_options *options,
				       char value[CTL_FINDING_MAX])
{
	char mode[32] = "";

	if (!read_status("Seccomp", mode, sizeof(mode)) || strcmp(mode, "0") == 0)
		return FIND(CTL_HEALTH_OK, "no filter on us");
	return FIND(CTL_HEALTH_LIMITED, "mode %s: targets' filters cannot be suspended", mode);
}

enum ctl_health ctl_doctor_memfd(const struct ctl_options *options, char value[CTL_FINDING_MAX])
{
	long sysctl = read_number("/proc/sys/vm/memfd_noexec");
	INJ_CLOSE int fd = memfd_create("dsuctl-doctor", MFD_CLOEXEC | MFD_EXEC);
	void *page;

	/* Before Linux 6.3 the flag is unknown and not needed. */
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("dsuctl-doctor", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)INJ_PAGE_BYTES) < 0)
		return FIND(CTL_HEALTH_MISSING, "vm.memfd_noexec=%ld: %s", sysctl, strerror(errno));
	page = mmap(NULL, INJ_PAGE_BYTES, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		return FIND(CTL_HEALTH_MISSING, "cannot be mapped executable: %s",
			    strerror(errno));
	munmap(page, INJ_PAGE_BYTES);
	return sysctl < 0 ? FIND(CTL_HEALTH_OK, "allowed")
			  : FIND(CTL_HEALTH_OK, "allowed, vm.memfd_noexec=%ld", sysctl);
}

enum ctl_health ctl_doctor_map_files(const struct ctl_options *options,
				     char value[CTL_FINDING_MAX])
{
	INJ_CLEANUP(inj_dir_guard) DIR *directory = opendir("/proc/self/map_files");
	struct dirent *entry;

	if (!directory)
		return FIND(CTL_HEALTH_LIMITED, "%s", strerror(errno));
	while ((entry = readdir(directory))) {
		if (entry->d_name[0] == '.')
			continue;
		INJ_CLOSE int fd =
			openat(dirfd(directory), entry->d_name, O_RDONLY | O_CLOEXEC | O_NOCTTY);

		if (fd < 0)
			return FIND(CTL_HEALTH_LIMITED, "%s", strerror(errno));
		return FIND(CTL_HEALTH_OK, "readable");
	}
	return FIND(CTL_HEALTH_LIMITED, "empty");
}

enum ctl_health ctl_doctor_userfaultfd(const struct ctl_options *options,
				       char value[CTL_FINDING_MAX])
{
	INJ_CLOSE int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd >= 0)
		return FIND(CTL_HEALTH_OK, "usable");
	int err = errno;

	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (fd >= 0)
		return FIND(CTL_HEALTH_LIMITED, "for faults in user mode only");
	return FIND(CTL_HEALTH_MISSING, "%s", strerror(err));
}

enum ctl_health ctl_doctor_btf(const struct ctl_options *options, char value[CTL_FINDING_MAX])
{
	if (access("/sys/kernel/btf/vmlinux", R_OK) < 0)
		return FIND(CTL_HEALTH_MISSING, "/sys/kernel/btf/vmlinux: %s", strerror(errno));
	return FIND(CTL_HEALTH_OK, "/sys/kernel/btf/vmlinux");
}

struct build_id {
	char hex[2 * 64 + 1];
};

static void take_build_id(const uint8_t *note, size_t length, struct build_id *ret)
{
	while (length >= sizeof(Elf64_Nhdr)) {
		const Elf64_Nhdr *header = (const Elf64_Nhdr *)note;
		size_t name = ((size_t)header->n_namesz + 3) & ~(size_t)3;
		size_t bytes = ((size_t)header->n_descsz + 3) & ~(size_t)3;

		if (name + bytes > length - sizeof(*header))
			return;
		if (header->n_type == NT_GNU_BUILD_ID && header->n_descsz <= 64)
			for (size_t i = 0; i < header->n_descsz; i++)
				sprintf(ret->hex + 2 * i, "%02x",
					note[sizeof(*header) + name + i]);
		note += sizeof(*header) + name + bytes;
		length -= sizeof(*header) + name + bytes;
	}
}

static int find_libc(struct dl_phdr_info *info, size_t size, void *context)
{
	if (!strstr(info->dlpi_name, "libc.so.6"))
		return 0;
	for (size_t i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];

		if (segment->p_type == PT_NOTE)
			take_build_id((const uint8_t *)(info->dlpi_addr + segment->p_vaddr),
				      segment->p_memsz, context);
	}
	return 1;
}

enum ctl_health ctl_doctor_libc_debug(const struct ctl_options *options,
				      char value[CTL_FINDING_MAX])
{
	struct build_id id = {0};
	char path[256];

	dl_iterate_phdr(find_libc, &id);
	if (!id.hex[0])
		return FIND(CTL_HEALTH_MISSING, "libc has no build-id");
	snprintf(path, sizeof(path), "/usr/lib/debug/.build-id/%.2s/%s.debug", id.hex, id.hex + 2);
	if (access(path, R_OK) < 0)
		return FIND(CTL_HEALTH_MISSING, "none for build-id %.16s...", id.hex);
	return FIND(CTL_HEALTH_OK, "found by build-id");
}

enum ctl_health ctl_doctor_cpu(const struct ctl_options *options, char value[CTL_FINDING_MAX])
{
	bool has_fsgsbase = getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_X86;
	char features[64] = "";

	read_status("x86_Thread_features", features, sizeof(features));
	if (strstr(features, "shstk"))
		return FIND(CTL_HEALTH_LIMITED, "x86-64, shadow stacks in use");
	return FIND(CTL_HEALTH_OK, "x86-64%s", has_fsgsbase ? ", fsgsbase" : "");
}

enum ctl_health ctl_doctor_daemon(const struct ctl_options *options, char value[CTL_FINDING_MAX])
{
	char place[CTL_PLACE_MAX];

	return ctl_client_find(options, place) ? FIND(CTL_HEALTH_OK, "answers at %s", place)
					       : FIND(CTL_HEALTH_MISSING, "not running");
}
