/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the question whether a process is of a kind that can be changed. Looks, never touches.
 * Refuses what has no user code (kernel threads, zombies), code of another kind (32-bit, x32,
 * other machines), shadow stacks (a borrowed thread returns through a signal frame that such a
 * stack does not vouch for), what somebody else traces, and ourselves: the process that holds
 * a target must not be that target, and a worker's parent is waiting for it.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "injector/base/io.h"
#include "injector/process/support-priv.h"

#define AUXV_MAX_BYTES 4096

/* Name of a process that is not ours to open; "?" when it cannot be told. */
static void comm_of(pid_t pid, char *comm, size_t size)
{
	char path[48];
	size_t length = 0;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	snprintf(comm, size, "?");

	INJ_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || inj_read_full(fd, comm, size - 1, &length) < 0 || length == 0)
		return;
	comm[length] = '\0';
	comm[strcspn(comm, "\n")] = '\0';
	inj_printable(comm);
}

static int refuse_ourselves(const struct inj_process *process, struct inj_why *why)
{
	if (process->pid == getpid())
		return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
				  "process %d (%s) is the one that would do the change: it cannot "
				  "hold itself; restart it with a new binary instead",
				  process->pid, process->comm);
	if (process->pid == getppid())
		return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
				  "process %d (%s) is the daemon that supervises this update and "
				  "cannot change itself; restart it with a new binary instead",
				  process->pid, process->comm);
	return 0;
}

static int refuse_no_user_code(const struct inj_process *process, const struct inj_stat *stat,
			       struct inj_why *why)
{
	if (stat->flags & INJ_STAT_KERNEL_THREAD)
		return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
				  "process %d (%s) is a kernel thread: it runs no program; kernel "
				  "code is changed with livepatch",
				  process->pid, process->comm);
	if (stat->state == 'Z' && stat->n_threads > 1)
		return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
				  "the main thread of process %d (%s) has ended while others go "
				  "on: its memory cannot be examined; restart the program",
				  process->pid, process->comm);
	if (stat->state == 'Z' || stat->state == 'X')
		return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
				  "process %d (%s) is a zombie: it has ended and waits for its "
				  "parent to collect it; name a running process",
				  process->pid, process->comm);
	return 0;
}

/*
 * AT_PHENT is the size of a program header, so it tells the word size of the vector that
 * holds it. Read the way of each size; only one of them finds a plausible entry.
 */
static int class_from_auxv(const struct inj_process *process)
{
	INJ_FREE char *text = NULL;
	size_t length = 0;
	int r = inj_process_read_file(process, "auxv", AUXV_MAX_BYTES, &text, &length);

	if (r < 0)
		return r;
	for (size_t at = 0; at + sizeof(Elf64_auxv_t) <= length; at += sizeof(Elf64_auxv_t)) {
		Elf64_auxv_t entry;

		memcpy(&entry, text + at, sizeof(entry));
		if (entry.a_type == AT_PHENT && entry.a_un.a_val == sizeof(Elf64_Phdr))
			return ELFCLASS64;
	}
	for (size_t at = 0; at + sizeof(Elf32_auxv_t) <= length; at += sizeof(Elf32_auxv_t)) {
		Elf32_auxv_t entry;

		memcpy(&entry, text + at, sizeof(entry));
		if (entry.a_type == AT_PHENT && entry.a_un.a_val == sizeof(Elf32_Phdr))
			return ELFCLASS32;
	}
	return -ENOEXEC;
}

/* The header of the running binary; the link also leads to deleted and replaced files. */
static int read_elf_kind(const struct inj_process *process, int *ret_class, unsigned *ret_machine)
{
	Elf64_Ehdr header;
	INJ_CLOSE int fd = inj_process_openat(process, "exe", O_RDONLY | O_NONBLOCK | O_NOCTTY);
	int r = fd < 0 ? fd : inj_pread_full(fd, &header, sizeof(header), 0);

	if (r == -ESRCH)
		return r;
	if (r < 0 || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
		/* Behind a file system that denies even root: the kernel's own record remains. */
		r = class_from_auxv(process);
		if (r < 0)
			return r;
		*ret_class = r;
		*ret_machine = r == ELFCLASS64 ? EM_X86_64 : EM_386;
		return 0;
	}
	*ret_class = header.e_ident[EI_CLASS];
	*ret_machine = header.e_machine; /* at the same place in both classes */
	return 0;
}

static int refuse_foreign_code(const struct inj_process *process, struct inj_why *why)
{
	int elf_class = 0;
	unsigned machine = 0;
	int r = read_elf_kind(process, &elf_class, &machine);

	if (r == -ESRCH)
		return inj_refuse(why, INJ_NO_SUCH_PROCESS,
				  "process %d (%s) went away while it was examined; name a running "
				  "process",
				  process->pid, process->comm);
	if (r < 0)
		return inj_broke(why, r, "cannot tell what program process %d (%s) runs",
				 process->pid, process->comm);
	if (elf_class == ELFCLASS32)
		return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
				  "process %d (%s) runs a 32-bit program: only 64-bit x86-64 "
				  "programs can be changed; run its 64-bit build",
				  process->pid, process->comm);
	if (elf_class != ELFCLASS64 || machine != EM_X86_64)
		return inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
				  "process %d (%s) runs a program for another machine (ELF machine "
				  "%u): only x86-64 programs can be changed",
				  process->pid, process->comm, machine);
	return 0;
}

static int refuse_traced(const struct inj_process *process, const struct inj_status *status,
			 struct inj_why *why)
{
	char comm[64];

	if (status->tracer_pid == 0)
		return 0;
	comm_of(status->tracer_pid, comm, sizeof(comm));
	return inj_refuse(why, INJ_ALREADY_TRACED,
			  "process %d (%s) is traced by process %d (%s) already, and Linux allows "
			  "one tracer only; end that one, then try again",
			  process->pid, process->comm, status->tracer_pid, comm);
}

int inj_support_check(const struct inj_process *process, const struct inj_stat *stat,
		      const struct inj_status *status, struct inj_why *why)
{
	int r = refuse_ourselves(process, why);

	if (r == 0)
		r = refuse_no_user_code(process, stat, why);
	if (r == 0)
		r = refuse_traced(process, status, why);
	if (r == 0)
		r = refuse_foreign_code(process, why);
	if (r == 0 && status->shadow_stack)
		r = inj_refuse(why, INJ_UNSUPPORTED_PROCESS,
			       "process %d (%s) runs with a shadow stack, which a borrowed thread "
			       "would violate; start it with "
			       "GLIBC_TUNABLES=glibc.cpu.x86_shstk=off",
			       process->pid, process->comm);
	if (r != 0 && why)
		why->pid = process->pid;
	return r;
}
