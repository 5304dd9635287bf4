/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef INJ_BASE_SANDBOX_H
#define INJ_BASE_SANDBOX_H

#include <stdint.h>
#include <stddef.h>

/*
 * What a process of ours that reads foreign files gives up before it looks at the first byte. It
 * keeps its memory and the descriptors that it was given. Whatever reads those files may be taken
 * over by them, and can then compute, and write to
 * its peer, who trusts nothing: no file can be opened, no process seen or signalled, no network
 * reached, no code made executable, no program run.
 */
struct inj_sandbox {
	const char *name;         /* of the process, at most 15 characters */
	const int *fds;           /* descriptors to keep, all above 2; everything else is closed */
	size_t n_fds;
	uint64_t memory_bytes;    /* of address space; reserved counts as used */
	unsigned cpu_seconds;     /* it is killed after that */
	unsigned max_fds;
};

/* How large the address space of a reader may be: modules and debug files are reserved at their
 * full size. */
#define INJ_SANDBOX_MEMORY_BYTES (16ull << 30)

/*
 * Enter it; there is no way back. Standard streams lead to /dev/null.
 * State: a process with a single thread, forked for the purpose; the parent's end is its end too.
 * Return: 0. Errors: negative errno: the process must not read anything then and has to end.
 * Source: seccomp(2), capabilities(7), prctl(2), getrlimit(2).
 */
int inj_sandbox_enter(const struct inj_sandbox *sandbox);

#endif
