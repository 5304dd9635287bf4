/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_PROCESS_PROCESS_H
#define INJ_PROCESS_PROCESS_H

#include <sys/types.h>

#include "injector/base/cleanup.h"
#include "injector/base/why.h"

struct inj_debug_name;
struct inj_waits;

/*
 * The way to what belongs to a process, for a process of ours that may open nothing itself: who
 * opens for it instead, and only what has a name here.
 */
struct inj_door {
	int mem_fd; /* /proc/PID/mem, open for reading: all memory is read through it */
	void *context;
	/* Descriptor of "pagemap", or of "exe" (O_PATH), below /proc/PID; negative errno. */
	int (*open)(void *context, const char *name);
	/* As inj_process_read_file(): "maps", "stat", "auxv". */
	int (*read)(void *context, const char *name, size_t max_bytes, char **ret_text,
		    size_t *ret_length);
	/* The file of the mapping that starts there. */
	int (*open_mapped)(void *context, inj_addr start);
	int (*open_debug)(void *context, const struct inj_debug_name *name);
};

/* A running process, pinned: pidfd and start time identify it for ever, the pid alone does not. */
struct inj_process {
	pid_t pid;
	int pidfd;
	int proc_fd;           /* /proc/PID, opened once; reads fail once the process is reaped */
	uint64_t start_ticks;  /* field 22 of /proc/PID/stat */
	pid_t ns_pid;          /* pid in the target's innermost pid namespace (last of NSpid) */
	char comm[64];         /* printable */
	char exe[4096];        /* printable target of /proc/PID/exe, " (deleted)" kept */
	struct inj_waits *waits; /* NULL, or whose time is kept: injector/stop/waits.h; borrowed */
	const struct inj_door *door; /* NULL: we open ourselves; pidfd and proc_fd are -1
					otherwise */
};

/*
 * Open a process and make sure that it can be changed at all.
 * pid: in our pid namespace, > 0; ret: new object, free with inj_process_close().
 * State: any.
 * Return: 0.
 * Errors: INJ_NO_SUCH_PROCESS (none, or a thread id that is not a process); INJ_UNSUPPORTED_PROCESS
 *   (kernel thread, zombie, 32-bit, shadow stack, ourselves or our parent daemon);
 *   INJ_ALREADY_TRACED (names the tracer's pid and comm); negative errno.
 * Source: pidfd_open(2), proc(5).
 */
int inj_process_open(pid_t pid, struct inj_process **ret, struct inj_why *why);

/*
 * The same for a process that is only looked at: of any kind, traced or not.
 * Errors: INJ_NO_SUCH_PROCESS; negative errno.
 */
int inj_process_look(pid_t pid, struct inj_process **ret, struct inj_why *why);

/*
 * Let go of a process; it is not touched.
 * process: NULL is fine. State: any. Return: nothing. Errors: none. Source: none.
 */
void inj_process_close(struct inj_process *process);
INJ_DEFINE_GUARD(struct inj_process *, inj_process_close, inj_process_guard)

/*
 * Is it still the same process, alive and not a zombie?
 * State: any.
 * Return: 0.
 * Errors: INJ_PROCESS_GONE, also when only its main thread ended; negative errno.
 * Source: pidfd_open(2), proc(5).
 */
int inj_process_check(const struct inj_process *process, struct inj_why *why);

/*
 * Open a file below /proc/PID ("maps", "task", "status", "mem", "map_files/..."), close-on-exec.
 * name: relative, our own words; flags: of open(2).
 * State: any.
 * Return: descriptor, owned by the caller.
 * Errors: -ESRCH when the process is gone; other negative errno.
 * Source: proc(5).
 */
int inj_process_openat(const struct inj_process *process, const char *name, int flags);

/*
 * Read a whole small file below /proc/PID.
 * max_bytes: bounds what a hostile target can make us allocate; ret_text: malloc'ed and
 *   NUL-terminated; ret_length: may be NULL.
 * State: any.
 * Return: 0.
 * Errors: -EFBIG when there is more; -ESRCH when the process is gone; other negative errno.
 * Source: proc(5).
 */
int inj_process_read_file(const struct inj_process *process, const char *name, size_t max_bytes,
			  char **ret_text, size_t *ret_length);

/* Fields of /proc/PID/task/TID/status (tid may equal pid) that we rely on. */
struct inj_status {
	char state;             /* R S D T t Z X I */
	char comm[64];          /* printable */
	pid_t tgid;
	pid_t tracer_pid;
	uint64_t sig_blocked;   /* SigBlk */
	uint64_t sig_pending;   /* SigPnd | ShdPnd */
	uint64_t sig_shared;    /* ShdPnd: for the process, not for this thread */
	uint64_t sig_caught;    /* SigCgt */
	int seccomp;            /* 0, 1 strict, 2 filter */
	bool shadow_stack;      /* a user shadow stack is on (Linux 6.6 and later) */
};

/*
 * Read them.
 * tid: a thread of the process; ret: filled on success only.
 * State: running or held.
 * Return: 0.
 * Errors: -ESRCH (process or thread gone); -EBADMSG (not a status file); other negative errno.
 * Source: proc(5), proc_pid_status() of the kernel.
 */
int inj_status_read(const struct inj_process *process, pid_t tid, struct inj_status *ret);

#endif
