/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Owns the comparison of a process's threads with themselves. Always holds: nothing of the code
 * under test is used to look, and a thread is let go before the next one is looked at. Refuses
 * threads that cannot be stopped.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "injector/base/clock.h"
#include "injector/base/io.h"
#include "injector/base/types.h"
#include "tests/support/account.h"
#include "tests/support/registers.h"
#include "tests/support/victim.h"

#define MAX_THREADS 64
#define XSTATE_MAX  16384

/*
 * Of the image of xsave: which parts are in use, and what the kernel notes for itself. What a part
 * that is not in use holds is written out by the kernel, so whether it is in use makes no
 * difference.
 */
#define XSTATE_NOTES_START 464
#define XSTATE_NOTES_END   576

struct thread {
	pid_t tid;
	struct user_regs_struct general;
	uint64_t mask;
	size_t n_xstate;
	unsigned char xstate[XSTATE_MAX];
};

struct registers {
	pid_t pid;
	size_t n;
	struct thread threads[MAX_THREADS];
};

/* The kernel has no event for it; yielding lets it happen. */
static void await_quiet(pid_t pid, pid_t tid)
{
	const long wanted = tid == pid ? SYS_read : SYS_pause;
	uint64_t deadline_ns = inj_now_ns() + VICTIM_DEADLINE_MS * UINT64_C(1000000);
	char path[64], text[256];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", (int)pid, (int)tid);
	for (;;) {
		INJ_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
		size_t length = 0;

		cr_assert(fd >= 0 && inj_read_full(fd, text, sizeof(text) - 1, &length) == 0,
			  "%s: %s", path, strerror(errno));
		text[length] = '\0';
		if (strtol(text, NULL, 10) == wanted && text[0] != 'r')
			return;
		cr_assert_gt(inj_remaining_ns(deadline_ns), 0,
			     "thread %d does not come to rest: %s", (int)tid, text);
		sched_yield();
	}
}

static void read_stopped(struct thread *thread)
{
	struct iovec part = {thread->xstate, sizeof(thread->xstate)};

	cr_assert_eq(ptrace(PTRACE_GETREGS, thread->tid, NULL, &thread->general), 0);
	cr_assert_eq(ptrace(PTRACE_GETSIGMASK, thread->tid, sizeof(thread->mask), &thread->mask),
		     0);
	cr_assert_eq(ptrace(PTRACE_GETREGSET, thread->tid, NT_X86_XSTATE, &part), 0);
	thread->n_xstate = part.iov_len;
	for (size_t i = XSTATE_NOTES_START; i < XSTATE_NOTES_END && i < thread->n_xstate; i++)
		thread->xstate[i] = 0;
}

static void read_thread(struct thread *thread)
{
	int status = 0;

	cr_assert_eq(ptrace(PTRACE_SEIZE, thread->tid, NULL, NULL), 0, "cannot seize %d: %s",
		     (int)thread->tid, strerror(errno));
	cr_assert_eq(ptrace(PTRACE_INTERRUPT, thread->tid, NULL, NULL), 0);
	cr_assert_eq(waitpid(thread->tid, &status, __WALL), thread->tid);
	cr_assert(WIFSTOPPED(status), "thread %d ended", (int)thread->tid);
	read_stopped(thread);
	cr_assert_eq(ptrace(PTRACE_DETACH, thread->tid, NULL, NULL), 0);
}

static int by_tid(const void *left, const void *right)
{
	const struct thread *a = left;
	const struct thread *b = right;

	return (a->tid > b->tid) - (a->tid < b->tid);
}

struct registers *registers_take(pid_t pid)
{
	struct registers *registers = calloc(1, sizeof(*registers));
	char path[64];

	cr_assert_not_null(registers);
	registers->pid = pid;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);

	INJ_CLEANUP(inj_dir_guard) DIR *listing = opendir(path);
	struct dirent *entry;

	cr_assert_not_null(listing, "%s: %s", path, strerror(errno));
	while ((entry = readdir(listing)) && registers->n < MAX_THREADS) {
		struct thread *thread = &registers->threads[registers->n];

		thread->tid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (thread->tid <= 0)
			continue;
		await_quiet(pid, thread->tid);
		read_thread(thread);
		registers->n++;
	}
	qsort(registers->threads, registers->n, sizeof(*registers->threads), by_tid);
	return registers;
}

void registers_free(struct registers *registers)
{
	free(registers);
}

#define FIELD(name, kept) {#name, offsetof(struct user_regs_struct, name), kept}

/* kept: by every function for its caller, or by nature. */
static const struct {
	const char *name;
	size_t offset;
	bool kept;
} fields[] = {
	FIELD(r15, true),    FIELD(r14, true),    FIELD(r13, true),  FIELD(r12, true),
	FIELD(rbp, true),    FIELD(rbx, true),    FIELD(r11, false), FIELD(r10, false),
	FIELD(r9, false),    FIELD(r8, false),    FIELD(rax, true),  FIELD(rcx, false),
	FIELD(rdx, false),   FIELD(rsi, false),   FIELD(rdi, true),  FIELD(orig_rax, true),
	FIELD(rip, true),    FIELD(cs, true),     FIELD(eflags, false), FIELD(rsp, true),
	FIELD(ss, true),     FIELD(fs_base, true), FIELD(gs_base, true), FIELD(ds, true),
	FIELD(es, true),     FIELD(fs, true),     FIELD(gs, true),
};

static void compare(struct account *account, const struct thread *a, const struct thread *b,
		    bool ran)
{
	for (size_t i = 0; i < INJ_ARRAY_LENGTH(fields); i++) {
		unsigned long long was, is;

		memcpy(&was, (const char *)&a->general + fields[i].offset, sizeof(was));
		memcpy(&is, (const char *)&b->general + fields[i].offset, sizeof(is));
		if (was != is && (!ran || fields[i].kept))
			account_note(account, "thread %d: %s %#llx -> %#llx\n", (int)a->tid,
				     fields[i].name, was, is);
	}
	if (a->mask != b->mask)
		account_note(account, "thread %d: signal mask %#llx -> %#llx\n", (int)a->tid,
		     (unsigned long long)a->mask, (unsigned long long)b->mask);
	for (size_t i = 0; !ran && i < a->n_xstate && i < b->n_xstate; i++)
		if (a->xstate[i] != b->xstate[i]) {
			account_note(account, "thread %d: vector state at %zu: %02x -> %02x\n",
				     (int)a->tid, i, a->xstate[i], b->xstate[i]);
			break;
		}
}

size_t registers_diff(const struct registers *before, const struct registers *after, bool main_ran,
		      char *buffer, size_t size)
{
	struct account account = {.text = buffer, .size = size};

	if (size > 0)
		buffer[0] = '\0';
	if (before->n != after->n)
		account_note(&account, "%zu threads -> %zu\n", before->n, after->n);
	for (size_t i = 0; i < before->n && i < after->n; i++) {
		const struct thread *a = &before->threads[i];
		const struct thread *b = &after->threads[i];

		if (a->tid != b->tid)
			account_note(&account, "thread %d -> %d\n", (int)a->tid, (int)b->tid);
		else
			compare(&account, a, b, main_ran && a->tid == before->pid);
	}
	return account.n;
}
