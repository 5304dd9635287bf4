/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * container WAY DIRECTORY PROGRAM: runs PROGRAM as the first process of pid, mount, network, IPC
 *   and host name spaces of its
 * own, with DIRECTORY as its root. WAY: pivot (nothing else is mounted there, as container managers
 * do it), user (the same in a user namespace), chroot. Libraries are looked for in /deep. Says
 * "cannot" when the kernel does not let it.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	return file && fputs(text, file) >= 0 && fclose(file) == 0 ? 0 : -1;
}

static int split_off(const char *way)
{
	if (strcmp(way, "user") == 0 &&
	    (unshare(CLONE_NEWUSER) != 0 || write_text("/proc/self/setgroups", "deny") != 0 ||
	     write_text("/proc/self/uid_map", "0 0 1") != 0 ||
	     write_text("/proc/self/gid_map", "0 0 1") != 0))
		return -1;
	return unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS);
}

static int enter(const char *way, const char *directory)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount(directory, directory, NULL, MS_BIND | MS_REC, NULL) != 0 ||
	    chdir(directory) != 0 || mount("proc", "proc", "proc", 0, NULL) != 0)
		return -1;
	if (strcmp(way, "chroot") == 0)
		return chroot(".");
	return syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/");
}

int main(int argc, char **argv)
{
	static char library_path[] = "LD_LIBRARY_PATH=/deep";
	char *environment[] = {library_path, NULL};
	int status = 0;
	pid_t child;

	if (argc != 4 || split_off(argv[1]) != 0) {
		puts("cannot");
		return 1;
	}
	child = fork();
	if (child == 0) {
		char *arguments[] = {argv[3], NULL};

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (enter(argv[1], argv[2]) == 0)
			execve(argv[3], arguments, environment);
		puts("cannot");
		return 1;
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
