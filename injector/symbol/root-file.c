/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Opens files by path the way the target sees them, or the way we do. The target's root is a
 * hostile tree: an absolute symbolic link in it must not lead into ours, and a file in it may be a
 * device or a pipe, whose mere opening acts or blocks, or one that the kernel makes up, where that
 * goes for reading. Always holds: paths are resolved inside their root, what is returned is a
 * regular file on a file system for files, open for reading.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "injector/symbol/symbol-priv.h"

/* Not in every linux/magic.h. */
#define CONFIGFS_MAGIC 0x62656570
#define FUSECTL_MAGIC  0x65735543

/* Descriptor (O_PATH) of a root directory, or negative errno. */
int root_open(const struct inj_process *process, enum inj_debug_root root)
{
	if (root == INJ_DEBUG_TARGET)
		return inj_process_openat(process, "root", O_PATH | O_DIRECTORY);
	int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Regular they look, but reading them asks or changes the kernel, or waits for it. */
static bool is_made_up(int path_fd)
{
	static const unsigned long kinds[] = {
		PROC_SUPER_MAGIC, SYSFS_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC, SECURITYFS_MAGIC,
		CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, BPF_FS_MAGIC, PSTOREFS_MAGIC,
		EFIVARFS_MAGIC, BINFMTFS_MAGIC, SELINUX_MAGIC, SMACK_MAGIC, DEVPTS_SUPER_MAGIC,
		NSFS_MAGIC, RDTGROUP_SUPER_MAGIC, CONFIGFS_MAGIC, FUSECTL_MAGIC,
	};
	struct statfs system;

	if (fstatfs(path_fd, &system) < 0)
		return true;
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(kinds); i++)
		if ((unsigned long)system.f_type == kinds[i])
			return true;
	return false;
}

/* Open for reading what an O_PATH descriptor stands for, if it is a regular file. */
int reopen_regular(int path_fd)
{
	char link[40];
	struct stat status;

	if (fstat(path_fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode) || is_made_up(path_fd))
		return -ENOENT;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", path_fd);
	int fd = open(link, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* Open a regular file below a root; symbolic links are followed inside it. */
int root_open_file(int root_fd, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	INJ_CLOSE int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));

	return fd < 0 ? -errno : reopen_regular(fd);
}
